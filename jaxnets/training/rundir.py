"""A run's folder: what is in it, and whether a config may go on in it."""

import json
import os
import tempfile
from pathlib import Path

from ml_collections import ConfigDict

from jaxnets.data import Vocabulary
from jaxnets.training.config import difference
from jaxnets.training.errors import RunError, UsageError

# What may change between two starts of one run: how far it goes and how often it reports.
FREE = ("train.steps", "train.minutes", "train.evaluate_every", "train.log_every")


def claim(workdir: Path, config: ConfigDict) -> None:
    """Makes the folder, or checks that the run in it is the one of ``config``; writes ``config.json``.

    Raises:
        UsageError: It holds a run of another config (what differs is named), or something else.
        RunError: It cannot be written.
    """
    path = workdir / "config.json"
    if path.exists():
        differs = [line for line in difference(load(workdir), config) if line.split(":")[0] not in FREE]
        if differs:
            listed = "\n  ".join(differs)
            raise UsageError(
                f"{workdir} holds a run of another config:\n  {listed}\n"
                f"Give this one its own folder, such as --workdir={_free_name(workdir)}"
            )
    elif workdir.is_dir() and any(workdir.iterdir()):
        raise UsageError(f"{workdir} holds files but no run; give the run its own folder with --workdir")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write(path, json.dumps(config.to_dict(), indent=2) + "\n")
    except OSError as error:
        raise RunError(f"cannot write to {workdir}: {error.strerror}") from error


def load(workdir: Path) -> ConfigDict:
    """The config of the run in a folder.

    Raises:
        RunError: There is no run, or its config cannot be read.
    """
    path = workdir / "config.json"
    if not path.exists():
        raise RunError(f"no run in {workdir}: no config.json there")
    try:
        return ConfigDict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def keep_vocabulary(workdir: Path, vocabulary: Vocabulary) -> None:
    """Saves the vocabulary with the run; a ``RunError`` where the run has another one, since its text has changed."""
    path = workdir / "vocabulary.json"
    if path.exists() and _read_vocabulary(path) != vocabulary:
        raise RunError(f"the text of the run in {workdir} has changed: its characters are not those of {path}")
    write(path, vocabulary.to_json())


def vocabulary(workdir: Path) -> Vocabulary:
    """The vocabulary of the run in a folder."""
    return _read_vocabulary(workdir / "vocabulary.json")


def _read_vocabulary(path: Path) -> Vocabulary:
    try:
        return Vocabulary.from_json(path.read_text())
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all, whatever happens in between."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _free_name(workdir: Path) -> Path:
    number = 2
    while (free := workdir.with_name(f"{workdir.name}-{number}")).exists():
        number += 1
    return free
