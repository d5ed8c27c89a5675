"""From a set to one vector, whatever the order and number of its elements.

All take elements ``[*batch, N, D]`` and ``valid``: a bool mask ``[*batch, N]``, True where an element is real, or
None; or elements ``[M, D]`` and ``Segments``. They return ``[*batch, D]`` or ``[S, D]`` in the dtype of the elements,
summed in float32, with zeros and gradients of zero for an empty set. Padding has no effect, even NaN.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.checks import check_choice
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.meshes import auto_sharded, per_feature
from jaxnets.ops.pooling import max_pool, mean_pool, min_pool, sum_pool
from jaxnets.ops.set_reductions import (
    Validity,
    broadcast_to_elements,
    check_valid,
    set_max,
    set_mean,
    set_sizes,
    set_sum,
    sort_elements,
    where_valid,
)


@auto_sharded(per_feature)
def quantile_pool(xs: jax.Array, quantile: float, valid: Validity = None) -> jax.Array:
    """The value that a part of each feature's values is below, between two values in proportion (numpy's "linear").

    A value without a share in the quantile has no effect, infinite or not, as in ``numpy.median``; NaN yields NaN.

    Args:
        xs, valid: As above.
        quantile: From 0, the smallest, to 1, the largest.

    Raises:
        ValueError: ``quantile`` is out of range.
    """
    if isinstance(quantile, jax.core.Tracer) or jnp.ndim(quantile) or not 0 <= quantile <= 1:
        raise ValueError(f"`quantile` must be a number from 0 to 1, got {quantile}")
    quantile = float(quantile)
    valid = check_valid(xs, valid)
    ordered, valid, rank = sort_elements(xs, valid)
    # Each element's share in the quantile: 1 - |its rank - the place of the quantile|, not below 0.
    place = broadcast_to_elements(quantile * (set_sizes(valid).astype(rank.dtype) - 1), valid)
    share = jnp.maximum(1 - jnp.abs(rank - place), 0)
    ordered = where_valid(ordered, valid).astype(rank.dtype)
    share = jnp.where(jnp.isnan(ordered), 1, share)
    return set_sum(share * jnp.where(share > 0, ordered, 0), valid).astype(xs.dtype)


@auto_sharded(per_feature)
def median_pool(xs: jax.Array, valid: Validity = None) -> jax.Array:
    """Of each feature; the mean of the two in the middle where n is even."""
    return quantile_pool(xs, 0.5, valid)


@auto_sharded(per_feature)
def softmax_pool(xs: jax.Array, scores: jax.Array, valid: Validity = None) -> jax.Array:
    r""":math:`\sum_i a_i x_i, \ a = \mathrm{softmax}(s)` over the set; zeros where all scores are minus infinity.

    Args:
        xs, valid: As above.
        scores: s, ``[*batch, N, 1]`` or ``[*batch, N, D]``: a weight of each element, or of each of its features.
    """
    if scores.shape[:-1] != xs.shape[:-1] or scores.shape[-1] not in (1, xs.shape[-1]):
        raise ValueError(f"`scores` must be of shape {xs.shape}, or 1 as its last axis, got {scores.shape}")
    valid = check_valid(xs, valid)
    dtype = at_least_float32(xs.dtype, scores.dtype)
    scores = where_valid(scores, valid, -np.inf).astype(dtype)
    highest = jax.lax.stop_gradient(set_max(scores, valid))
    weights = jnp.exp(scores - broadcast_to_elements(jnp.where(jnp.isneginf(highest), 0, highest), valid))
    chex.assert_equal_rank([weights, xs])
    normalizer = set_sum(weights, valid)
    pooled = set_sum(weights * where_valid(xs, valid).astype(dtype), valid)
    return (pooled / jnp.where(normalizer == 0, 1, normalizer)).astype(xs.dtype)


@auto_sharded(per_feature)
def power_mean_pool(xs: jax.Array, power: jax.Array | float, valid: Validity = None) -> jax.Array:
    r""":math:`\left(\frac{1}{n} \sum_i x_i^p\right)^{1/p}`: mean for p = 1, geometric mean for 0, maximum for large p.

    Args:
        xs, valid: As above; numbers below 1e-6 count as 1e-6.
        power: p, a number or ``[D]``, which can be learned.
    """
    valid = check_valid(xs, valid)
    numbers = where_valid(xs, valid, 1.0).astype(at_least_float32(xs.dtype))
    infinite = jnp.isposinf(numbers)
    logs = jnp.log(jnp.maximum(jnp.where(infinite, 1, numbers), 1e-6))
    any_infinite = set_max(infinite.astype(logs.dtype), valid) > 0
    power = _as_row(power, xs.shape[-1], any_infinite.ndim, logs.dtype)
    small = (jnp.abs(power) < 0.01) & ~any_infinite
    safe = jnp.where(small | (power == 0), 1, power)
    # The power of an infinity is infinity or 0, and the mean of the others decides below 0.
    exponents = jnp.where(infinite, -np.inf, broadcast_to_elements(safe, valid) * logs)
    highest = jax.lax.stop_gradient(set_max(exponents, valid))
    highest = jnp.where(jnp.isneginf(highest), 0, highest)
    # Of what is not real too nothing may overflow: the gradient of p would be NaN.
    powers = set_mean(jnp.exp(where_valid(exponents - broadcast_to_elements(highest, valid), valid)), valid)
    # Near p = 0 by the cumulants k of the logarithms: k_1 + p/2 k_2 + p^2/6 k_3 + ...
    middle = set_mean(logs, valid)
    second, third = (set_mean((logs - broadcast_to_elements(middle, valid)) ** n, valid) for n in (2, 3))
    near = middle + power / 2 * second + power**2 / 6 * third
    log = jnp.where(small, near, (jnp.log(jnp.where(powers == 0, 1, powers)) + highest) / safe)
    boundless = any_infinite & ((power >= 0) | (powers == 0)) & ~jnp.isnan(powers)
    bounded = (set_sizes(valid) > 0) & ~boundless
    return jnp.where(bounded, jnp.exp(jnp.where(bounded, log, 0)), jnp.where(boundless, np.inf, 0)).astype(xs.dtype)


def _as_row(power, features, rank, dtype):
    """A power, one or of each feature, as ``[1, ..., D]`` or ``[1, ..., 1]``."""
    power = jnp.asarray(power, dtype)
    if power.size not in (1, features) or (power.ndim and power.size != power.shape[-1]):
        raise ValueError(f"`power` must be a number or an array of shape ({features},), got shape {power.shape}")
    return power.reshape((1,) * (rank - 1) + (-1,))


@auto_sharded(per_feature)
def sorted_pool(xs: jax.Array, weights: jax.Array, valid: Validity = None) -> jax.Array:
    r"""FSPool (Zhang et al. 2020, arXiv:1906.02795): a weighted sum of each feature's values in descending order.

    .. math:: \sum_i f_d\left(\tfrac{i}{n - 1}\right) x_{(i) d}

    f is piecewise linear, so that one function serves sets of all sizes.

    Args:
        xs, valid: As above.
        weights: ``[D, K]``, the values of f at K places evenly from 0 (the largest element) to 1.
    """
    if weights.ndim != 2 or weights.shape[0] != xs.shape[-1] or weights.shape[1] < 1:
        raise ValueError(f"`weights` must be [{xs.shape[-1]}, K], K at least 1, got shape {weights.shape}")
    valid = check_valid(xs, valid)
    ordered, valid, rank = sort_elements(-where_valid(xs, valid), valid)
    weights = weights.astype(at_least_float32(xs.dtype, weights.dtype))
    pieces = weights.shape[1] - 1
    place = pieces * rank / jnp.maximum(broadcast_to_elements(set_sizes(valid), valid).astype(rank.dtype) - 1, 1)
    left = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, max(pieces - 1, 0))[..., 0]
    chex.assert_rank(left, ordered.ndim - 1)
    first = jnp.take(weights.T, left, axis=0)
    second = jnp.take(weights.T, jnp.minimum(left + 1, pieces), axis=0)
    part = (place - left[..., None].astype(place.dtype)).astype(weights.dtype)
    ordered = -where_valid(ordered, valid).astype(weights.dtype)
    return set_sum(ordered * (first + part * (second - first)), valid).astype(xs.dtype)


POOLS: dict[str, Callable[[jax.Array, Validity], jax.Array]] = {
    "sum": sum_pool,
    "mean": mean_pool,
    "max": max_pool,
    "min": min_pool,
    "median": median_pool,
}


def pool_of(name: str) -> Callable[[jax.Array, Validity], jax.Array]:
    """A function of ``pooling`` by its name."""
    check_choice("pooling", name, POOLS)
    return jax.named_scope("pool")(POOLS[name])
