"""Variables to begin a run with that another one has learned, or that a safetensors file holds."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.parameters import matching, named
from jaxnets.training.state import State, in_use
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


def check(settings: ConfigDict, abstract: State) -> None:
    """A ``UsageError`` or ``RunError`` where a run cannot begin as ``config.train`` says."""
    if settings.begin_from:
        _fitting(settings, abstract)
    elif settings.begin_without:
        raise UsageError(f"--config.train.begin_without={settings.begin_without}: --config.train.begin_from is missing")


def begin(settings: ConfigDict, abstract: State, fresh: State) -> State:
    """The state that a run begins with: ``fresh`` with the variables of ``settings.begin_from``.

    All of them must be there and of the same shape; those in whose path ``settings.begin_without`` is found stay as
    they are in ``fresh``. Where an average of variables is kept, its is what is taken, and it begins with the same.

    Raises:
        UsageError: Something is missing, is more, or is of another shape; all of it is listed.
        RunError: It cannot be read.
    """
    if not settings.begin_from:
        return fresh
    source, wanted = _fitting(settings, abstract)
    # Fresh buffers: those of orbax may be shared, and the training step donates them.
    found = {path: jax.numpy.copy(leaf).astype(wanted[path].dtype) for path, leaf in source.read(wanted).items()}
    variables = unflatten_dict({**_flat(fresh.variables), **found}, sep="/")
    if "average" in fresh.variables:
        variables["average"] = jax.tree.map(jax.numpy.copy, variables)
    return fresh._replace(variables=variables)


def _fitting(settings: ConfigDict, abstract: State) -> tuple[Source, Flat]:
    """What is read from, and the shapes and shardings of what is read."""
    path = Path(settings.begin_from).expanduser()
    # Unlike pathlib's, these functions of os.path return False for names that the file system refuses.
    source = _of_file(path) if os.path.isfile(path) else _of_run(path, settings.begin_step)
    ours = _flat(abstract.variables)
    without = matching("train.begin_without", settings.begin_without, {**ours, **source.shapes})
    wanted = {path: leaf for path, leaf in ours.items() if path not in without}
    offered = {path: leaf for path, leaf in source.shapes.items() if path not in without}
    try:
        compare(offered, {path: leaf.shape for path, leaf in wanted.items()}, f"--config.train.begin_from={path}")
    except ValueError as error:
        hint = "--config.train.begin_without=EXPRESSION leaves out what is to begin afresh"
        raise UsageError(f"{error}. {hint}") from error
    return source, wanted


def _of_run(folder: Path, which: str) -> Source:
    if not os.path.isdir(folder / "checkpoints"):
        raise UsageError(f"--config.train.begin_from={folder}: neither a run with checkpoints nor a safetensors file")
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        shapes = checkpoints.shapes(which, "--config.train.begin_step")
    prefix = ("average",) if "average" in shapes else ()

    def read(wanted: Flat) -> Flat:
        like = {
            (*prefix, *path.split("/")): jax.ShapeDtypeStruct(leaf.shape, has[path].dtype, sharding=leaf.sharding)
            for path, leaf in wanted.items()
        }
        with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
            _, variables = checkpoints.restore_variables(which, unflatten_dict(like), "--config.train.begin_step")
        return named(in_use(variables))

    has = named(in_use(shapes))
    return Source(has, read)


def _of_file(path: Path) -> Source:
    try:
        arrays = renamed(read_flat(path), lambda name: name.replace(".", "/"), str(path))
        arrays = {name: as_array(value, name) for name, value in arrays.items()}
    except ValueError as error:
        raise RunError(f"--config.train.begin_from: {error}") from error
    return Source(arrays, lambda wanted: {name: jax.device_put(arrays[name], wanted[name].sharding) for name in wanted})


def _flat(variables: Any) -> Flat:
    return named({name: leaf for name, leaf in variables.items() if name != "average"})
