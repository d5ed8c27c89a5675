"""Sum, mean, maximum and minimum over the elements of sets or the steps of sequences.

All functions take elements ``[*batch, N, D]`` and a mask ``valid``, bool ``[*batch, N]`` or None, or elements
``[M, D]`` and ``Segments``. They return ``[*batch, D]`` or ``[S, D]`` in the dtype of the elements, and accumulate in
float32. An empty set yields zeros with gradients of zero. Padding has no effect, even if it is NaN.
"""

import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.meshes import auto_sharded, per_feature
from jaxnets.ops.set_reductions import Validity, check_valid, set_max, set_mean, set_min, set_sizes, set_sum


@auto_sharded(per_feature)
def sum_pool(xs: Float[Array, "*batch N D"], valid: Validity = None) -> Float[Array, "*sets D"]:
    r"""Computes :math:`\sum_i x_i` (Zaheer et al. 2017, arXiv:1703.06114)."""
    return set_sum(xs, check_valid(xs, valid)).astype(xs.dtype)


@auto_sharded(per_feature)
def mean_pool(xs: Float[Array, "*batch N D"], valid: Validity = None) -> Float[Array, "*sets D"]:
    r"""Computes :math:`\frac{1}{n} \sum_i x_i`."""
    valid = check_valid(xs, valid)
    return set_mean(xs, valid).astype(xs.dtype)


@auto_sharded(per_feature)
def max_pool(xs: Float[Array, "*batch N D"], valid: Validity = None) -> Float[Array, "*sets D"]:
    r"""Computes :math:`\max_i x_i` of each feature."""
    valid = check_valid(xs, valid)
    return jnp.where(set_sizes(valid) > 0, set_max(xs, valid), 0)


@auto_sharded(per_feature)
def min_pool(xs: Float[Array, "*batch N D"], valid: Validity = None) -> Float[Array, "*sets D"]:
    r"""Computes :math:`\min_i x_i` of each feature."""
    valid = check_valid(xs, valid)
    return jnp.where(set_sizes(valid) > 0, set_min(xs, valid), 0)
