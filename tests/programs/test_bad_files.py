"""Bad data files, folders and disks: errors of one sentence with an exit code, and no lost checkpoint."""

import json
import shutil
from pathlib import Path

import pytest
from wrong_programs import SMALL, check, classify, images, launch, small_run, text, train, train_on

from jaxnets.training import rundir


def other_config(folder: Path):
    small_run(folder)
    return launch("train", [f"--workdir={folder / 'run'}", *SMALL, text(folder), "--config.model.hidden_size=9"])


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
    # Files are limited to 20 blocks of 1 kB. The metrics, which a start rewrites, are larger.
    arguments = [f"--workdir={workdir}", *SMALL, text(folder), "--config.train.steps=8"]
    return launch("train", arguments, before=["bash", "-c", 'ulimit -f 20; exec "$@"', "-"])


def full_disk_for_checkpoints(folder: Path):
    workdir = small_run(folder)
    arguments = [f"--workdir={workdir}", *SMALL, text(folder), "--config.train.steps=8"]
    # Files are limited to 20 blocks of 1 kB. The arrays of the checkpoint are larger.
    done = launch("train", arguments, before=["bash", "-c", 'ulimit -f 20; exec "$@"', "-"])
    assert launch("evaluate", [f"--workdir={workdir}", "--step=4"]).returncode == 0, "the last good step is lost"
    return done


def nan_loss(folder: Path, *more: str):
    flags = [
        "--config.optimizer.learning_rate=1e30",
        "--config.optimizer.clip_norm=0.0",
        "--config.optimizer.warmup_steps=0",
    ]
    return train(text(folder), *flags, *more, "--config.train.steps=40")(folder)


def nan_loss_after_a_checkpoint(folder: Path):
    """The first step has a learning rate of 0; the later steps destroy the model."""
    flags = [
        "--config.optimizer.warmup_steps=1",
        "--config.optimizer.learning_rate=1e38",
        "--config.train.evaluate_every=1",
    ]
    done = train(text(folder), *flags, "--config.optimizer.clip_norm=0.0", "--config.train.steps=40")(folder)
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
    """Trains in a folder with the hidden file that a kill between the first two writes leaves."""
    (folder / "new").mkdir()
    (folder / "new" / ".config.json.tmp").write_text('{"half a con')
    return train(text(folder))(folder)


def missing_file_in_folder(folder: Path):
    (folder / "texts").mkdir()
    return train(f"--config.data.path={folder / 'texts'}")(folder)


# name: (function that runs a program, exit code, part of the message)
CASES = {
    "missing text": (train("--config.data.path=nowhere.txt"), 2, "nowhere.txt must be a text file or a folder"),
    "empty text": (train_on(b""), 2, "must contain text, got 1 file, all empty"),
    "empty folder": (missing_file_in_folder, 2, "must contain text files, got none"),
    "too short text": (train_on(b"short"), 2, "text too short: 5 tokens must leave at least 2 for validation"),
    "undecodable text": (
        train_on(b"se\xf1or " * 99, "--config.data.unit=character"),
        2,
        "text.txt must be UTF-8, got 0xf1 as byte 2",
    ),
    "batch larger than the text": (
        train_on(b"abc " * 99, "--config.data.batch_size=999"),
        2,
        "999 streams must have at least",
    ),
    "workdir of another config": (other_config, 2, "model.hidden_size: 8 there, 9 here"),
    "workdir of something else": (foreign_folder, 2, "contains files but no run"),
    "unwritable workdir": (unwritable, 1, "cannot write to"),
    "text changed": (changed_text, 1, "has changed; it was trained on"),
    "text changed, as bytes": (changed_bytes, 1, "has changed; it was trained on"),
    "two processes": (second_process, 1, "another process is training in"),
    "disk full for metrics": (
        full_disk_for_metrics,
        1,
        "cannot write metrics to DIR/run/metrics.jsonl: File too large",
    ),
    "disk full for checkpoints": (full_disk_for_checkpoints, 1, "the checkpoint of step 4 is intact"),
    "NaN loss": (nan_loss, 1, "training stopped; no checkpoint has been saved"),
    "NaN loss after a checkpoint": (
        nan_loss_after_a_checkpoint,
        1,
        "at step 2: training stopped; the last checkpoint is that of step 1",
    ),
    "NaN loss, skipped too often": (
        lambda folder: nan_loss(folder, "--config.train.nan_policy=skip", "--config.train.nan_limit=3"),
        1,
        "train/loss is nan at step 6: training stopped; no checkpoint has been saved",
    ),
    "no run": (lambda folder: launch("evaluate", [f"--workdir={folder}"]), 1, "no run in"),
    "no checkpoint": (no_checkpoint, 1, "no checkpoint in"),
    "damaged checkpoint": (damaged_checkpoint, 1, "checkpoint of step 4"),
    "missing folder of images": (
        classify("--config=pixel_mnist", "--config.data.path=nowhere"),
        2,
        "nowhere must be a folder, got no such path",
    ),
    "corrupt image": (images(lambda root: (root / "train/cat/3.png").write_bytes(b"no image")), 2, "train/cat/3.png"),
    "other classes to test on": (
        images(lambda root: (root / "test/cat").rename(root / "test/cow")),
        2,
        "1 of train not in test: cat; 1 of test not in train: cow",
    ),
}


SLOW = ("disk full for metrics", "text changed, as bytes")  # similar to other cases


@pytest.mark.parametrize(
    "run, code, sentence",
    [pytest.param(*case, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, case in CASES.items()],
)
def test_bad_files_give_one_sentence(tmp_path, run, code, sentence):
    check(run, code, sentence, tmp_path)


def test_folder_of_an_early_kill_is_used(tmp_path):
    done = leftovers_of_a_kill(tmp_path)
    assert done.returncode == 0, done.stderr
