"""Sharding of one long array axis, such as time or set elements, over one axis of a device mesh."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, PartitionSpec


def device_count(mesh: Mesh, axis: str) -> int:
    """Returns the number of devices along an axis of a mesh.

    Raises:
        ValueError: The mesh has no such axis, or has axes of another type than ``Auto``.
    """
    if any(kind != AxisType.Auto for kind in mesh.axis_types):
        raise ValueError(
            "`mesh` must have axes of type Auto, as from jax.make_mesh(sizes, names, (AxisType.Auto,) * len(names)), "
            f"got {', '.join(kind.name for kind in mesh.axis_types)}"
        )
    if axis not in mesh.axis_names:
        raise ValueError(f"`axis` must be one of {', '.join(map(repr, mesh.axis_names))}, the mesh axes, got {axis!r}")
    return mesh.shape[axis]


def shard_axis(f: Callable, mesh: Mesh, axis: str, in_axes: tuple[int | None, ...], out_axes: Any) -> Callable:
    """Maps a function over the shards of its arguments along one mesh axis.

    The result must be called under ``jax.jit``. XLA shards the computation along the other mesh axes.

    Args:
        f: A function of arrays or pytrees of arrays. It receives the shards of one device, and may use collectives
            over ``axis``.
        mesh: The device mesh.
        axis: The name of the mesh axis.
        in_axes: For each argument, the index of the array axis to shard, or None for a replicated argument.
        out_axes: The same for the results. A result with None must be equal on all devices.

    Returns:
        A function of the whole arrays.
    """

    def specs(axes):
        spec = lambda index: PartitionSpec() if index is None else PartitionSpec(*(None,) * index, axis)
        return jax.tree.map(spec, axes, is_leaf=lambda index: index is None)

    # check_vma=False: custom gradients and loops over initial zeros do not mark values that vary over devices.
    return jax.shard_map(
        f, mesh=mesh, in_specs=specs(in_axes), out_specs=specs(out_axes), axis_names={axis}, check_vma=False
    )


def pad_axis(array: jax.Array, axis: int, size: int, value: Any = 0) -> jax.Array:
    """Pads an array at the end of one axis, up to ``size``."""
    if array.shape[axis] == size:
        return array
    return jnp.pad(array, [(0, (i == axis) * (size - n)) for i, n in enumerate(array.shape)], constant_values=value)
