"""Permutation-invariant pooling of sets.

All functions take elements ``[*batch, N, D]`` and a mask ``valid``, bool ``[*batch, N]`` or None, or elements
``[M, D]`` and ``Segments``. They return ``[*batch, D]`` or ``[S, D]`` in the dtype of the elements, and accumulate in
float32. An empty set yields zeros with gradients of zero. Padding has no effect, even if it is NaN.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.array_types import Array, Float
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
def quantile_pool(xs: Float[Array, "*batch N D"], quantile: float, valid: Validity = None) -> Float[Array, "*sets D"]:
    """Computes a quantile of each feature with linear interpolation, as ``numpy.quantile``.

    Values with an interpolation weight of zero have no effect, even if infinite, as in ``numpy.median``. NaN yields
    NaN.

    Args:
        xs, valid: Elements and their mask or segments.
        quantile: From 0 (the minimum) to 1 (the maximum).

    Raises:
        ValueError: ``quantile`` is out of range.
    """
    if isinstance(quantile, jax.core.Tracer) or jnp.ndim(quantile) or not 0 <= quantile <= 1:
        raise ValueError(f"`quantile` must be a number from 0 to 1, got {quantile}")
    quantile = float(quantile)
    valid = check_valid(xs, valid)
    ordered, valid, rank = sort_elements(xs, valid)
    # The interpolation weight of an element: max(1 - |rank - position of the quantile|, 0).
    position = broadcast_to_elements(quantile * (set_sizes(valid).astype(rank.dtype) - 1), valid)
    weight = jnp.maximum(1 - jnp.abs(rank - position), 0)
    ordered = where_valid(ordered, valid).astype(rank.dtype)
    weight = jnp.where(jnp.isnan(ordered), 1, weight)
    return set_sum(weight * jnp.where(weight > 0, ordered, 0), valid).astype(xs.dtype)


@auto_sharded(per_feature)
def median_pool(xs: Float[Array, "*batch N D"], valid: Validity = None) -> Float[Array, "*sets D"]:
    """Computes the median of each feature; for even n, the mean of the two middle values."""
    return quantile_pool(xs, 0.5, valid)


@auto_sharded(per_feature)
def softmax_pool(
    xs: Float[Array, "*batch N D"], scores: Float[Array, "*batch N #D"], valid: Validity = None
) -> Float[Array, "*sets D"]:
    r"""Computes :math:`\sum_i a_i x_i` with :math:`a = \mathrm{softmax}(s)` over the set.

    If all scores are minus infinity, the result is zero.

    Args:
        xs, valid: Elements and their mask or segments.
        scores: s, ``[*batch, N, 1]`` or ``[*batch, N, D]``, one score per element or per feature.
    """
    if scores.shape[:-1] != xs.shape[:-1] or scores.shape[-1] not in (1, xs.shape[-1]):
        raise ValueError(f"`scores` must have shape {xs.shape}, or 1 as the last axis, got {scores.shape}")
    valid = check_valid(xs, valid)
    dtype = at_least_float32(xs.dtype, scores.dtype)
    scores = where_valid(scores, valid, -np.inf).astype(dtype)
    maximum = jax.lax.stop_gradient(set_max(scores, valid))
    weights = jnp.exp(scores - broadcast_to_elements(jnp.where(jnp.isneginf(maximum), 0, maximum), valid))
    chex.assert_equal_rank([weights, xs])
    normalizer = set_sum(weights, valid)
    pooled = set_sum(weights * where_valid(xs, valid).astype(dtype), valid)
    return (pooled / jnp.where(normalizer == 0, 1, normalizer)).astype(xs.dtype)


@auto_sharded(per_feature)
def power_mean_pool(
    xs: Float[Array, "*batch N D"], power: Float[Array, "..."] | float, valid: Validity = None
) -> Float[Array, "*sets D"]:
    r"""Computes the power mean :math:`\left(\frac{1}{n} \sum_i x_i^p\right)^{1/p}`.

    It is the mean for p = 1, the geometric mean for p = 0, and approaches the maximum for large p.

    Args:
        xs, valid: Elements and their mask or segments; values are clipped to at least 1e-6.
        power: p, a number or ``[D]``; it has a gradient.
    """
    valid = check_valid(xs, valid)
    values = where_valid(xs, valid, 1.0).astype(at_least_float32(xs.dtype))
    infinite = jnp.isposinf(values)
    logs = jnp.log(jnp.maximum(jnp.where(infinite, 1, values), 1e-6))
    any_infinite = set_max(infinite.astype(logs.dtype), valid) > 0
    power = _as_row(power, xs.shape[-1], any_infinite.ndim, logs.dtype)
    is_small = (jnp.abs(power) < 0.01) & ~any_infinite
    safe_power = jnp.where(is_small | (power == 0), 1, power)
    # The power of an infinity is infinity for p > 0, and 0 for p < 0, where the other elements determine the mean.
    exponents = jnp.where(infinite, -np.inf, broadcast_to_elements(safe_power, valid) * logs)
    maximum = jax.lax.stop_gradient(set_max(exponents, valid))
    maximum = jnp.where(jnp.isneginf(maximum), 0, maximum)
    # Exponents of padding are masked too, because an overflow would make the gradient of p NaN.
    powers = set_mean(jnp.exp(where_valid(exponents - broadcast_to_elements(maximum, valid), valid)), valid)
    # Near p = 0, expand in the cumulants k of the logarithms: k_1 + p/2 k_2 + p^2/6 k_3 + ...
    first = set_mean(logs, valid)
    second, third = (set_mean((logs - broadcast_to_elements(first, valid)) ** n, valid) for n in (2, 3))
    expansion = first + power / 2 * second + power**2 / 6 * third
    log = jnp.where(is_small, expansion, (jnp.log(jnp.where(powers == 0, 1, powers)) + maximum) / safe_power)
    is_infinite = any_infinite & ((power >= 0) | (powers == 0)) & ~jnp.isnan(powers)
    is_finite = (set_sizes(valid) > 0) & ~is_infinite
    return jnp.where(is_finite, jnp.exp(jnp.where(is_finite, log, 0)), jnp.where(is_infinite, np.inf, 0)).astype(
        xs.dtype
    )


def _as_row(power, features, rank, dtype):
    """Reshapes a scalar or a value per feature to ``[1, ..., 1]`` or ``[1, ..., D]``."""
    power = jnp.asarray(power, dtype)
    if power.size not in (1, features) or (power.ndim and power.size != power.shape[-1]):
        raise ValueError(f"`power` must be a number or an array of shape ({features},), got shape {power.shape}")
    return power.reshape((1,) * (rank - 1) + (-1,))


@auto_sharded(per_feature)
def sorted_pool(
    xs: Float[Array, "*batch N D"], weights: Float[Array, "D K"], valid: Validity = None
) -> Float[Array, "*sets D"]:
    r"""Computes a weighted sum of the sorted values of each feature (FSPool, Zhang et al. 2020, arXiv:1906.02795).

    .. math:: \sum_i f_d\left(\tfrac{i}{n - 1}\right) x_{(i) d}

    Values are sorted in descending order. f is piecewise linear, so it applies to sets of any size.

    Args:
        xs, valid: Elements and their mask or segments.
        weights: ``[D, K]``, values of f at K equidistant points from 0 (the largest element) to 1.
    """
    if weights.ndim != 2 or weights.shape[0] != xs.shape[-1] or weights.shape[1] < 1:
        raise ValueError(f"`weights` must be [{xs.shape[-1]}, K] with K at least 1, got shape {weights.shape}")
    valid = check_valid(xs, valid)
    ordered, valid, rank = sort_elements(-where_valid(xs, valid), valid)
    weights = weights.astype(at_least_float32(xs.dtype, weights.dtype))
    num_intervals = weights.shape[1] - 1
    position = (
        num_intervals * rank / jnp.maximum(broadcast_to_elements(set_sizes(valid), valid).astype(rank.dtype) - 1, 1)
    )
    left = jnp.clip(jnp.floor(position).astype(jnp.int32), 0, max(num_intervals - 1, 0))[..., 0]
    chex.assert_rank(left, ordered.ndim - 1)
    first = jnp.take(weights.T, left, axis=0)
    second = jnp.take(weights.T, jnp.minimum(left + 1, num_intervals), axis=0)
    fraction = (position - left[..., None].astype(position.dtype)).astype(weights.dtype)
    ordered = -where_valid(ordered, valid).astype(weights.dtype)
    return set_sum(ordered * (first + fraction * (second - first)), valid).astype(xs.dtype)


POOLS: dict[str, Callable[[jax.Array, Validity], jax.Array]] = {
    "sum": sum_pool,
    "mean": mean_pool,
    "max": max_pool,
    "min": min_pool,
    "median": median_pool,
}


def get_pool(name: str) -> Callable[[jax.Array, Validity], jax.Array]:
    """Returns the pooling function with a name."""
    check_choice("pooling", name, POOLS)
    return jax.named_scope("pool")(POOLS[name])
