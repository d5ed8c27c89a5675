"""The files of a run's folder: regular ones only, and which run they belong to."""

import json
import uuid
from pathlib import Path
from typing import Any

from jaxnets.ops.files import check_tree, read_regular, write_whole
from jaxnets.training.errors import RunError

LARGEST = 2**28  # bytes of a JSON file


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a run.

    Raises:
        RunError: There is none, it cannot be read, or it is not a regular file.
    """
    try:
        found = json.loads(read_regular(path, LARGEST, follow=False))
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} cannot be read: it must hold a JSON object, got {type(found).__name__}")
    return found


def check_folder(folder: Path) -> None:
    """Raises a ``RunError`` where something in a folder of a run is neither a folder nor a regular file."""
    if folder.is_symlink():
        raise RunError(f"{folder} must be a folder, got a symbolic link")
    try:
        check_tree(folder)
    except (OSError, ValueError) as error:
        raise RunError(str(error)) from error


def name_run(workdir: Path) -> None:
    """Gives the run in a folder a name of its own, where it has none: its checkpoints carry it."""
    path = workdir / "run.json"
    if not path.exists():
        write_whole(path, json.dumps({"run": uuid.uuid4().hex}) + "\n")


def run_of(workdir: Path) -> str | None:
    """The name of the run in a folder; None where it has none."""
    path = workdir / "run.json"
    return str(read_json(path).get("run")) if path.exists() else None
