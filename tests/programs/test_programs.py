"""Programs as a user runs them: printed output, run folders, resumption."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import matplotlib.image
import pytest
from conftest import ROOT

from jaxnets.training import restore
from jaxnets.training.reporting.metrics import read_metrics


def test_run_folder_has_all_files(small_run):
    names = {path.name for path in small_run.iterdir()}
    assert {"config.json", "metrics.jsonl", "data.json", "checkpoints", "figures", "samples", "tensorboard"} <= names
    assert len((small_run / "samples" / "sample.txt").read_bytes()) >= 400
    assert list((small_run / "tensorboard").glob("events.*"))
    for name in ("curves", "surprise"):
        picture = matplotlib.image.imread(small_run / "figures" / f"{name}.png")
        assert min(picture.shape[:2]) > 100
        assert picture.std() > 0.01
    rows = read_metrics(small_run)
    assert [row["step"] for row in rows if "validation/loss" in row] == [5, 10, 15, 20]
    assert [row["step"] for row in rows if "train/loss" in row] == [5, 10, 15, 20]
    training = next(row for row in rows if "train/loss" in row)
    assert {"train/loss", "train/gradient_norm", "items_per_second"} <= set(training)
    losses = [row["validation/loss"] for row in rows if "validation/loss" in row]
    assert losses[-1] < losses[0] < math.log(256) + 0.5


def test_evaluate_uses_the_best_checkpoint(small_run, run_program):
    done = run_program("evaluate", f"--workdir={small_run}", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    validated = [row for row in read_metrics(small_run) if "validation/loss" in row]
    best = min(validated, key=lambda row: row["validation/loss"])
    assert found["step"] == best["step"]
    assert found["loss"] == pytest.approx(best["validation/loss"], abs=1e-6)
    assert found["bits_per_byte"] == pytest.approx(found["loss"] / math.log(2))
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    other = run_program("evaluate", f"--workdir={small_run}", "--step=15")
    assert "step 15" in other.stdout
    assert "nats per byte" in other.stdout


def test_compare_writes_table_and_plot(tmp_path, run_program, small_run):
    made = {name: tmp_path / f"made.{suffix}" for name, suffix in (("csv", "csv"), ("markdown", "md"), ("plot", "png"))}
    files = [f"--{name}={path}" for name, path in made.items()]
    done = run_program("compare", f"--runs={small_run},{small_run}", "--labels=one,two", *files)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "best validation/loss" in done.stdout
    one, two = csv.DictReader(made["csv"].read_text().splitlines())
    assert (one["run"], two["run"], one["steps"]) == ("one", "two", "20")
    assert int(one["parameters"]) == 256 * 6 + 4 * 12 * (6 + 12 + 1) + 12 * 256 + 256
    best = min(row["validation/loss"] for row in read_metrics(small_run) if "validation/loss" in row)
    assert float(one["best validation/loss"]) == best
    assert made["markdown"].read_text().startswith("| run | steps | minutes | parameters | best step |")
    assert matplotlib.image.imread(made["plot"]).std() > 0.01
    refused = run_program("compare", f"--runs={small_run}", f"--plot={tmp_path / 'made.xyz'}")
    assert refused.returncode == 2
    assert "compare: --plot: Format 'xyz' is not supported" in refused.stderr


def test_generate_continues_a_prompt(small_run, run_program):
    generate = lambda *flags: run_program("generate", f"--workdir={small_run}", "--prompt=12 bott", *flags)
    first = generate("--length=40", "--seed=1")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("12 bott")
    assert generate("--length=40", "--seed=1").stdout == first.stdout
    assert generate("--length=40", "--seed=2").stdout != first.stdout
    greedy = generate("--length=9", "--temperature=0").stdout
    assert generate("--length=9", "--top_k=1").stdout == greedy == generate("--length=9", "--top_p=0").stdout


def test_tree_of_continuations_has_two_levels(small_run, run_program):
    done = run_program("generate", f"--workdir={small_run}", "--prompt=12 bott", "--tree", "--branches=3")
    lines = done.stdout.splitlines()
    assert lines[0] == "'12 bott'"
    assert len(lines) == 1 + 3 + 9
    first = [float(line.split()[1]) for line in lines[1:] if line[0] in "├└"]
    assert len(first) == 3
    assert sorted(first, reverse=True) == first
    assert sum(first) <= 1


SMALL_SERIES = ("--config.model.hidden_size=8", "--config.train.steps=6", "--config.train.evaluate_every=3")


@pytest.mark.parametrize(
    "config, flags, figures, metric",
    [
        ("digits", (), ("confusion", "mistakes"), "accuracy"),
        pytest.param(
            "copying",
            ("--config.data.delay=2", "--config.data.symbols=2"),
            ("confusion",),
            "accuracy",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "adding",
            ("--config.data.length=5", "--config.model.cell=recurrent.elman"),
            ("predicted",),
            "mean_absolute_error",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_supervised_tasks_are_trained_and_evaluated_on_the_test_split(
    tmp_path, run_program, config, flags, figures, metric
):
    workdir = tmp_path / "run"
    done = run_program("train", f"--config={config}", f"--workdir={workdir}", *flags, *SMALL_SERIES)
    assert done.returncode == 0, done.stderr
    assert "sample:" not in done.stdout
    for name in ("curves", *figures):
        assert matplotlib.image.imread(workdir / "figures" / f"{name}.png").std() > 0.01
    measured = run_program(
        "evaluate", f"--workdir={workdir}", "--split=validation,test", "--evaluators=metrics", "--json"
    )
    assert measured.returncode == 0, measured.stderr
    of_splits = [json.loads(line) for line in measured.stdout.splitlines()]
    assert [found["split"] for found in of_splits] == ["validation", "test"]
    assert all(metric in found for found in of_splits)
    assert of_splits[0]["loss"] != of_splits[1]["loss"]
    of_test = run_program("evaluate", f"--workdir={workdir}", "--split=test")
    assert f"{metric:<20} {of_splits[1][metric]:.4f}" in of_test.stdout
    refused = run_program("generate", f"--workdir={workdir}")
    assert refused.returncode == 2
    assert "must be a run of a task that generates" in refused.stderr


def test_summary_uses_the_input_shape_of_the_data(run_program):
    done = run_program("summary", "--config=digits", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["input"] == [1, 8, 8]
    assert found["parameters"] == 3 * 64 * (8 + 64 + 1) + 64 * 10 + 10


def test_summary_counts_parameters_of_a_published_model(run_program):
    arguments = ["--config.model.vocab_size=65", "--config.model.hidden_size=512", "--config.model.num_layers=3"]
    done = run_program("summary", "--model=recurrent.CharRNN", *arguments, "--config.model.embed_dim=256", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["parameters"] == 5_823_297 == sum(part["parameters"] for part in found["parts"])
    assert found["flops"] == sum(part["flops"] for part in found["parts"])
    table = run_program("summary", "--config=char_lm").stdout
    assert "total" in table
    assert "recurrent.CharRNN" in table


def test_training_continues_with_more_steps(tmp_path, run_program, small_flags):
    workdir = f"--workdir={tmp_path / 'run'}"
    first = run_program("train", workdir, *small_flags, "--config.train.steps=5")
    assert re.search(r"to continue: \S*python\S* -m jaxnets.train", first.stdout)
    written = (tmp_path / "run" / "samples" / "sample.txt").read_text("utf-8")
    assert first.stdout.endswith(f"; sample:\n\n{written}\n")
    again = run_program("train", workdir, *small_flags, "--config.train.steps=5")
    assert again.returncode == 0, again.stderr
    assert "at step 5" in again.stdout
    more = run_program("train", workdir, *small_flags, "--config.train.steps=10")
    assert more.returncode == 0, more.stderr
    steps = [row["step"] for row in read_metrics(tmp_path / "run") if "validation/loss" in row]
    assert steps == [5, 10]


def test_max_minutes_stops_a_run(tmp_path, run_program, small_flags):
    workdir = tmp_path / "run"
    flags = ("--config.train.steps=1000000", "--config.train.max_minutes=0.02", "--config.train.evaluate_every=100000")
    done = run_program("train", f"--workdir={workdir}", *small_flags, *flags)
    assert done.returncode == 0, done.stderr
    reached = read_metrics(workdir)[-1]["step"]
    assert 0 < reached < 1_000_000
    assert f"at step {reached}" in done.stdout


@pytest.mark.parametrize(
    "sent, code", [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_signal_saves_and_prints_the_resume_command(tmp_path, environment, run_program, small_flags, sent, code):
    workdir = tmp_path / "run"
    flags = [f"--workdir={workdir}", *small_flags, "--config.train.steps=1000000", "--config.train.evaluate_every=50"]
    program = subprocess.Popen(
        [sys.executable, "-m", "jaxnets.train", *flags], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while len(read_metrics(workdir)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    program.send_signal(sent)
    message = program.communicate(timeout=60)[1].splitlines()[-1]
    assert program.returncode == code
    saved = int(message.split()[2])
    assert message.startswith(f"saved step {saved} in {workdir}; to resume: ")
    assert f"-m jaxnets.train --workdir={workdir}" in message
    assert str(saved) in os.listdir(workdir / "checkpoints")
    steps = f"--config.train.steps={saved + 50}"
    resumed = run_program("train", *[flag for flag in flags if "steps" not in flag], steps)
    assert resumed.returncode == 0, resumed.stderr
    logged = [row["step"] for row in read_metrics(workdir) if "train/loss" in row]
    assert logged == sorted(set(logged))


@pytest.mark.parametrize("program", ["train", "evaluate", "generate", "export", "summary", "compare"])
def test_help_lists_the_flags(run_program, program):
    done = run_program(program, "--help")
    assert done.returncode == 0
    assert f"python -m jaxnets.{program}" in done.stdout
    assert "--workdir" in done.stdout or program in ("summary", "compare")


def test_print_config_prints_all_settings_without_training(run_program, tmp_path):
    flags = (f"--workdir={tmp_path / 'run'}", "--config=digits", "--config.model.dropout=0.5", "--print_config")
    printed = run_program("train", *flags).stdout.splitlines()
    assert not (tmp_path / "run").exists()
    assert {"--config.model.dropout=0.5", "--config.data.batch_size=64", "--config.model.cell=recurrent.gru"} <= {
        *printed
    }
    again = run_program("train", "--config=digits", *printed, "--print_config").stdout.splitlines()
    assert again == printed


def test_model_of_a_user_package_is_trained_and_needs_trust(tmp_path, environment, small_text):
    (tmp_path / "my_models.py").write_text(
        "from jaxnets import recurrent\nclass MyNet(recurrent.CharRNN):\n    hidden_size: int = 7\n"
    )
    (tmp_path / "mine.py").write_text(
        "from jaxnets.training.config import load\n"
        "def get_config():\n"
        "    config = load('char_lm')\n"
        "    config.model = {'name': 'my_models.MyNet', 'embed_dim': 4}\n"
        "    return config\n"
    )
    environment = {**environment, "PYTHONPATH": str(ROOT)}
    run = lambda program, *flags: subprocess.run(
        [sys.executable, "-m", f"jaxnets.{program}", "--workdir=run", *flags],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    flags = ["--config.data.batch_size=4", "--config.data.seq_len=8", f"--config.data.path={small_text}"]
    trained = run("train", "--config=mine.py", *flags, "--config.train.steps=2")
    assert trained.returncode == 0, trained.stderr
    refused = run("evaluate")
    assert refused.returncode == 2
    assert "use --trust=my_models" in refused.stderr
    assert run("evaluate", "--trust=my_models").returncode == 0


def test_bfloat16_keeps_parameters_and_carries_in_float32(tmp_path, run_program, small_flags):
    flags = (*small_flags, "--config.model.dtype=bfloat16", "--config.train.steps=5")
    done = run_program("train", f"--workdir={tmp_path / 'run'}", *flags)
    assert done.returncode == 0, done.stderr
    run = restore.open_run(tmp_path / "run", "last")
    assert run.model.dtype == "bfloat16"
    carry, logits = run.model.apply(run.variables, jnp.zeros((1, 3), jnp.int32))
    assert {leaf.dtype for leaf in jax.tree.leaves((run.variables, carry, logits))} == {jnp.dtype(jnp.float32)}
