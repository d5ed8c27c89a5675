"""Folds over sets whose elements are sharded over devices."""

import functools

import jax
from jax import lax
from jax.sharding import Mesh

from jaxnets.devices import device_count, pad_axis, shard_axis
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.set_reductions import Segments, Validity, check_valid
from jaxnets.sets.streaming import Fold


def fold_over_devices(
    fold: Fold, xs: Float[Array, "*batch N D"], valid: Validity = None, *, mesh: Mesh, axis: str
) -> Float[Array, "..."]:
    """Computes a fold over sets whose elements are sharded over devices, with the result of the whole sets.

    Each device folds its own elements. Only the carries are sent between devices, also in the gradient.

    Args:
        fold: A fold with ``merge``, as all folds of this package have.
        xs: ``[*batch, N, D]``, or ``[M, D]`` with ``Segments``, padded to a multiple of the number of devices. A device
            may have no valid element.
        valid: As in ``pooling``.
        mesh: The mesh of devices.
        axis: The mesh axis over which N or M is sharded. Other axes of the mesh may shard the batch.

    Returns:
        The result of the fold, on every device.

    Raises:
        ValueError: An argument has a wrong shape, the fold has no ``merge``, or the mesh has no such axis.
    """
    valid = check_valid(xs, valid)
    if fold.merge is None:
        raise ValueError("`fold` must have `merge`, got None; without it, chunks can only be processed sequentially")
    length, count = xs.shape[-2], device_count(mesh, axis)
    if xs.size == 0:  # XLA fails to shard empty arrays
        return fold.result(fold.init(xs, valid))
    size = length + -length % count
    if isinstance(valid, Segments):
        valid = Segments(pad_axis(valid.ids, 0, size, valid.num_segments), valid.num_segments)
    else:
        valid = pad_axis(valid, valid.ndim - 1, size, False)
    return _run(fold, mesh, axis, pad_axis(xs, xs.ndim - 2, size), valid)


@functools.partial(jax.jit, static_argnums=range(3))
def _run(fold, mesh, axis, xs, valid):
    def on_device(xs, valid):
        carries = lax.all_gather(fold.update(fold.init(xs, valid), xs, valid), axis)
        first, others = (jax.tree.map(lambda a, index=index: a[index], carries) for index in (0, slice(1, None)))
        return fold.result(lax.scan(lambda carry, other: (fold.merge(carry, other), None), first, others)[0])

    return shard_axis(on_device, mesh, axis, (xs.ndim - 2, xs.ndim - 2), None)(xs, valid)
