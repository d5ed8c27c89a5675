"""Export folders, written atomically. By default an export replaces only an export of the same run."""

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

# Names of all files and folders of an export.
EXPORTED_NAMES = {"config.json", "load", "model.json", "weights.safetensors", "flatbuffers"}
EXPORTED_NAMES |= {f"{name}.jax_export" for name in exported.FUNCTIONS}


def check_replaceable(folder: Path, run: Run, overwrite: bool) -> None:
    """Raises a ``UsageError`` if an export must not replace the content of a folder.

    Args:
        folder: The folder to write.
        run: The run to export.
        overwrite: If True, an export of another run may be replaced.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"--output must be a folder, got the file {folder}")
    names = {path.name for path in folder.iterdir()}
    others = sorted(names - EXPORTED_NAMES)
    if others or (names and "model.json" not in names):
        raise UsageError(
            f"--output must be a new folder or an export, got {folder} with {', '.join(others or sorted(names))}"
        )
    if names and not overwrite and not _is_of(folder, run):
        raise UsageError(f"--output={folder} holds the export of another run; --overwrite replaces it")


def _is_of(folder: Path, run: Run) -> bool:
    try:
        source = read_json(folder / "model.json")["data"]["fingerprint"]
        return (
            not rundir.incompatible_changes(rundir.load(folder), run.config)
            and source == rundir.read_description(run.workdir)["fingerprint"]
        )
    except (TypeError, KeyError, RunError):
        return False


def write(folder: Path, run: Run, artifacts: Artifacts) -> dict[str, int]:
    """Writes an export folder.

    Returns:
        The size of each file in bytes.

    Raises:
        RunError: The folder cannot be written. An existing export is unchanged.
    """
    target = folder.absolute()  # "." has no name
    temporary, old = (target.with_name(f".{target.name}.{kind}") for kind in ("tmp", "old"))
    try:
        for leftover in (temporary, old):  # a killed export may leave them
            if leftover.is_symlink():
                leftover.unlink()  # keeps the target of the link
            elif leftover.exists():
                shutil.rmtree(leftover)
        temporary.mkdir(parents=True)
        with _removed_on_error(temporary):
            sizes = _fill(temporary, run, artifacts)
            if target.exists():
                target.rename(old)
            temporary.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        if old.exists() and not target.exists():
            old.rename(target)
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
    # jax needs flatbuffers to deserialize functions, but does not install it. License: Apache 2.0.
    _copy_package(flatbuffers, folder / "flatbuffers")
    (folder / "config.json").write_text(json.dumps(run.config.to_dict(), indent=2) + "\n", encoding="utf-8")
    files = {path.name: _digest(path) for path in _files(folder)}
    description = {**_describe_run(run, artifacts), "files": files}
    text = json.dumps(description, ensure_ascii=False, indent=2)
    (folder / "model.json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")  # remains valid JSON
    return {path.name: path.stat().st_size for path in _files(folder)}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _copy_package(package: ModuleType, folder: Path) -> None:
    installed = Path(package.__path__[0])
    shutil.copytree(installed, folder, ignore=shutil.ignore_patterns("__pycache__"))


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _describe_run(run: Run, artifacts: Artifacts) -> dict[str, Any]:
    data = rundir.read_description(run.workdir)
    return {
        "model": run.config.model.name,
        "task": run.config.task.name,
        "step": run.step,
        "jax": jax.__version__,
        "platforms": PLATFORMS,
        "inputs": descriptions.describe_inputs(run.inputs()),
        "targets": data["targets"],
        "data": {name: data[name] for name in ("source", "fingerprint")},
        "limits": artifacts.limits,
        "functions": {name: describe(function) for name, function in artifacts.functions.items()},
        "weights": [{"name": name, **_array(artifacts.weights[name])} for name in sorted(artifacts.weights)],
    }


def describe(function: jax.export.Exported) -> dict[str, Any]:
    """Describes the inputs of an exported function, without its weights, and its outputs."""
    (_, *inputs), _ = jax.tree.unflatten(function.in_tree, function.in_avals)
    outputs = jax.tree.unflatten(function.out_tree, function.out_avals)
    return {"reads": jax.tree.map(_array, inputs), "answers": jax.tree.map(_array, outputs)}


def _array(array: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else str(size) for size in array.shape]
    return {"shape": shape, "dtype": str(array.dtype)}
