"""A run's folder: what is in it, and whether a config may go on in it."""

import contextlib
import fcntl
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxnets.data import Dataset
from jaxnets.data.inputs import Inputs, Rows
from jaxnets.ops.files import open_for_append, write_atomically
from jaxnets.training import descriptions, used_runs
from jaxnets.training.config import check as check_config
from jaxnets.training.config import complete, difference
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.run_files import LARGEST_CONFIG, check_folder, name_run, read_json
from jaxnets.training.settings.shown import with_defaults

# What may change between two starts of one run: how far it goes, how often it reports, what it keeps, what it does
# about numbers that are not finite, and on which devices.
FREE = (
    "evaluators",
    "reports",
    "train.steps",
    "train.schedule_steps",
    "train.max_minutes",
    "train.evaluate_every",
    "train.log_every",
    "train.max_to_keep",
    "train.keep_period",
    "train.async_checkpointing",
    "train.nan_policy",
    "train.nan_limit",
    "train.report_every",
    "devices.model_parallel",
    "devices.fsdp",
)


def claim(workdir: Path, config: ConfigDict, dataset: Dataset, used: dict[str, str] | None = None) -> None:
    """Makes the folder, or checks that the run in it is the one of ``config`` on this data; saves both.

    A run of another config or other data that made no checkpoint is replaced, which stderr is told.

    Args:
        workdir: The folder.
        config: With all settings.
        dataset: Its data.
        used: ``used_runs.digests``, which all processes must compute together; None: in a single process, here.

    Raises:
        UsageError: As ``check`` does.
        RunError: As ``check`` does, or it cannot be written.
    """
    used = used_runs.digests(config) if used is None else used
    check(workdir, config, dataset, used)
    if _holds_another(workdir, config, dataset):
        print(f"{workdir} held another run, which made no checkpoint; it is replaced", file=sys.stderr)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_atomically(workdir / "config.json", _text(config))
        described = {**descriptions.of(dataset), "runs": used}
        write_atomically(workdir / "data.json", json.dumps(described, ensure_ascii=False, indent=2))
        name_run(workdir)
    except OSError as error:
        raise RunError(f"cannot write to {workdir}: {error.strerror}") from error


def check(workdir: Path, config: ConfigDict, dataset: Dataset, used: dict[str, str] | None = None) -> None:
    """Whether a run may be in the folder, with arguments as of ``claim``; nothing is written.

    Raises:
        UsageError: It holds a run of another config with checkpoints (what differs is named), or something else.
        RunError: The run in it, with checkpoints, learned from other data, or used what other runs had learned before.
    """
    _text(config)
    began = has_checkpoint(workdir)
    if (workdir / "config.json").exists():
        for name in (
            "figures",
            "samples",
            "tensorboard",
            "profile",
            "damaged",
        ):  # Checkpoints checks its own
            check_folder(workdir / name)
        if began and (differs := changes(load(workdir), config)):
            own = f"give this one its own folder, such as --workdir={_free_name(workdir)}"
            raise UsageError(f"{workdir} holds a run of another config, {own}:", differs)
    elif workdir.is_dir() and any(not found.name.startswith(".") for found in workdir.iterdir()):
        raise UsageError(f"{workdir} holds files but no run; give the run its own folder with --workdir")
    if began:
        check_data(workdir, dataset)
        _check_used(workdir, used_runs.digests(config) if used is None else used)


def _check_used(workdir: Path, used: dict[str, str]) -> None:
    """A ``RunError`` where the run in a folder used what other runs had learned before."""
    before = described(workdir).get("runs", used) if (workdir / "data.json").exists() else used
    if before != used:
        changed = [name for name in used if not (isinstance(before, dict) and before.get(name) == used[name])]
        raise RunError(f"the run in {workdir} uses runs that have changed: {', '.join(changed)}")


def has_checkpoint(workdir: Path) -> bool:
    """Whether the run in a folder has made a checkpoint, be it a damaged one."""
    folder = workdir / "checkpoints"
    saved = folder.is_dir() and any(path.name.isdecimal() for path in folder.iterdir())
    return saved or (workdir / "damaged").exists()


def _holds_another(workdir: Path, config: ConfigDict, dataset: Dataset) -> bool:
    """Whether a folder holds a run of another config or other data."""
    if not ((workdir / "config.json").exists() and (workdir / "data.json").exists()):
        return False
    return bool(changes(load(workdir), config)) or described(workdir).get("fingerprint") != dataset.fingerprint


def _text(config: ConfigDict) -> str:
    """The whole config: what has its default now keeps it where a later version has another."""
    try:
        return json.dumps(with_defaults(config, imports=True).to_dict(), indent=2) + "\n"
    except TypeError as error:
        raise UsageError(f"a config holds numbers, text, truth values and tuples: {error}") from error


def changes(before: ConfigDict, config: ConfigDict) -> list[str]:
    """What makes two configs those of different runs, a line each."""
    return [
        line
        for line in difference(before, config)
        if not line.startswith(tuple(f"{key}{end}" for key in FREE for end in ":."))
    ]


def keep_schedule(workdir: Path, config: ConfigDict) -> None:
    """Sets ``train.schedule_steps`` where it is 0: to that of the run in a folder, or to the steps of a new one."""
    if not config.train.schedule_steps:
        before = load(workdir).train if has_checkpoint(workdir) else config.train
        config.train.schedule_steps = before.schedule_steps or before.steps


def identity(config: ConfigDict, dataset: Dataset) -> bytes:
    """A digest of what a run computes."""
    return hashlib.sha256(repr((config.to_json_best_effort(), dataset.fingerprint)).encode()).digest()


def check_data(workdir: Path, dataset: Dataset) -> None:
    """A ``RunError`` where the run in a folder learned from other data."""
    path = workdir / "data.json"
    if not path.exists():
        return
    before = read_json(path)
    if before.get("fingerprint") != dataset.fingerprint:
        if "inputs" not in before and isinstance(dataset.inputs, Rows) and dataset.inputs.std:
            raise RunError(
                f"the run in {workdir} is of an earlier version, which standardized its data in float32 and did not "
                "save how; train it again in another folder"
            )
        raise RunError(
            f"the data of the run in {workdir} has changed; it learned from {before.get('source')}, "
            f"this is {dataset.description}"
        )
    targets, batch = data(workdir)
    if targets != dataset.spec or batch != descriptions.shapes(dataset):
        raise RunError(
            f"{path} does not describe the data of this run: its targets or the shapes of a batch are others"
        )


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Makes and holds a run's folder; a ``RunError`` where another process trains in it."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = open_for_append(workdir / ".lock")
    except OSError as error:
        raise RunError(f"cannot write to {workdir}: {error.strerror}") from error
    except ValueError as error:
        raise RunError(str(error)) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(f"another process trains in {workdir}") from error
        yield


def load(workdir: Path) -> ConfigDict:
    """The config of the run in a folder.

    Raises:
        RunError: There is no run, or its config cannot be read.
    """
    path = workdir / "config.json"
    if not path.exists():
        raise RunError(f"no run in {workdir}: no config.json there")
    found = read_json(path, LARGEST_CONFIG)
    try:
        config = complete(ConfigDict(_as_now(found)))
        check_config(config)
    except (UsageError, ValueError, TypeError) as error:  # ConfigDict refuses some keys
        raise RunError(f"{path} is not the config of a run: {error}") from error
    return config


def _as_now(found: dict[str, Any]) -> dict[str, Any]:
    """A config as it is written now: an earlier version wrote ``name`` for a cell that is a factory."""
    model, train = found.get("model"), found.get("train")
    cell = model.get("cell") if isinstance(model, dict) else None
    is_new = isinstance(train, dict) and "schedule_steps" in train
    if is_new or not (isinstance(cell, dict) and str(cell.get("name")).startswith("recurrent.")):
        return found
    rest = {name: value for name, value in cell.items() if name != "name"}
    return {**found, "model": {**found["model"], "cell": {"factory": cell["name"], **rest}}}


def data(workdir: Path) -> tuple[Any, dict[str, jax.ShapeDtypeStruct]]:
    """What the targets of the run in a folder mean, and the shapes of one of its batches.

    Raises:
        RunError: They cannot be read.
    """
    found = described(workdir)
    try:
        return descriptions.targets(found.get("targets")), descriptions.batch(found.get("batch"))
    except ValueError as error:
        raise RunError(f"{workdir / 'data.json'} cannot be read: {error}") from error


def inputs(workdir: Path) -> Inputs | None:
    """What became of raw inputs in the run in a folder; None where batches hold them as they are.

    Raises:
        RunError: It cannot be read.
    """
    try:
        return descriptions.inputs(described(workdir).get("inputs"))
    except ValueError as error:
        raise RunError(f"{workdir / 'data.json'} cannot be read: {error}") from error


def described(workdir: Path) -> dict[str, Any]:
    """What is noted of the data of the run in a folder: fingerprint, source, targets, inputs, shapes of a batch."""
    return read_json(workdir / "data.json")


def _free_name(workdir: Path) -> Path:
    number = 2
    while (free := workdir.with_name(f"{workdir.name}-{number}")).exists():
        number += 1
    return free
