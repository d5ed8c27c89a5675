"""The files of a run's folder: regular ones only, and which run they belong to."""

import json
import uuid
from pathlib import Path
from typing import Any

from jaxnets.ops.files import check_tree, read_regular, write_atomically
from jaxnets.training.errors import RunError

LARGEST = 2**26  # bytes of a JSON file; a vocabulary of a quarter of a million pieces has a quarter of that
LARGEST_CONFIG = 2**18
DEEPEST = 16  # levels of objects and lists within each other


def read_json(path: Path, largest: int = LARGEST) -> dict[str, Any]:
    """The object in a JSON file of a run.

    Raises:
        RunError: There is none, it cannot be read, it is larger or nested deeper than any that is written, or it is not
            a regular file.
    """
    try:
        found = json.loads(read_regular(path, largest, follow=False))
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} cannot be read: it must hold a JSON object, got {type(found).__name__}")
    if _is_deeper(found, DEEPEST):
        raise RunError(f"{path} cannot be read: it must have at most {DEEPEST} levels of objects and lists")
    return found


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(_is_deeper(v, levels - 1) for v in (value.values() if isinstance(value, dict) else value))


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
        write_atomically(path, json.dumps({"run": uuid.uuid4().hex}) + "\n")


def run_of(workdir: Path) -> str | None:
    """The name of the run in a folder; None where it has none."""
    path = workdir / "run.json"
    return str(read_json(path, LARGEST_CONFIG).get("run")) if path.exists() else None
