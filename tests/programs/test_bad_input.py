"""Bad input: one clear sentence on standard error, the right exit code, no traceback, nothing lost.

``python tests/programs/test_bad_input.py`` prints the table of what a user sees.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxnets.training import rundir

ROOT = Path(__file__).parent.parent.parent
SMALL = ["--config.data.batch=4", "--config.data.length=8", "--config.model.hidden=8", "--config.train.steps=4"]


def text(folder: Path, content: bytes = b"How much wood would a woodchuck chuck? " * 20) -> str:
    path = folder / "text.txt"
    path.write_bytes(content)
    return f"--config.data.path={path}"


def small_run(folder: Path, *flags: str) -> Path:
    """A finished run to do wrong things to."""
    workdir = folder / "run"
    arguments = [f"--workdir={workdir}", *SMALL, text(folder), *flags]
    done = launch("train", arguments)
    assert done.returncode == 0, done.stderr
    return workdir


def launch(program: str, arguments: list[str], before: Sequence[str] = ()) -> subprocess.CompletedProcess:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [*before, sys.executable, "-m", f"jaxnets.{program}", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def train(*flags: str):
    return lambda folder: launch("train", [f"--workdir={folder / 'new'}", *SMALL, *flags])


def classify(*flags: str):
    return lambda folder: launch("train", [f"--workdir={folder / 'new'}", *flags])


def images(spoil: Callable[[Path], Any], *flags: str):
    """Trains on a folder of images that ``spoil`` changes."""

    def run(folder: Path):
        for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
            (folder / name).mkdir(parents=True)
            for i in range(8):
                Image.fromarray(np.full((8, 8, 3), 30 * i, np.uint8)).save(folder / name / f"{i}.png")
        spoil(folder)
        own = (f"--config.data.path={folder}", "--config.data.size=8", "--config.data.batch=4")
        return classify("--config=images", *own, *flags)(folder.parent)

    return lambda folder: run(folder / "images")


def train_on(content: bytes, *flags: str):
    return lambda folder: launch("train", [f"--workdir={folder / 'new'}", *SMALL, text(folder, content), *flags])


def of_run(program: str, *flags: str):
    return lambda folder: launch(program, [f"--workdir={small_run(folder)}", *flags])


def other_config(folder: Path):
    small_run(folder)
    return launch("train", [f"--workdir={folder / 'run'}", *SMALL, text(folder), "--config.model.hidden=9"])


def changed_text(folder: Path):
    workdir = small_run(folder, "--config.data.unit=character")
    text(folder, b"Other letters: xyzzy! " * 40)
    return launch("evaluate", [f"--workdir={workdir}"])


def foreign_folder(folder: Path):
    (folder / "new").mkdir()
    (folder / "new" / "thesis.tex").touch()
    return train(text(folder))(folder)


def unwritable(folder: Path):
    (folder / "new").write_text("a file where the folder should be")
    return train(text(folder))(folder)


def full_disk_for_metrics(folder: Path):
    workdir = small_run(folder)
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1, "train/loss": 5.5}\n' * 1000)
    # No file may grow beyond 20 blocks of 1 kB: the metrics, which are written anew at a start, do not fit.
    arguments = [f"--workdir={workdir}", *SMALL, text(folder), "--config.train.steps=8"]
    return launch("train", arguments, before=["bash", "-c", 'ulimit -f 20; exec "$@"', "-"])


def full_disk_for_checkpoints(folder: Path):
    workdir = small_run(folder)
    arguments = [f"--workdir={workdir}", *SMALL, text(folder), "--config.train.steps=8"]
    # No file may grow beyond 20 blocks of 1 kB: the checkpoint's arrays do not fit.
    done = launch("train", arguments, before=["bash", "-c", 'ulimit -f 20; exec "$@"', "-"])
    assert launch("evaluate", [f"--workdir={workdir}", "--step=4"]).returncode == 0, "the step before is lost"
    return done


def nan_loss(folder: Path, *more: str):
    flags = ["--config.optimizer.learning_rate=1e30", "--config.optimizer.clip=0.0", "--config.optimizer.warmup=0"]
    return train(text(folder), *flags, *more, "--config.train.steps=40")(folder)


def nan_loss_after_a_checkpoint(folder: Path):
    """The first step has a learning rate of 0; those after it destroy the model."""
    flags = ["--config.optimizer.warmup=1", "--config.optimizer.learning_rate=1e38", "--config.train.evaluate_every=1"]
    done = train(text(folder), *flags, "--config.optimizer.clip=0.0", "--config.train.steps=40")(folder)
    found = launch("evaluate", [f"--workdir={folder / 'new'}", "--step=1", "--json"])
    assert json.loads(found.stdout)["loss"] < 7, "the good step is lost"
    return done


def no_checkpoint(folder: Path):
    workdir = small_run(folder)
    shutil.rmtree(workdir / "checkpoints")
    return launch("generate", [f"--workdir={workdir}"])


def damaged_checkpoint(folder: Path):
    workdir = small_run(folder)
    shutil.rmtree(workdir / "checkpoints" / "4" / "state")
    return launch("evaluate", [f"--workdir={workdir}"])


def user_config(**changes: object):
    """Trains with a config file of the user in which the settings of ``train`` are changed."""

    def do(folder: Path):
        lines = ["from jaxnets.training.config import load", "def get_config():", "    config = load('char_lm')"]
        lines += [f"    config.train = {{**config.train, {key!r}: {value!r}}}" for key, value in changes.items()]
        (folder / "mine.py").write_text("\n".join([*lines, "    return config", ""]))
        return launch("train", [f"--workdir={folder / 'new'}", f"--config={folder / 'mine.py'}"])

    return do


def second_process(folder: Path):
    workdir = small_run(folder)
    before = (workdir / "config.json").read_bytes()
    with rundir.lock(workdir):
        done = launch("train", [f"--workdir={workdir}", *SMALL, text(folder), "--config.train.steps=9"])
    assert (workdir / "config.json").read_bytes() == before
    return done


def changed_bytes(folder: Path):
    workdir = small_run(folder)
    arguments = [f"--workdir={workdir}", *SMALL, text(folder, b"How much ground would a groundhog hog? " * 20)]
    return launch("train", arguments)


def leftovers_of_a_kill(folder: Path):
    """A kill between the first two writes leaves a hidden file; the same command must go on."""
    (folder / "new").mkdir()
    (folder / "new" / ".config.json.tmp").write_text('{"half a con')
    return train(text(folder))(folder)


def missing_file_in_folder(folder: Path):
    (folder / "texts").mkdir()
    return train(f"--config.data.path={folder / 'texts'}")(folder)


# name: (what is done, exit code, what the sentence must say)
CASES = {
    "missing text": (train("--config.data.path=nowhere.txt"), 2, "no text file or folder at nowhere.txt"),
    "empty text": (train_on(b""), 2, "no text in"),
    "empty folder": (missing_file_in_folder, 2, "holds no file"),
    "too short text": (train_on(b"short"), 2, "text too short: 5 tokens leave 0 for validation"),
    "undecodable text": (
        train_on(b"se\xf1or " * 99, "--config.data.unit=character"),
        2,
        "text.txt is not UTF-8: byte 2",
    ),
    "batch larger than the text": (train_on(b"abc " * 99, "--config.data.batch=999"), 2, "cannot fill 999 streams"),
    "missing config": (train("--config=configs/none.py"), 2, "no config configs/none.py"),
    "mistyped config": (train("--config=char_ml"), 2, "the nearest is char_lm"),
    "unknown key": (train("--config.model.hiden=5"), 2, "the nearest is --config.model.hidden"),
    "wrong type": (train("--config.model.hidden=many"), 2, "int expected, such as 8; given 'many'"),
    "no value": (train("--config.model.hidden"), 2, "a value is missing"),
    "unknown flag": (train("--wrokdir=x"), 2, "Unknown command line flag 'wrokdir'. Did you mean: workdir"),
    "stray argument": (train("configs/char_lm.py"), 2, "unexpected argument 'configs/char_lm.py'"),
    "unknown model": (train("--config.model.name=recurrent.CharRN"), 2, "the nearest is recurrent.CharRNN"),
    "unknown cell": (train("--config.model.cell=recurrent.lstmm"), 2, "the nearest is recurrent.lstm"),
    "impossible model": (train_on(b"abc " * 99, "--config.model.tie=true"), 2, "tie: embedding = hidden expected"),
    "indivisible batch": (train_on(b"abc " * 99, "--config.train.accumulate=3"), 2, "a divisor of the batch of 4"),
    "negative learning rate": (
        train_on(b"abc " * 99, "--config.optimizer.learning_rate=-1"),
        2,
        "learning_rate: not below 0",
    ),
    "workdir of another config": (other_config, 2, "model.hidden: 8 there, 9 here"),
    "workdir of something else": (foreign_folder, 2, "holds files but no run"),
    "unwritable workdir": (unwritable, 1, "cannot write to"),
    "text changed": (changed_text, 1, "has changed; it learned from"),
    "text changed, as bytes": (changed_bytes, 1, "has changed; it learned from"),
    "two processes": (second_process, 1, "another process trains in"),
    "mistyped key in a config file": (
        user_config(stesp=100),
        2,
        "nothing reads train.stesp; the nearest is train.steps",
    ),
    "wrong type in a config file": (user_config(steps="100"), 2, "train.steps: int expected; given '100'"),
    "negative seed": (train_on(b"abc " * 99, "--config.seed=-1"), 2, "`seed` must be an integer of at least 0, got -1"),
    "negative minutes": (train_on(b"abc " * 99, "--config.train.minutes=-1"), 2, "--config.train.minutes=-1.0"),
    "unknown variant": (
        classify("--config=prevalence:attenton"),
        2,
        "prevalence.py has no variant attenton; it has attention, pooled",
    ),
    "argument of another optimizer": (
        train_on(b"abc " * 99, "--config.optimizer.name=optax.sgd", "--config.optimizer.warmup=5"),
        2,
        "no setting --config.optimizer.warmup",
    ),
    "cell without its family": (
        train_on(b"abc " * 99, "--config.model.cell=lstm"),
        2,
        "such as recurrent.gru; given 'lstm'",
    ),
    "unknown module": (train("--config.model.name=recurrent.foo.Net"), 2, "no jaxnets.recurrent.foo for"),
    "disk full for metrics": (
        full_disk_for_metrics,
        1,
        "cannot write metrics to DIR/run/metrics.jsonl: File too large",
    ),
    "disk full for checkpoints": (full_disk_for_checkpoints, 1, "the checkpoint of step 4 is intact"),
    "NaN loss": (nan_loss, 1, "stopped, no checkpoint was made before"),
    "NaN loss after a checkpoint": (
        nan_loss_after_a_checkpoint,
        1,
        "at step 2; stopped, the checkpoint of step 1 is kept",
    ),
    "NaN loss, skipped too often": (
        lambda folder: nan_loss(folder, "--config.train.not_finite=skip", "--config.train.not_finite_limit=3"),
        1,
        "train/loss is nan at step 6; stopped, no checkpoint was made before",
    ),
    "no checkpoint to keep": (train_on(b"abc " * 99, "--config.train.keep=0"), 2, "--config.train.keep=0: at least 1"),
    "frozen nothing": (
        train_on(b"abc " * 99, "--config.optimizer.frozen=hed"),
        2,
        "--config.optimizer.frozen=hed: it is found in none of the paths: params/embed/embedding, params/head/bias, ",
    ),
    "nothing to begin from": (
        train_on(b"abc " * 99, "--config.train.begin_from=nowhere"),
        2,
        "--config.train.begin_from=nowhere: neither a run with checkpoints nor a safetensors file",
    ),
    "unknown policy": (
        train_on(b"abc " * 99, "--config.train.not_finite=ignore"),
        2,
        "--config.train.not_finite=ignore: one of stop, skip, roll_back expected",
    ),
    "no run": (lambda folder: launch("evaluate", [f"--workdir={folder}"]), 1, "no run in"),
    "no checkpoint": (no_checkpoint, 1, "no checkpoint in"),
    "damaged checkpoint": (damaged_checkpoint, 1, "checkpoint of step 4"),
    "no such step": (of_run("evaluate", "--step=7"), 2, "--step=7: best, last or one of 4 expected"),
    "config for a finished run": (of_run("generate", "--config.seed=1"), 2, "the run's own config is used"),
    "prompt outside the vocabulary": (
        lambda folder: launch(
            "generate", [f"--workdir={small_run(folder, '--config.data.unit=character')}", "--prompt=año"]
        ),
        2,
        "--prompt: characters outside the vocabulary of this run: 'ñ'; it knows ' ?Hacdhklmouw'",
    ),
    "empty prompt": (of_run("generate", "--prompt="), 2, "--prompt: at least one character expected"),
    "negative temperature": (of_run("generate", "--temperature=-1"), 2, "flag --temperature=-1"),
    "wrong input shape": (
        lambda folder: launch("summary", ["--model=recurrent.CharRNN", "--config.model.vocabulary=9", "--input=a,b"]),
        2,
        "--input=a,b: sizes with commas between expected",
    ),
    "missing folder of images": (
        classify("--config=pixel_mnist", "--config.data.path=nowhere"),
        2,
        "no folder at nowhere",
    ),
    "corrupt image": (images(lambda root: (root / "train/cat/3.png").write_bytes(b"no image")), 2, "train/cat/3.png"),
    "other classes to test on": (
        images(lambda root: (root / "test/cat").rename(root / "test/cow")),
        2,
        "1 of train not in test: cat; 1 of test not in train: cow",
    ),
    "images too small": (
        images(lambda root: None, "--config.model.name=convolution.vgg11"),
        2,
        "VGG: images must be at least 32 x 32, got 8 x 8",
    ),
    "an option that a builder fixes": (
        lambda folder: launch("summary", ["--model=convolution.resnet50", "--config.model.bottleneck=False"]),
        2,
        "convolution.resnet50: got multiple values for keyword argument 'bottleneck'",
    ),
    "task for other data": (
        classify("--config=digits", "--config.task=tasks.regression"),
        2,
        "tasks.regression learns from data with quantities, got data with classes",
    ),
    "no test part": (
        of_run("evaluate", "--split=test"),
        2,
        "--split=test: data.text has no such part; it has validation",
    ),
    "missing argument": (
        lambda folder: launch("summary", ["--model=recurrent.CharRNN"]),
        2,
        "recurrent.CharRNN needs vocabulary",
    ),
}


SLOW = ("disk full for metrics", "text changed, as bytes", "no such step")  # each is near to another


@pytest.mark.parametrize(
    "do, code, sentence",
    [pytest.param(*case, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, case in CASES.items()],
)
def test_bad_input_is_told_in_one_sentence(tmp_path, do, code, sentence):
    done = do(tmp_path)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr.replace(str(tmp_path), "DIR")
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].strip()


def test_a_folder_left_by_an_early_kill_is_used(tmp_path):
    done = leftovers_of_a_kill(tmp_path)
    assert done.returncode == 0, done.stderr


def test_debug_shows_the_traceback(tmp_path):
    done = train("--config.data.path=nowhere.txt", "--debug")(tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("train: no text file or folder")


if __name__ == "__main__":
    import tempfile

    for name, (do, _, _) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            done = do(Path(folder))
        told = [
            line
            for line in done.stderr.splitlines()
            if line.split(":")[0] in ("train", "evaluate", "generate", "summary")
        ]
        print(f"{name}\n    exit {done.returncode}  {told[-1] if told else done.stderr}".replace(folder, "DIR"))
