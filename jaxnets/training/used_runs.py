"""Other runs that a config names, ``{"run": folder, "step": "best"}``, and what they had learned."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.checkpointing.file_digests import listed_digest
from jaxnets.training.errors import RunError, UsageError


def read(given: Mapping[str, Any]) -> tuple[Path, str]:
    """The folder of a run in a config, and which of its checkpoints.

    Raises:
        UsageError: It has something else.
    """
    if set(given) - {"run", "step"} or not isinstance(given["run"], str):
        raise UsageError(f"a run in a config must be {{'run': folder, 'step': 'best'}}, got {dict(given)!r}")
    folder, step = Path(given["run"]).expanduser(), str(given.get("step", "best"))
    if "\0" in given["run"] or not folder.is_dir():
        raise UsageError(f"no run in {given['run']}: there is no such folder")
    return folder, step


def digests(config: ConfigDict) -> dict[str, str]:
    """By folder and step, the digests of the checkpoints that a config uses."""
    return {f"{folder}:{step}": _digest(folder, step) for folder, step in map(read, _found(config.to_dict()))}


def _found(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if "run" in value:
            yield value
            return
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _found(each)


def _digest(folder: Path, step: str) -> str:
    if not (folder / "checkpoints").is_dir():
        raise RunError(f"no checkpoint in {folder}: train there first")
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        chosen = checkpoints.step_of(step, "the step of a run in the config")
    return f"{chosen}:{listed_digest(folder / 'checkpoints' / str(chosen))}"
