"""Helpers that run programs with wrong input and check their error messages."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import forked
import numpy as np
from conftest import ROOT
from PIL import Image

SMALL = [
    "--config.data.batch_size=4",
    "--config.data.seq_len=8",
    "--config.model.hidden_size=8",
    "--config.train.steps=4",
]


def text(folder: Path, content: bytes = b"How much wood would a woodchuck chuck? " * 20) -> str:
    path = folder / "text.txt"
    path.write_bytes(content)
    return f"--config.data.path={path}"


def small_run(folder: Path, *flags: str) -> Path:
    """Trains a small run and returns its folder."""
    workdir = folder / "run"
    arguments = [f"--workdir={workdir}", *SMALL, text(folder), *flags]
    done = launch("train", arguments)
    assert done.returncode == 0, done.stderr
    return workdir


def launch(program: str, arguments: list[str], before: Sequence[str] = ()) -> subprocess.CompletedProcess:
    if not before:
        return forked.launch(program, arguments, cwd=ROOT)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [*before, sys.executable, "-m", f"jaxnets.{program}", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def train(*flags: str):
    return lambda folder: launch("train", [f"--workdir={folder / 'new'}", *SMALL, *flags])


def classify(*flags: str):
    return lambda folder: launch("train", [f"--workdir={folder / 'new'}", *flags])


def images(corrupt: Callable[[Path], Any], *flags: str):
    """Trains on an image folder after ``corrupt`` has changed it."""

    def run(folder: Path):
        for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
            (folder / name).mkdir(parents=True)
            for i in range(8):
                Image.fromarray(np.full((8, 8, 3), 30 * i, np.uint8)).save(folder / name / f"{i}.png")
        corrupt(folder)
        settings = (f"--config.data.path={folder}", "--config.data.size=8", "--config.data.batch_size=4")
        return classify("--config=images", *settings, *flags)(folder.parent)

    return lambda folder: run(folder / "images")


def train_on(content: bytes, *flags: str):
    return lambda folder: launch("train", [f"--workdir={folder / 'new'}", *SMALL, text(folder, content), *flags])


@cache
def _shared() -> tempfile.TemporaryDirectory:
    folder = tempfile.TemporaryDirectory()
    small_run(Path(folder.name))
    return folder


def of_run(program: str, *flags: str):
    """Runs a program with wrong flags on a shared run, which must not change."""
    return lambda _: launch(program, [f"--workdir={_shared().name}/run", *flags])


def check(run: Callable[[Path], subprocess.CompletedProcess], code: int, sentence: str, folder: Path) -> None:
    """Asserts the exit code, and that standard error contains a sentence and no traceback."""
    done = run(folder)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr.replace(str(folder), "DIR")
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].strip()
