"""One long axis, of time or of elements, divided over the devices along one axis of a mesh."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, PartitionSpec


def device_count(mesh: Mesh, axis: str) -> int:
    """How many devices there are along an axis of a mesh.

    Raises:
        ValueError: The mesh has no such axis, or axes that are not of type ``Auto``.
    """
    if any(kind != AxisType.Auto for kind in mesh.axis_types):
        raise ValueError(
            "mesh: axes of type Auto expected, as of jax.make_mesh(sizes, names, (AxisType.Auto,) * len(names)); "
            f"given {', '.join(kind.name for kind in mesh.axis_types)}"
        )
    if axis not in mesh.axis_names:
        raise ValueError(f"axis: one of the mesh's, {', '.join(map(repr, mesh.axis_names))}, expected; given {axis!r}")
    return mesh.shape[axis]


def divided(f: Callable, mesh: Mesh, axis: str, in_axes: tuple[int | None, ...], out_axes: Any) -> Callable:
    """``f`` of each device's parts; to be compiled. Along the mesh's other axes XLA divides the work, as ever.

    Args:
        f: A function of arrays, or trees of them. It may talk to the other devices along ``axis``.
        mesh, axis: Which devices.
        in_axes: For each argument which of its axes is divided, None where every device has it whole.
        out_axes: The same of the results; None where all devices have found the same.
    """

    def specs(axes):
        along = lambda number: PartitionSpec() if number is None else PartitionSpec(*(None,) * number, axis)
        return jax.tree.map(along, axes, is_leaf=lambda number: number is None)

    # What varies over devices is not tracked: custom gradients and loops that begin with zeros do not say it.
    return jax.shard_map(
        f, mesh=mesh, in_specs=specs(in_axes), out_specs=specs(out_axes), axis_names={axis}, check_vma=False
    )


def padded(array: jax.Array, axis: int, size: int, value: Any = 0) -> jax.Array:
    """An array with more of one value at the end of an axis, of this size then."""
    if array.shape[axis] == size:
        return array
    return jnp.pad(array, [(0, (i == axis) * (size - n)) for i, n in enumerate(array.shape)], constant_values=value)
