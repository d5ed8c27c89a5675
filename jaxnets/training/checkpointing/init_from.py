"""Variables to begin a run with that another one has learned, or that a safetensors file holds."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from jaxnets.learning.parameters import named
from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.config import matching
from jaxnets.training.errors import RunError, UsageError
from jaxnets.weights.check import as_array, compare, renamed
from jaxnets.weights.files import read_flat

Flat = dict[str, Any]  # by path, such as params/head/kernel


class Source(NamedTuple):
    """Attributes:
    shapes: What there is.
    read: ``shapes -> arrays``, of some of them, where their shardings say.
    """

    shapes: Flat
    read: Callable[[Flat], Flat]


def check(settings: ConfigDict, abstract: Any) -> None:
    """A ``UsageError`` or ``RunError`` where a run cannot begin as ``config.train`` says.

    Args:
        settings: ``config.train``.
        abstract: Shapes and shardings of the model's variables.
    """
    if settings.init_from:
        _fitting(settings, abstract)
    elif settings.init_exclude:
        raise UsageError(f"--config.train.init_exclude={settings.init_exclude}: --config.train.init_from is missing")


def begin(settings: ConfigDict, abstract: Any, fresh: Any) -> Any:
    """The variables that a run begins with: ``fresh`` ones with those of ``settings.init_from``.

    All of them must be there and of the same shape; those in whose path ``settings.init_exclude`` is found stay as
    they are in ``fresh``.

    Raises:
        UsageError: Something is missing, is more, or is of another shape; all of it is listed.
        RunError: It cannot be read.
    """
    source, wanted = _fitting(settings, abstract)
    # Fresh buffers: those of orbax may be shared.
    found = {path: jax.numpy.copy(leaf).astype(wanted[path].dtype) for path, leaf in source.read(wanted).items()}
    return unflatten_dict({**named(fresh), **found}, sep="/")


def _fitting(settings: ConfigDict, abstract: Any) -> tuple[Source, Flat]:
    """What is read from, and the shapes and shardings of what is read."""
    path = Path(settings.init_from).expanduser()
    # Unlike pathlib's, these functions of os.path return False for names that the file system refuses.
    source = _of_file(path) if os.path.isfile(path) else _of_run(path, settings.init_step)
    ours = named(abstract)
    without = matching("train.init_exclude", settings.init_exclude, {**ours, **source.shapes})
    wanted = {path: leaf for path, leaf in ours.items() if path not in without}
    offered = {path: leaf for path, leaf in source.shapes.items() if path not in without}
    try:
        compare(offered, {path: leaf.shape for path, leaf in wanted.items()}, f"--config.train.init_from={path}")
    except ValueError as error:
        hint = "--config.train.init_exclude=EXPRESSION leaves out what is to begin afresh"
        raise UsageError(f"{error}. {hint}") from error
    return source, wanted


def _of_run(folder: Path, which: str) -> Source:
    if not os.path.isdir(folder / "checkpoints"):
        raise UsageError(f"--config.train.init_from must be a run with checkpoints or a safetensors file, got {folder}")
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        shapes = checkpoints.shapes(which, "--config.train.init_step")

    def read(wanted: Flat) -> Flat:
        like = {
            tuple(path.split("/")): jax.ShapeDtypeStruct(leaf.shape, has[path].dtype, sharding=leaf.sharding)
            for path, leaf in wanted.items()
        }
        with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
            _, variables = checkpoints.restore_variables(which, unflatten_dict(like), "--config.train.init_step")
        return named(variables)

    has = named(shapes)
    return Source(has, read)


def _of_file(path: Path) -> Source:
    try:
        arrays = renamed(read_flat(path), lambda name: name.replace(".", "/"), str(path))
        arrays = {name: as_array(value, name) for name, value in arrays.items()}
    except ValueError as error:
        raise RunError(f"--config.train.init_from: {error}") from error
    return Source(arrays, lambda wanted: {name: jax.device_put(arrays[name], wanted[name].sharding) for name in wanted})
