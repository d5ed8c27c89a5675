"""Initialization from another run or from a safetensors file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from jaxnets.learning.parameters import leaves_by_path
from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.config import match_paths
from jaxnets.training.errors import RunError, UsageError
from jaxnets.weights.check import as_array, compare, rename_keys
from jaxnets.weights.files import read_flat

Flat = dict[str, Any]  # the keys are paths, such as params/head/kernel


class Source(NamedTuple):
    """Stored variables.

    Attributes:
        shapes: The abstract variables.
        read: ``shapes -> arrays``, reads some of the variables with the given shardings.
    """

    shapes: Flat
    read: Callable[[Flat], Flat]


def check(settings: ConfigDict, abstract: Any) -> None:
    """Checks that ``init_from``, ``init_step`` and ``init_exclude`` fit the model.

    Args:
        settings: ``config.train``.
        abstract: Shapes and shardings of the model's variables.

    Raises:
        UsageError: A setting is invalid or the variables do not match.
        RunError: The variables cannot be read.
    """
    if settings.init_from:
        _matching_source(settings, abstract)
    elif settings.init_exclude:
        raise UsageError(f"--config.train.init_exclude={settings.init_exclude} requires --config.train.init_from")


def load(settings: ConfigDict, abstract: Any, fresh: Any) -> Any:
    """Returns the initial variables of a run with ``settings.init_from``.

    Variables whose path matches ``settings.init_exclude`` are taken from ``fresh``. All others must exist in the source
    with the same shape.

    Raises:
        UsageError: Variables are missing, unexpected or of another shape. The message lists all of them.
        RunError: The source cannot be read.
    """
    source, wanted = _matching_source(settings, abstract)
    # Buffers of orbax may be shared, and the training step donates its buffers.
    loaded = {path: jax.numpy.copy(leaf).astype(wanted[path].dtype) for path, leaf in source.read(wanted).items()}
    return unflatten_dict({**leaves_by_path(fresh), **loaded}, sep="/")


def _matching_source(settings: ConfigDict, abstract: Any) -> tuple[Source, Flat]:
    """Returns the source and the abstract variables to read from it."""
    path = Path(settings.init_from).expanduser()
    # Unlike pathlib's, these functions of os.path return False for names that the file system refuses.
    source = _file_source(path) if os.path.isfile(path) else _run_source(path, settings.init_step)
    variables = leaves_by_path(abstract)
    excluded = match_paths("train.init_exclude", settings.init_exclude, {**variables, **source.shapes})
    wanted = {path: leaf for path, leaf in variables.items() if path not in excluded}
    available = {path: leaf for path, leaf in source.shapes.items() if path not in excluded}
    try:
        compare(available, {path: leaf.shape for path, leaf in wanted.items()}, f"--config.train.init_from={path}")
    except ValueError as error:
        hint = "--config.train.init_exclude=REGEX excludes variables, which are then newly initialized"
        raise UsageError(f"{error}. {hint}") from error
    return source, wanted


def _run_source(folder: Path, which: str) -> Source:
    if not os.path.isdir(folder / "checkpoints"):
        raise UsageError(f"--config.train.init_from must be a run with checkpoints or a safetensors file, got {folder}")
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        shapes = checkpoints.shapes(which, "--config.train.init_step")

    def read(wanted: Flat) -> Flat:
        like = {
            tuple(path.split("/")): jax.ShapeDtypeStruct(leaf.shape, stored[path].dtype, sharding=leaf.sharding)
            for path, leaf in wanted.items()
        }
        with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
            _, variables = checkpoints.restore_variables(which, unflatten_dict(like), "--config.train.init_step")
        return leaves_by_path(variables)

    stored = leaves_by_path(shapes)
    return Source(stored, read)


def _file_source(path: Path) -> Source:
    try:
        arrays = rename_keys(read_flat(path), lambda name: name.replace(".", "/"), str(path))
        arrays = {name: as_array(value, name) for name, value in arrays.items()}
    except ValueError as error:
        raise RunError(f"--config.train.init_from: {error}") from error
    return Source(arrays, lambda wanted: {name: jax.device_put(arrays[name], wanted[name].sharding) for name in wanted})
