"""Division of parameters and batches over the devices of a mesh."""

import contextlib
import contextvars
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
from flax import linen as nn
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jaxnets.learning.parameters import name_of

DATA, COPIES, MODEL = "data", "copies", "model"  # the axes of a mesh

Rules = tuple[tuple[str, tuple[str | None, ...]], ...]

# Paths of parameters, and what their last axes are split over; the first rule that matches counts. These serve any
# model that has an embedding or a head of these names. A family's own are the attribute ``partition_rules`` of its
# modules.
HEAD_RULES: Rules = (
    (r"embed/embedding$", (MODEL, None)),  # [vocabulary, D]
    (r"params/head$|head/kernel$", (None, MODEL)),  # [D, vocabulary or classes]
)

_rules: contextvars.ContextVar[Rules] = contextvars.ContextVar("rules", default=())


@contextlib.contextmanager
def partition_rules(rules: Rules) -> Iterator[None]:
    """Within it, learners that are traced divide parameters by these rules, as ``flax.linen.logical_axis_rules``."""
    token = _rules.set(rules)
    try:
        yield
    finally:
        _rules.reset(token)


def with_rules(rules: Rules, f: Callable) -> Callable:
    """``f``, traced by these rules."""

    def traced(*arguments: Any) -> Any:
        with partition_rules(rules):
            return f(*arguments)

    return traced


def of_parameters(mesh: Mesh | AbstractMesh, rules: Rules, tree: Any, fully: bool) -> Any:
    """Shardings of arrays named as parameters are: by the rules, and over ``data`` too where ``fully`` is set.

    Then the largest axis that can be divided is: what a device keeps of parameters and optimizer is its part, and each
    layer is gathered when it is computed (Zhao et al. 2023, arXiv:2304.11277).
    """

    def place(path: Any, leaf: Any) -> NamedSharding:
        spec = _by_rules(rules, name_of(path), leaf.shape, mesh.shape[MODEL])
        if fully:
            spec = _split_largest(spec, leaf.shape, mesh.shape[DATA])
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree_util.tree_map_with_path(place, tree)


def _by_rules(rules: Rules, path: str, shape: tuple[int, ...], devices: int) -> tuple[str | None, ...]:
    for pattern, last in rules:
        if re.search(pattern, path) and len(last) <= len(shape):
            spec = (None,) * (len(shape) - len(last)) + last  # layers that are scanned over come first
            whole = all(axis is None or size % devices == 0 for axis, size in zip(spec, shape, strict=True))
            return spec if whole else (None,) * len(shape)
    return (None,) * len(shape)


def _split_largest(spec: tuple[str | None, ...], shape: tuple[int, ...], devices: int) -> tuple[str | None, ...]:
    free = [axis for axis, size in enumerate(shape) if spec[axis] is None and size and size % devices == 0]
    if not free:
        return spec
    largest = max(free, key=lambda axis: shape[axis])
    return tuple(DATA if axis == largest else name for axis, name in enumerate(spec))


def of_rows(mesh: Mesh, tree: Any) -> Any:
    """Shardings of arrays whose first axis is a batch's rows; on every device where they cannot be divided."""

    def place(leaf: Any) -> NamedSharding:
        divided = leaf.ndim > 0 and leaf.shape[0] % mesh.shape[DATA] == 0
        return NamedSharding(mesh, PartitionSpec(DATA) if divided else PartitionSpec())

    return jax.tree.map(place, tree)


def everywhere(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device has whole."""
    return NamedSharding(mesh, PartitionSpec())


def of_layout(mesh: Mesh, rules: Rules, layout: Any, tree: Any, fully: bool) -> Any:
    """Shardings of a learner's state by its ``layout``."""
    places = {
        "parameters": lambda part: of_parameters(mesh, rules, part, fully),
        "rows": lambda part: of_rows(mesh, part),
        "replicated": lambda part: jax.tree.map(lambda _: everywhere(mesh), part),
    }
    return jax.tree.map(lambda name, part: places[name](part), layout, tree)


def count_rows(batch: Any) -> int:
    """The number of rows of a batch, the first axis of each of its arrays."""
    return len(jax.tree.leaves(batch)[0])


def by_rows(f: Callable) -> Callable:
    """``f(variables, batch, ...)``, traced so that devices compute their rows and gather what is split.

    Where a parameter and a batch are both split over ``data``, XLA may leave the parameter's parts where they are and
    move the numbers of all rows instead, in every layer. So what modules give is constrained to stay divided by rows.
    What no rule names is gathered before anything: a loop over time would gather it in every step. The others, which
    are those of layers that are scanned over, are gathered layer by layer. Without a mesh nothing changes.
    """

    def traced(variables: Any, batch: Any, *others: Any) -> Any:
        mesh = jax.typeof(jax.tree.leaves(variables)[0]).sharding.mesh
        rows, devices = count_rows(batch), mesh.shape.get(DATA, 1)
        if devices == 1 or rows % devices:
            return f(variables, batch, *others)

        def divided(leaf: Any) -> Any:
            if not isinstance(leaf, jax.Array) or leaf.ndim == 0 or len(leaf) != rows:
                return leaf
            spec = PartitionSpec(DATA, *[PartitionSpec.UNCONSTRAINED] * (leaf.ndim - 1))
            return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, spec))

        def constrained(given: Any) -> Any:
            if type(given) is dict:  # in their order, which jax.tree.map does not keep: activations are named in it
                return {name: constrained(value) for name, value in given.items()}
            return jax.tree.map(divided, given)

        def gathered(leaf: jax.Array, there: NamedSharding) -> jax.Array:
            return leaf if MODEL in there.spec else jax.lax.with_sharding_constraint(leaf, there)

        variables = jax.tree.map(gathered, variables, of_parameters(mesh, _rules.get(), variables, fully=False))
        with nn.intercept_methods(lambda call, args, options, _: constrained(call(*args, **options))):
            return f(variables, batch, *others)

    return traced
