"""Sums, means and extremes over the elements of sets or the steps of sequences.

All take elements ``[*batch, N, D]`` and ``valid``: a bool mask ``[*batch, N]``, True where an element is real, or
None; or elements ``[M, D]`` and ``Segments``. They return ``[*batch, D]`` or ``[S, D]`` in the dtype of the elements,
summed in float32, with zeros and gradients of zero for an empty set. Padding has no effect, even NaN.
"""

import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.meshes import auto_sharded, per_feature
from jaxnets.ops.set_reductions import Validity, check_valid, largest, mean, sizes, smallest, total


@auto_sharded(per_feature)
def sum_pool(xs: Float[Array, "*batch N D"], valid: Validity = None) -> Float[Array, "*sets D"]:
    r""":math:`\sum_i x_i` (Zaheer et al. 2017, arXiv:1703.06114)."""
    return total(xs, check_valid(xs, valid)).astype(xs.dtype)


@auto_sharded(per_feature)
def mean_pool(xs: Float[Array, "*batch N D"], valid: Validity = None) -> Float[Array, "*sets D"]:
    r""":math:`\frac{1}{n} \sum_i x_i`."""
    valid = check_valid(xs, valid)
    return mean(xs, valid).astype(xs.dtype)


@auto_sharded(per_feature)
def max_pool(xs: Float[Array, "*batch N D"], valid: Validity = None) -> Float[Array, "*sets D"]:
    r""":math:`\max_i x_i` of each feature."""
    valid = check_valid(xs, valid)
    return jnp.where(sizes(valid) > 0, largest(xs, valid), 0)


@auto_sharded(per_feature)
def min_pool(xs: Float[Array, "*batch N D"], valid: Validity = None) -> Float[Array, "*sets D"]:
    r""":math:`\min_i x_i` of each feature."""
    valid = check_valid(xs, valid)
    return jnp.where(sizes(valid) > 0, smallest(xs, valid), 0)
