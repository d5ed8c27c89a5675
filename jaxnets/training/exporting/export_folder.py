"""The folder of an exported run: written whole or not at all, and only in place of an export of the same run."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import flatbuffers
import jax
from safetensors import SafetensorError

from jaxnets import exported, weights
from jaxnets.training import descriptions, rundir
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.exporting.artifacts import PLATFORMS, Artifacts
from jaxnets.training.restore import Run
from jaxnets.training.run_files import read_json

# All that an export writes.
OURS = {"config.json", "load", "model.json", "weights.safetensors", "flatbuffers"}
OURS |= {f"{name}.jax_export" for name in exported.FUNCTIONS}


def check_free(folder: Path, run: Run, overwrite: bool) -> None:
    """A ``UsageError`` where the folder holds what must stay: anything but an export, or one of another run.

    Args:
        folder: Where the run is to be written.
        run: The run.
        overwrite: Whether an export of another run may be replaced.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"--output must be a folder, got the file {folder}")
    names = {path.name for path in folder.iterdir()}
    others = sorted(names - OURS)
    if others or (names and "model.json" not in names):
        raise UsageError(
            f"--output={folder}: it holds {', '.join(others or sorted(names))}; choose a folder of its own"
        )
    if names and not overwrite and not _is_of(folder, run):
        raise UsageError(f"--output={folder}: it holds the export of another run; --overwrite replaces it")


def _is_of(folder: Path, run: Run) -> bool:
    try:
        source = read_json(folder / "model.json")["data"]["fingerprint"]
        return (
            not rundir.changes(rundir.load(folder), run.config)
            and source == rundir.described(run.workdir)["fingerprint"]
        )
    except (TypeError, KeyError, RunError):
        return False


def write(folder: Path, run: Run, artifacts: Artifacts) -> dict[str, int]:
    """Writes a run's artifacts, and returns the bytes of each file.

    Raises:
        RunError: It cannot be written; what was there is as it was.
    """
    whole = folder.absolute()  # "." has no name
    fresh, before = (whole.with_name(f".{whole.name}.{kind}") for kind in ("tmp", "old"))
    try:
        for left in (fresh, before):  # of a kill
            if left.is_symlink():
                left.unlink()  # what it points to stays
            elif left.exists():
                shutil.rmtree(left)
        fresh.mkdir(parents=True)
        with _removed_on_error(fresh):
            sizes = _fill(fresh, run, artifacts)
            if whole.exists():
                whole.rename(before)
            fresh.rename(whole)
        shutil.rmtree(before, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        if before.exists() and not whole.exists():
            before.rename(whole)
        raise RunError(f"cannot write to {folder}: {getattr(error, 'strerror', None) or error}") from error
    return sizes


@contextlib.contextmanager
def _removed_on_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _fill(folder: Path, run: Run, artifacts: Artifacts) -> dict[str, int]:
    weights.write(folder / "weights.safetensors", artifacts.weights)
    for name, function in artifacts.functions.items():
        (folder / f"{name}.jax_export").write_bytes(function.serialize())
    _copy_package(exported, folder / "load")
    # What jax reads functions with, and what does not come with jax: Python files, Apache License 2.0.
    _copy_package(flatbuffers, folder / "flatbuffers")
    (folder / "config.json").write_text(json.dumps(run.config.to_dict(), indent=2) + "\n", encoding="utf-8")
    files = {path.name: _digest(path) for path in _files(folder)}
    noted = {**_about_run(run, artifacts), "files": files}
    text = json.dumps(noted, ensure_ascii=False, indent=2)
    (folder / "model.json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")  # valid JSON too
    return {path.name: path.stat().st_size for path in _files(folder)}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _copy_package(package: ModuleType, folder: Path) -> None:
    installed = Path(package.__path__[0])
    shutil.copytree(installed, folder, ignore=shutil.ignore_patterns("__pycache__"))


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _about_run(run: Run, artifacts: Artifacts) -> dict[str, Any]:
    data = rundir.described(run.workdir)
    return {
        "model": run.config.model.name,
        "task": run.config.task.name,
        "step": run.step,
        "jax": jax.__version__,
        "platforms": PLATFORMS,
        "inputs": descriptions.of_inputs(run.inputs()),
        "targets": data["targets"],
        "data": {name: data[name] for name in ("source", "fingerprint")},
        "limits": artifacts.limits,
        "functions": {name: about(function) for name, function in artifacts.functions.items()},
        "weights": [{"name": name, **_array(artifacts.weights[name])} for name in sorted(artifacts.weights)],
    }


def about(function: jax.export.Exported) -> dict[str, Any]:
    """What a function reads beside its weights, and what it answers."""
    (_, *given), _ = jax.tree.unflatten(function.in_tree, function.in_avals)
    answers = jax.tree.unflatten(function.out_tree, function.out_avals)
    return {"reads": jax.tree.map(_array, given), "answers": jax.tree.map(_array, answers)}


def _array(array: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else str(size) for size in array.shape]
    return {"shape": shape, "dtype": str(array.dtype)}
