"""Where a run's arrays lie: rows of a batch over devices, parameters by ordered rules, all else on every device."""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from flax import linen as nn
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from jaxnets.training.errors import UsageError
from jaxnets.training.parameters import name_of

DATA, COPIES, MODEL = "data", "copies", "model"  # the axes of a mesh

# Path of a parameter, and what its last axes are split over; the first rule that matches counts. Megatron-LM's way
# (Shoeybi et al. 2019, arXiv:1909.08053): heads and hidden units lie apart, so that a block adds up once per half.
RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"(query|key|value)/kernel$", (None, MODEL, None)),  # [D, heads, depth]
    (r"(query|key|value)/bias$", (MODEL, None)),
    (r"(attention|cross)/out/kernel$", (MODEL, None, None)),  # [heads, depth, D]
    (r"(inner|gate)/kernel$", (None, MODEL)),
    (r"(inner|gate)/bias$", (MODEL,)),
    (r"outer/kernel$", (MODEL, None)),
    (r"embed/embedding$", (MODEL, None)),  # [vocabulary, D]
    (r"params/head$|head/kernel$", (None, MODEL)),  # [D, vocabulary or classes]
)


def make_mesh(settings: ConfigDict, rows: int) -> Mesh:
    """All devices of all processes, as ``data`` times ``copies`` times ``model``.

    Args:
        settings: ``config.devices``.
        rows: Of a batch, or of a part of it where gradients are accumulated. Where they cannot be divided by the
            devices that are left for them, groups of devices read the same rows.

    Raises:
        UsageError: ``settings.model`` does not divide the number of devices.
    """
    count, model = jax.device_count(), settings.model
    if model < 1 or count % model:
        raise UsageError(f"--config.devices.model={model}: a divisor of the {count} devices expected")
    data = math.gcd(count // model, rows)
    sizes = data, count // model // data, model
    return jax.make_mesh(sizes, (DATA, COPIES, MODEL), axis_types=(AxisType.Auto,) * len(sizes))


def of_parameters(mesh: Mesh | AbstractMesh, tree: Any, fully: bool) -> Any:
    """Shardings of arrays named as parameters are: by the rules, and over ``data`` too where ``fully`` is set.

    Then the largest axis that can be divided is: what a device keeps of parameters and optimiser is its part, and each
    layer is gathered when it is computed (Zhao et al. 2023, arXiv:2304.11277).
    """

    def place(path: Any, leaf: Any) -> NamedSharding:
        spec = _by_rules(name_of(path), leaf.shape, mesh.shape[MODEL])
        if fully:
            spec = _split_largest(spec, leaf.shape, mesh.shape[DATA])
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree_util.tree_map_with_path(place, tree)


def _by_rules(path: str, shape: tuple[int, ...], devices: int) -> tuple[str | None, ...]:
    for pattern, last in RULES:
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


def rows_here(mesh: Mesh, count: int) -> np.ndarray:
    """Numbers of those of a batch's ``count`` rows that devices of this process hold, ascending."""
    at = of_rows(mesh, jax.ShapeDtypeStruct((count,), np.bool_))
    found = at.addressable_devices_indices_map((count,)).values()
    return np.unique(np.concatenate([np.arange(count)[index] for index in found]))


class Share(NamedTuple):
    """Batches as one process reads them.

    Attributes:
        batches: Of each, the rows of ``rows_here``.
        mesh: The devices that compute.
        rows: How many a batch has in all processes; None: those that this one reads.
    """

    batches: grain.MapDataset
    mesh: Mesh
    rows: int | None = None

    def put(self, batch: Any) -> Any:
        """One of the batches on all devices."""
        rows = self.rows or count_rows(batch)
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype), batch)
        place = lambda at, leaf, whole: jax.make_array_from_process_local_data(at, leaf, whole.shape)
        return jax.tree.map(place, of_rows(self.mesh, shapes), batch, shapes)


def on_one_device(batches: grain.MapDataset) -> Share:
    """Whole batches, for the first device of this process."""
    mesh = Mesh(np.array(jax.local_devices()[:1]).reshape(1, 1, 1), (DATA, COPIES, MODEL))
    return Share(batches, mesh)


def count_rows(batch: Any) -> int:
    """How many rows a batch has: all its arrays begin with them."""
    return len(jax.tree.leaves(batch)[0])


def by_rows(f: Callable) -> Callable:
    """``f(variables, batch, ...)`` of a task, traced so that devices compute their rows and gather what is split.

    Where a parameter and a batch are both split over ``data``, XLA may leave the parameter's parts where they are and
    move the numbers of all rows instead, in every layer. So what modules give is told to stay divided by rows. What no
    rule names is gathered before anything: a loop over time would gather it in every step. The others, which are those
    of layers that are scanned over, are gathered layer by layer. Without a mesh nothing changes.
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

        def gathered(leaf: jax.Array, there: NamedSharding) -> jax.Array:
            return leaf if MODEL in there.spec else jax.lax.with_sharding_constraint(leaf, there)

        variables = jax.tree.map(gathered, variables, of_parameters(mesh, variables, fully=False))
        with nn.intercept_methods(lambda call, args, options, _: jax.tree.map(divided, call(*args, **options))):
            return f(variables, batch, *others)

    return traced


def settled(tree: Any) -> Any:
    """The arrays, computed where one CPU is made to look like several devices, else still on their way.

    There programs of all devices that are under way at once may wait for each other for ever.
    """
    simulated = jax.default_backend() == "cpu" and jax.device_count() > 1
    return jax.block_until_ready(tree) if simulated else tree


def everywhere(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device has whole."""
    return NamedSharding(mesh, PartitionSpec())
