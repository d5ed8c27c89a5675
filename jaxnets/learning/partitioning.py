"""Sharding of parameters and batches over the devices of a mesh."""

import contextlib
import contextvars
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
from flax import linen as nn
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jaxnets.learning.parameters import path_name

DATA, COPIES, MODEL = "data", "copies", "model"  # mesh axes

Rules = tuple[tuple[str, tuple[str | None, ...]], ...]

# A rule is a regular expression for paths of parameters and the mesh axes of their last array axes. The first match
# applies. These rules suit any model with an embedding or a head of these names. Modules declare further rules in
# their attribute ``partition_rules``.
HEAD_RULES: Rules = (
    (r"embed/embedding$", (MODEL, None)),  # [V, D]
    (r"params/head$|head/kernel$", (None, MODEL)),  # [D, V] or [D, classes]
)

_rules: contextvars.ContextVar[Rules] = contextvars.ContextVar("rules", default=())


@contextlib.contextmanager
def partition_rules(rules: Rules) -> Iterator[None]:
    """Context manager that sets the partition rules for tracing, like ``flax.linen.logical_axis_rules``."""
    token = _rules.set(rules)
    try:
        yield
    finally:
        _rules.reset(token)


def with_partition_rules(rules: Rules, f: Callable) -> Callable:
    """Returns a function that calls ``f`` within ``partition_rules(rules)``."""

    def traced(*arguments: Any) -> Any:
        with partition_rules(rules):
            return f(*arguments)

    return traced


def parameter_shardings(mesh: Mesh | AbstractMesh, rules: Rules, tree: Any, fsdp: bool) -> Any:
    """Returns the shardings of a tree of parameters, or of arrays with the same paths, such as moments.

    With ``fsdp`` (Zhao et al. 2023, arXiv:2304.11277) the largest divisible axis of each array is also sharded over
    ``data``: each device stores a shard of the parameters and of the optimizer state, and gathers a layer when it
    computes it.
    """

    def place(path: Any, leaf: Any) -> NamedSharding:
        spec = _match_rules(rules, path_name(path), leaf.shape, mesh.shape[MODEL])
        if fsdp:
            spec = _split_largest(spec, leaf.shape, mesh.shape[DATA])
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree_util.tree_map_with_path(place, tree)


def _match_rules(rules: Rules, path: str, shape: tuple[int, ...], devices: int) -> tuple[str | None, ...]:
    for pattern, last in rules:
        if re.search(pattern, path) and len(last) <= len(shape):
            spec = (None,) * (len(shape) - len(last)) + last  # scanned layers add a leading axis
            divisible = all(axis is None or size % devices == 0 for axis, size in zip(spec, shape, strict=True))
            return spec if divisible else (None,) * len(shape)
    return (None,) * len(shape)


def _split_largest(spec: tuple[str | None, ...], shape: tuple[int, ...], devices: int) -> tuple[str | None, ...]:
    free = [axis for axis, size in enumerate(shape) if spec[axis] is None and size and size % devices == 0]
    if not free:
        return spec
    largest = max(free, key=lambda axis: shape[axis])
    return tuple(DATA if axis == largest else name for axis, name in enumerate(spec))


def row_shardings(mesh: Mesh, tree: Any) -> Any:
    """Returns shardings over the rows, the first axis of a batch. Arrays that do not divide evenly are replicated."""

    def place(leaf: Any) -> NamedSharding:
        divisible = leaf.ndim > 0 and leaf.shape[0] % mesh.shape[DATA] == 0
        return NamedSharding(mesh, PartitionSpec(DATA) if divisible else PartitionSpec())

    return jax.tree.map(place, tree)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that are replicated on all devices."""
    return NamedSharding(mesh, PartitionSpec())


def layout_shardings(mesh: Mesh, rules: Rules, layout: Any, tree: Any, fsdp: bool) -> Any:
    """Returns the shardings of a learner's state according to its ``layout``."""
    shardings = {
        "parameters": lambda subtree: parameter_shardings(mesh, rules, subtree, fsdp),
        "rows": lambda subtree: row_shardings(mesh, subtree),
        "replicated": lambda subtree: jax.tree.map(lambda _: replicated(mesh), subtree),
    }
    return jax.tree.map(lambda name, subtree: shardings[name](subtree), layout, tree)


def count_rows(batch: Any) -> int:
    """Returns the number of rows of a batch: the size of the first axis of its arrays."""
    return len(jax.tree.leaves(batch)[0])


def with_row_sharding(f: Callable) -> Callable:
    """Returns ``f(variables, batch, ...)`` with constraints that keep activations sharded by rows.

    If parameters and batch are both sharded over ``data``, XLA may leave the parameters sharded and communicate the
    activations of all rows in every layer. Constraints on the outputs of all modules prevent this. Parameters that
    match no rule are gathered once at the start, because a loop over time would gather them in every step. Parameters
    with a rule stay sharded over ``model`` and are gathered layer by layer. Without a mesh ``f`` is unchanged.
    """

    def traced(variables: Any, batch: Any, *others: Any) -> Any:
        mesh = jax.typeof(jax.tree.leaves(variables)[0]).sharding.mesh
        rows, devices = count_rows(batch), mesh.shape.get(DATA, 1)
        if devices == 1 or rows % devices:
            return f(variables, batch, *others)

        def constrain_rows(leaf: Any) -> Any:
            if not isinstance(leaf, jax.Array) or leaf.ndim == 0 or len(leaf) != rows:
                return leaf
            spec = PartitionSpec(DATA, *[PartitionSpec.UNCONSTRAINED] * (leaf.ndim - 1))
            return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, spec))

        def constrain(outputs: Any) -> Any:
            if type(outputs) is dict:  # jax.tree.map would sort the keys, and their order names the activations
                return {name: constrain(value) for name, value in outputs.items()}
            return jax.tree.map(constrain_rows, outputs)

        def gather(leaf: jax.Array, sharding: NamedSharding) -> jax.Array:
            return leaf if MODEL in sharding.spec else jax.lax.with_sharding_constraint(leaf, sharding)

        variables = jax.tree.map(gather, variables, parameter_shardings(mesh, _rules.get(), variables, fsdp=False))
        with nn.intercept_methods(lambda call, args, options, _: constrain(call(*args, **options))):
            return f(variables, batch, *others)

    return traced
