"""Fine-tuning: initialization from another run or from a file, and frozen parameters."""

import functools
import json
import re
import shutil

import chex
import jax
import numpy as np
import optax
import pytest
from conftest import ROOT
from flax.traverse_util import flatten_dict
from in_process import ready, trained
from task_parts import LearnerParts, loss_of

from jaxnets import convolution, data, tasks, weights
from jaxnets.learning import gradient
from jaxnets.learning.optimizers import adamw
from jaxnets.training import loop, restore, rundir
from jaxnets.training.checkpointing import init_from
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.state import create, make_step

SMALL = (
    "--config.model.hidden_size=4",
    "--config.train.steps=6",
    "--config.train.evaluate_every=3",
    "--config.data.batch_size=8",
)
HEAD = "--config.train.init_exclude=params/head"


def flat(tree):
    return flatten_dict(tree, sep="/")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A trained classifier of 10 classes."""
    folder = tmp_path_factory.mktemp("source") / "run"
    settings, dataset, task, compiled = ready(*SMALL, name="digits")
    rundir.claim(folder, settings, dataset)
    loop.train(settings, folder, dataset, task, compiled)
    return folder


def initial_variables(*flags, name="digits"):
    """Returns the variables before the first step, including a moving average."""
    settings, _, task, compiled = ready(*SMALL, *flags, name=name)
    variables_of = lambda state: task.learner.variables(state.learner)
    init_from.check(settings.train, variables_of(compiled.abstract))
    state = compiled.create(None)
    if settings.train.init_from:
        variables = init_from.load(settings.train, variables_of(compiled.abstract), variables_of(state))
        state = compiled.create(variables)
    return flat(jax.device_get(state.learner.variables))


@pytest.mark.parametrize("step", ["best", "last", "3"])
def test_init_from_loads_the_variables_of_a_run(source, step):
    variables = initial_variables(f"--config.train.init_from={source}", f"--config.train.init_step={step}")
    chex.assert_trees_all_equal(variables, flat(jax.device_get(restore.open_run(source, step).variables)))


def test_init_from_loads_a_safetensors_file(source, tmp_path):
    trained_variables = jax.device_get(restore.open_run(source).variables)
    weights.write(tmp_path / "weights.safetensors", trained_variables)
    variables = initial_variables(f"--config.train.init_from={tmp_path / 'weights.safetensors'}")
    chex.assert_trees_all_equal(variables, flat(trained_variables))


def test_excluded_variables_are_newly_initialized(source):
    variables = initial_variables(f"--config.train.init_from={source}", HEAD, "--config.seed=5")
    trained_variables, fresh = flat(restore.open_run(source).variables), initial_variables("--config.seed=5")
    assert {path for path in variables if "head" in path} == {"params/head/bias", "params/head/kernel"}
    for path, leaf in variables.items():
        np.testing.assert_array_equal(leaf, (fresh if "head" in path else trained_variables)[path])
    assert not np.array_equal(variables["params/head/kernel"], trained_variables["params/head/kernel"])


def test_init_from_loads_the_ema_and_starts_a_new_one(tmp_path):
    average = "--config.optimizer.ema_decay=0.9"
    ema = trained(tmp_path / "source", *SMALL, average, name="digits")
    variables = initial_variables(f"--config.train.init_from={tmp_path / 'source'}", "--config.train.init_step=last")
    chex.assert_trees_all_equal(variables, flat(ema))
    both = initial_variables(
        f"--config.train.init_from={tmp_path / 'source'}", "--config.train.init_step=last", average
    )
    assert set(both) == {*variables, *(f"ema/{path}" for path in variables)}
    for path, leaf in variables.items():
        np.testing.assert_array_equal(both[path], leaf)
        np.testing.assert_array_equal(both[f"ema/{path}"], leaf)


def test_all_mismatches_are_listed_in_one_error(source, tmp_path):
    with pytest.raises(UsageError) as message:
        initial_variables(
            f"--config.train.init_from={source}", "--config.model.hidden_size=5", "--config.model.num_layers=2"
        )
    for path in ("rnn/layer_0/cell/input/kernel", "rnn/layer_0/cell/recurrent/gates", "head/kernel"):
        assert f"params/{path} must have shape" in str(message.value)
    assert "missing params/rnn/layer_1/cell/input/bias (15,)" in str(message.value)
    assert "--config.train.init_exclude=REGEX excludes" in str(message.value)
    learned = restore.open_run(source).variables
    weights.write(tmp_path / "more.safetensors", {**learned, "batch_stats": {"mean": np.zeros(3)}})
    with pytest.raises(UsageError, match=r"more.safetensors: extra batch_stats/mean \(3,\)\. "):
        initial_variables(f"--config.train.init_from={tmp_path / 'more.safetensors'}")


WRONG = {
    "no folder": ("nowhere", (), UsageError, "must be a run with checkpoints or a safetensors file, got nowhere"),
    "no weights": (str(ROOT / "README.md"), (), RunError, "cannot be read as safetensors"),
    "step": (
        "",
        ("--config.train.init_step=4",),
        UsageError,
        "--config.train.init_step must be best, last or one of 3, 6, got 4",
    ),
    "expression": (
        "",
        ("--config.train.init_exclude=he(ad",),
        UsageError,
        "must be a regular expression, got he(ad: missing",
    ),
    "no match": (
        "",
        ("--config.train.init_exclude=tail",),
        UsageError,
        "matches none of params/head/bias",
    ),
    "frozen nothing": ("", ("--config.optimizer.frozen=tail",), UsageError, "got tail, which matches none of"),
    "frozen all": ("", ("--config.optimizer.frozen=^params/",), UsageError, "which matches all of params/head/b"),
}


@pytest.mark.parametrize("path, flags, error, sentence", WRONG.values(), ids=WRONG)
def test_invalid_sources_and_expressions_are_rejected(source, path, flags, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        initial_variables(f"--config.train.init_from={path or source}", *flags)


def test_init_exclude_requires_init_from():
    with pytest.raises(UsageError, match="init_exclude=head requires --config.train.init_from"):
        initial_variables("--config.train.init_exclude=head")


def test_damaged_checkpoints_of_the_source_are_reported(source, tmp_path, capsys):
    copied = shutil.copytree(source, tmp_path / "copied")
    files = (copied / "checkpoints" / "6" / "state").rglob("*")
    largest = max(files, key=lambda path: path.is_file() and path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) * 2 // 3] ^= 16
    largest.write_bytes(content)
    flags = (f"--config.train.init_from={copied}", "--config.train.init_step=last")
    chex.assert_trees_all_equal(
        initial_variables(*flags), flat(jax.device_get(restore.open_run(source, "3").variables))
    )
    assert "checkpoint of step 6 in" in capsys.readouterr().err
    with pytest.raises(RunError, match="checkpoint of step 6 .* cannot be read"):
        initial_variables(*flags, "--config.train.init_step=6")


def test_frozen_parameters_are_unchanged_and_others_are_trained(source, tmp_path):
    flags = (*SMALL, f"--config.train.init_from={source}", HEAD, "--config.optimizer.frozen=params/rnn")
    flags = (*flags, "--config.optimizer.weight_decay=0.5", "--config.optimizer.ema_decay=0.5", "--config.seed=5")
    trained(tmp_path / "run", *flags, "--config.train.steps=3", name="digits")
    moved = tmp_path / "moved"
    source.rename(moved)  # a resumed run does not need its source
    try:
        end = flat(trained(tmp_path / "run", *flags, name="digits"))
    finally:
        moved.rename(source)
    start = flat(restore.open_run(source).variables)
    for path, leaf in end.items():
        assert np.array_equal(leaf, start[path]) == path.startswith("params/rnn")


def test_frozen_parameters_have_no_optimizer_state_and_do_not_count_in_the_gradient_norm():
    task = tasks.classification(
        convolution.SeriesCNN(2, (4, 4), (3, 3)), data.Classes(("a", "b")), make_learner=LearnerParts
    )
    inputs = np.random.default_rng(0).normal(size=(4, 12, 1)).astype(np.float32)
    batch = {"inputs": inputs, "targets": np.arange(4) % 2, "mask": np.ones(4, bool)}
    learn = functools.partial(gradient, *task.learner, adamw(10, 0.1, weight_decay=0.1, clip_norm=1e-3))
    learn_head = functools.partial(learn, trainable=lambda path: "block_" not in path)
    variables = create(learn(), batch, 0).learner.variables
    state = create(learn_head(), batch, 0)
    head = variables["params"]["head"]
    shapes = lambda tree: sorted(leaf.shape for leaf in jax.tree.leaves(tree))
    assert shapes(state.learner.optimizer) == sorted([(), (), *shapes(head), *shapes(head)])
    loss = lambda head: loss_of(task, {**variables, "params": {**variables["params"], "head": head}}, batch)[0]
    expected = optax.tree.norm(jax.grad(loss)(head))
    for grad_accum_steps in (1, 2):
        after, metrics = jax.jit(make_step(learn_head(grad_accum_steps=grad_accum_steps), 0))(state, batch)
        if grad_accum_steps == 1:
            np.testing.assert_allclose(metrics["gradient_norm"], expected, rtol=1e-5)
        before, after = flat(state.learner.variables), flat(after.learner.variables)
        for path in before:
            assert np.array_equal(before[path], after[path]) == path.startswith("params/block_"), path


def test_a_mismatch_leaves_no_folder(run_program, source, tmp_path):
    flags = ("--config=digits", f"--workdir={tmp_path / 'new'}", f"--config.train.init_from={source}", *SMALL)
    refused = run_program("train", *flags, "--config.model.hidden_size=5")
    assert refused.returncode == 2
    assert "params/head/kernel must have shape (5, 10), got (4, 10)" in refused.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_init_from_does_not_depend_on_processes_and_devices(run_program, start_processes, source, tmp_path):
    own = ("--config=digits", *SMALL, f"--config.train.init_from={source}", HEAD, "--config.optimizer.frozen=rnn")
    losses = []
    for folder, devices in (("one", 1), ("four", 4), ("two", 1)):
        flags = (*own, f"--workdir={tmp_path / folder}", "--config.devices.fsdp=True")
        if folder == "two":
            results = [(p.communicate(timeout=200)[1], p.returncode) for p in start_processes(2, devices, *flags)]
            assert [code for _, code in results] == [0, 0], results
        else:
            done = run_program("train", *flags, devices=devices)
            assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in (tmp_path / folder / "metrics.jsonl").open()]
        losses.append([row["validation/loss"] for row in rows if "validation/loss" in row])
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-5)
