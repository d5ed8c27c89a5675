"""References to other runs in a config, ``{"run": folder, "step": "best"}``."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.checkpointing.file_digests import listed_digest
from jaxnets.training.errors import RunError, UsageError


def read(given: Mapping[str, Any]) -> tuple[Path, str]:
    """Reads a reference to a run: its folder and the checkpoint.

    Raises:
        UsageError: The reference is invalid or the folder does not exist.
    """
    if set(given) - {"run", "step"} or not isinstance(given["run"], str):
        raise UsageError(f"a run in a config must be {{'run': folder, 'step': 'best'}}, got {dict(given)!r}")
    folder, step = Path(given["run"]).expanduser(), str(given.get("step", "best"))
    if "\0" in given["run"] or not folder.is_dir():
        raise UsageError(f"no run in {given['run']}: the folder does not exist")
    return folder, step


def digests(config: ConfigDict) -> dict[str, str]:
    """Returns ``{"folder:step": digest}`` for the checkpoints that a config uses."""
    return {f"{folder}:{step}": _digest(folder, step) for folder, step in map(read, _find_runs(config.to_dict()))}


def _find_runs(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if "run" in value:
            yield value
            return
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _find_runs(item)


def _digest(folder: Path, step: str) -> str:
    if not (folder / "checkpoints").is_dir():
        raise RunError(f"no checkpoint in {folder}: train there first")
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        number = checkpoints.step_of(step, "the step of a run in the config")
    return f"{number}:{listed_digest(folder / 'checkpoints' / str(number))}"
