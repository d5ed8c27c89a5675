"""Files of a run folder: JSON files, checks and the identifier of the run."""

import json
import uuid
from pathlib import Path
from typing import Any

from jaxnets.ops.host.files import check_tree, read_regular, write_atomically
from jaxnets.training.errors import RunError

MAX_BYTES = 2**26  # bytes of a JSON file; a vocabulary of 250,000 tokens takes a quarter
MAX_CONFIG_BYTES = 2**18
MAX_DEPTH = 16  # nesting levels of objects and lists


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Reads the object in a JSON file of a run.

    Raises:
        RunError: The file is missing, cannot be read, is not a regular file, does not contain an object, or exceeds
            ``max_bytes`` or ``MAX_DEPTH``.
    """
    try:
        value = json.loads(read_regular(path, max_bytes, follow=False))
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} cannot be read: it must contain a JSON object, got {type(value).__name__}")
    if _exceeds_depth(value, MAX_DEPTH):
        raise RunError(f"{path} cannot be read: it must have at most {MAX_DEPTH} levels of objects and lists")
    return value


def _exceeds_depth(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(
        _exceeds_depth(v, levels - 1) for v in (value.values() if isinstance(value, dict) else value)
    )


def check_folder(folder: Path) -> None:
    """Raises a ``RunError`` if a folder contains something other than folders and regular files."""
    if folder.is_symlink():
        raise RunError(f"{folder} must be a folder, got a symbolic link")
    try:
        check_tree(folder)
    except (OSError, ValueError) as error:
        raise RunError(str(error)) from error


def create_run_id(workdir: Path) -> None:
    """Creates the identifier of a run if it has none. Checkpoints contain the identifier of their run."""
    path = workdir / "run.json"
    if not path.exists():
        write_atomically(path, json.dumps({"run": uuid.uuid4().hex}) + "\n")


def read_run_id(workdir: Path) -> str | None:
    """Reads the identifier of the run in a folder, or returns None if it has none."""
    path = workdir / "run.json"
    return str(read_json(path, MAX_CONFIG_BYTES).get("run")) if path.exists() else None
