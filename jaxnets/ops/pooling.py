"""Sums, means and extremes over the elements of sets or the steps of sequences.

All take elements ``[*batch, N, D]`` and ``members``: a bool mask ``[*batch, N]``, True where an element is real, or
None; or elements ``[M, D]`` and ``Segments``. They return ``[*batch, D]`` or ``[S, D]`` in the dtype of the elements,
summed in float32, with zeros and gradients of zero for an empty set. Padding has no effect, even NaN.
"""

import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.members import Members, check_members, largest, mean, sizes, smallest, total
from jaxnets.ops.meshes import auto_sharded, per_feature


@auto_sharded(per_feature)
def sum_pool(xs: Float[Array, "*batch N D"], members: Members = None) -> Float[Array, "*sets D"]:
    r""":math:`\sum_i x_i` (Zaheer et al. 2017, arXiv:1703.06114)."""
    return total(xs, check_members(xs, members)).astype(xs.dtype)


@auto_sharded(per_feature)
def mean_pool(xs: Float[Array, "*batch N D"], members: Members = None) -> Float[Array, "*sets D"]:
    r""":math:`\frac{1}{n} \sum_i x_i`."""
    members = check_members(xs, members)
    return mean(xs, members).astype(xs.dtype)


@auto_sharded(per_feature)
def max_pool(xs: Float[Array, "*batch N D"], members: Members = None) -> Float[Array, "*sets D"]:
    r""":math:`\max_i x_i` of each feature."""
    members = check_members(xs, members)
    return jnp.where(sizes(members) > 0, largest(xs, members), 0)


@auto_sharded(per_feature)
def min_pool(xs: Float[Array, "*batch N D"], members: Members = None) -> Float[Array, "*sets D"]:
    r""":math:`\min_i x_i` of each feature."""
    members = check_members(xs, members)
    return jnp.where(sizes(members) > 0, smallest(xs, members), 0)
