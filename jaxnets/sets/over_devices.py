"""Large sets divided over devices: each folds its own elements, and what the folds have found is merged."""

import functools

import jax
from jax import lax
from jax.sharding import Mesh

from jaxnets.devices import device_count, divided, padded
from jaxnets.ops.set_reductions import Segments, Validity, check_valid
from jaxnets.sets.streaming import Fold


def fold_over_devices(fold: Fold, xs: jax.Array, valid: Validity = None, *, mesh: Mesh, axis: str) -> jax.Array:
    """The summary of sets whose elements are divided over devices, equal to that of the whole.

    Between the n devices go n carries of the fold, in the gradient too, however large the sets.

    Args:
        fold: A fold that can merge, as all of this package can.
        xs: ``[*batch, N, D]``, or ``[M, D]`` with ``Segments``. Where the number of devices n does not divide N or M,
            they are padded. A device may be without a real element.
        valid: As in ``pooling``.
        mesh: The devices.
        axis: The axis of the mesh that N or M is divided over. What its other axes divide, such as a batch, they go on
            dividing.

    Returns:
        The fold's summary, on every device.

    Raises:
        ValueError: An argument does not fit, the fold cannot merge, or the mesh has no such axis.
    """
    valid = check_valid(xs, valid)
    if fold.merge is None:
        raise ValueError("`fold` must have a merge, got None; without it chunks are only read one after the other")
    length, count = xs.shape[-2], device_count(mesh, axis)
    if xs.size == 0:  # XLA fails to divide arrays without elements
        return fold.result(fold.start(xs, valid))
    size = length + -length % count
    if isinstance(valid, Segments):
        valid = Segments(padded(valid.ids, 0, size, valid.num_segments), valid.num_segments)
    else:
        valid = padded(valid, valid.ndim - 1, size, False)
    return _run(fold, mesh, axis, padded(xs, xs.ndim - 2, size), valid)


@functools.partial(jax.jit, static_argnums=range(3))
def _run(fold, mesh, axis, xs, valid):
    def of_device(xs, valid):
        found = lax.all_gather(fold.add(fold.start(xs, valid), xs, valid), axis)
        first, others = (jax.tree.map(lambda a, cut=cut: a[cut], found) for cut in (0, slice(1, None)))
        return fold.result(lax.scan(lambda carry, other: (fold.merge(carry, other), None), first, others)[0])

    return divided(of_device, mesh, axis, (xs.ndim - 2, xs.ndim - 2), None)(xs, valid)
