"""Run folders: creation, checks before a run is resumed, and the files that describe a run."""

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
from jaxnets.ops.host.files import open_for_append, write_atomically
from jaxnets.training import descriptions, used_runs
from jaxnets.training.config import check as check_config
from jaxnets.training.config import complete, differences
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.run_files import MAX_CONFIG_BYTES, check_folder, create_run_id, read_json
from jaxnets.training.settings.shown import with_defaults

# Settings that may change when a run is resumed, because they do not change what it computes per step.
CHANGEABLE = (
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
    """Creates a run folder, or checks that it contains this run, and writes ``config.json`` and ``data.json``.

    Another run without checkpoints is replaced with a message on stderr.

    Args:
        workdir: The folder of the run.
        config: The complete config.
        dataset: The dataset.
        used: The result of ``used_runs.digests``, which all processes must call at the same time. None calls it here,
            in a single process.

    Raises:
        UsageError: As in ``check``.
        RunError: As in ``check``, or a file cannot be written.
    """
    used = used_runs.digests(config) if used is None else used
    check(workdir, config, dataset, used)
    if _holds_other_run(workdir, config, dataset):
        print(f"{workdir} contained another run without checkpoints; it is replaced", file=sys.stderr)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_atomically(workdir / "config.json", _config_json(config))
        described = {**descriptions.describe(dataset), "runs": used}
        write_atomically(workdir / "data.json", json.dumps(described, ensure_ascii=False, indent=2))
        create_run_id(workdir)
    except OSError as error:
        raise RunError(f"cannot write to {workdir}: {error.strerror}") from error


def check(workdir: Path, config: ConfigDict, dataset: Dataset, used: dict[str, str] | None = None) -> None:
    """Checks that a run can start or resume in a folder, without writing. The arguments are as in ``claim``.

    Raises:
        UsageError: The folder contains checkpoints of a run with another config (the differences are listed), or it
            contains other files.
        RunError: The run in the folder was trained on other data, or runs that it uses have changed.
    """
    _config_json(config)
    started = has_checkpoint(workdir)
    if (workdir / "config.json").exists():
        for name in ("figures", "samples", "tensorboard", "profile", "damaged"):  # Checkpoints checks its own folder
            check_folder(workdir / name)
        if started and (differences := incompatible_changes(load(workdir), config)):
            suggestion = f"choose another folder, such as --workdir={_unused_name(workdir)}"
            raise UsageError(f"{workdir} contains a run with another config; {suggestion}:", differences)
    elif workdir.is_dir() and any(not path.name.startswith(".") for path in workdir.iterdir()):
        raise UsageError(f"{workdir} contains files but no run; choose another folder with --workdir")
    if started:
        check_data(workdir, dataset)
        _check_used(workdir, used_runs.digests(config) if used is None else used)


def _check_used(workdir: Path, used: dict[str, str]) -> None:
    """Raises a ``RunError`` if runs that the run in a folder uses have changed."""
    before = read_description(workdir).get("runs", used) if (workdir / "data.json").exists() else used
    if before != used:
        changed = [name for name in used if not (isinstance(before, dict) and before.get(name) == used[name])]
        raise RunError(f"the run in {workdir} uses runs that have changed: {', '.join(changed)}")


def has_checkpoint(workdir: Path) -> bool:
    """Returns whether the run in a folder has saved a checkpoint, including damaged ones."""
    folder = workdir / "checkpoints"
    saved = folder.is_dir() and any(path.name.isdecimal() for path in folder.iterdir())
    return saved or (workdir / "damaged").exists()


def _holds_other_run(workdir: Path, config: ConfigDict, dataset: Dataset) -> bool:
    """Returns whether a folder contains a run with another config or other data."""
    if not ((workdir / "config.json").exists() and (workdir / "data.json").exists()):
        return False
    return (
        bool(incompatible_changes(load(workdir), config))
        or read_description(workdir).get("fingerprint") != dataset.fingerprint
    )


def _config_json(config: ConfigDict) -> str:
    """Formats the complete config as JSON, including defaults, which may change in later versions."""
    try:
        return json.dumps(with_defaults(config, imports=True).to_dict(), indent=2) + "\n"
    except TypeError as error:
        raise UsageError(f"a config must contain only numbers, strings, booleans and tuples: {error}") from error


def incompatible_changes(before: ConfigDict, config: ConfigDict) -> list[str]:
    """Returns the differences between two configs that make them different runs, one line per setting."""
    return [
        line
        for line in differences(before, config)
        if not line.startswith(tuple(f"{key}{end}" for key in CHANGEABLE for end in ":."))
    ]


def set_schedule_steps(workdir: Path, config: ConfigDict) -> None:
    """Sets ``train.schedule_steps`` if it is 0: to its value in the run to resume, or to ``train.steps``."""
    if not config.train.schedule_steps:
        before = load(workdir).train if has_checkpoint(workdir) else config.train
        config.train.schedule_steps = before.schedule_steps or before.steps


def run_digest(config: ConfigDict, dataset: Dataset) -> bytes:
    """Returns a digest of the config and the data of a run."""
    return hashlib.sha256(repr((config.to_json_best_effort(), dataset.fingerprint)).encode()).digest()


def check_data(workdir: Path, dataset: Dataset) -> None:
    """Raises a ``RunError`` if the run in a folder was trained on other data."""
    path = workdir / "data.json"
    if not path.exists():
        return
    before = read_json(path)
    if before.get("fingerprint") != dataset.fingerprint:
        if "inputs" not in before and isinstance(dataset.inputs, Rows) and dataset.inputs.std:
            raise RunError(
                f"the run in {workdir} was trained by an earlier version, which standardized the data in float32 and "
                "did not save the statistics; train it again in another folder"
            )
        raise RunError(
            f"the data of the run in {workdir} has changed; it was trained on {before.get('source')}, "
            f"this is {dataset.description}"
        )
    targets, batch = data(workdir)
    if targets != dataset.spec or batch != descriptions.shapes(dataset):
        raise RunError(f"{path} does not describe the data of this run: its targets or the shapes of a batch differ")


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Creates and locks a run folder. Raises a ``RunError`` if another process trains in it."""
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
            raise RunError(f"another process is training in {workdir}") from error
        yield


def load(workdir: Path) -> ConfigDict:
    """Reads the config of the run in a folder.

    Raises:
        RunError: There is no run, or its config cannot be read.
    """
    path = workdir / "config.json"
    if not path.exists():
        raise RunError(f"no run in {workdir}: config.json is missing")
    content = read_json(path, MAX_CONFIG_BYTES)
    try:
        config = complete(ConfigDict(_upgrade(content)))
        check_config(config)
    except (UsageError, ValueError, TypeError) as error:  # ConfigDict rejects some keys
        raise RunError(f"{path} is not the config of a run: {error}") from error
    return config


def _upgrade(content: dict[str, Any]) -> dict[str, Any]:
    """Converts a config of an earlier version, which wrote a cell with the key ``name`` instead of ``factory``."""
    model, train = content.get("model"), content.get("train")
    cell = model.get("cell") if isinstance(model, dict) else None
    is_new = isinstance(train, dict) and "schedule_steps" in train
    if is_new or not (isinstance(cell, dict) and str(cell.get("name")).startswith("recurrent.")):
        return content
    rest = {name: value for name, value in cell.items() if name != "name"}
    return {**content, "model": {**content["model"], "cell": {"factory": cell["name"], **rest}}}


def data(workdir: Path) -> tuple[Any, dict[str, jax.ShapeDtypeStruct]]:
    """Reads the targets and the shapes of a batch of the run in a folder.

    Raises:
        RunError: ``data.json`` cannot be read.
    """
    content = read_description(workdir)
    try:
        return descriptions.targets(content.get("targets")), descriptions.batch(content.get("batch"))
    except ValueError as error:
        raise RunError(f"{workdir / 'data.json'} cannot be read: {error}") from error


def read_inputs(workdir: Path) -> Inputs | None:
    """Reads the preprocessing of raw inputs of the run in a folder. None means no preprocessing.

    Raises:
        RunError: ``data.json`` cannot be read.
    """
    try:
        return descriptions.inputs(read_description(workdir).get("inputs"))
    except ValueError as error:
        raise RunError(f"{workdir / 'data.json'} cannot be read: {error}") from error


def read_description(workdir: Path) -> dict[str, Any]:
    """Reads ``data.json`` of a run: fingerprint, source, targets, inputs and the shapes of a batch."""
    return read_json(workdir / "data.json")


def _unused_name(workdir: Path) -> Path:
    suffix = 2
    while (path := workdir.with_name(f"{workdir.name}-{suffix}")).exists():
        suffix += 1
    return path
