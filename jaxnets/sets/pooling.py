"""From a set to one vector, whatever the order and number of its elements.

All take elements ``[*batch, N, D]`` and ``members``: a bool mask ``[*batch, N]``, True where an element is real, or
None; or elements ``[M, D]`` and ``Segments``. They return ``[*batch, D]`` or ``[S, D]`` in the dtype of the elements,
summed in float32, with zeros and gradients of zero for an empty set. What is not real has no effect, whatever is in it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.sets.members import Members, check_members, in_order, largest, only_real, sizes, spread, total


def sum_pool(xs: jax.Array, members: Members = None) -> jax.Array:
    r""":math:`\sum_i x_i` (Zaheer et al. 2017, arXiv:1703.06114)."""
    return total(xs, check_members(xs, members)).astype(xs.dtype)


def mean_pool(xs: jax.Array, members: Members = None) -> jax.Array:
    r""":math:`\frac{1}{n} \sum_i x_i`."""
    members = check_members(xs, members)
    return (total(xs, members) / jnp.maximum(sizes(members), 1)).astype(xs.dtype)


def max_pool(xs: jax.Array, members: Members = None) -> jax.Array:
    r""":math:`\max_i x_i` of each feature."""
    members = check_members(xs, members)
    return jnp.where(sizes(members) > 0, largest(xs, members), 0)


def min_pool(xs: jax.Array, members: Members = None) -> jax.Array:
    r""":math:`\min_i x_i` of each feature."""
    return -max_pool(-xs, members)


def quantile_pool(xs: jax.Array, quantile: float, members: Members = None) -> jax.Array:
    """The value that a part of each feature's values is below, between two values in proportion (numpy's "linear").

    Args:
        xs, members: As above.
        quantile: From 0, the smallest, to 1, the largest.

    Raises:
        ValueError: ``quantile`` is out of range.
    """
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile: from 0 to 1; given {quantile}")
    members = check_members(xs, members)
    ordered, members, rank = in_order(xs, members)
    # Each element's share in the quantile: 1 - |its rank - the place of the quantile|, not below 0.
    place = spread(quantile * (sizes(members).astype(rank.dtype) - 1), members)
    share = jnp.maximum(1 - jnp.abs(rank - place), 0)
    return total(share * only_real(ordered, members), members).astype(xs.dtype)


def median_pool(xs: jax.Array, members: Members = None) -> jax.Array:
    """Of each feature; the mean of the two in the middle where n is even."""
    return quantile_pool(xs, 0.5, members)


def softmax_pool(xs: jax.Array, scores: jax.Array, members: Members = None) -> jax.Array:
    r""":math:`\sum_i a_i x_i, \ a = \mathrm{softmax}(s)` over the set.

    Args:
        xs, members: As above.
        scores: s, ``[*batch, N, 1]`` or ``[*batch, N, D]``: a weight of each element, or of each of its features.
    """
    if scores.shape[:-1] != xs.shape[:-1] or scores.shape[-1] not in (1, xs.shape[-1]):
        raise ValueError(f"scores: {xs.shape}, or 1 as its last axis, expected; given {scores.shape}")
    members = check_members(xs, members)
    scores = only_real(scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), members)
    highest = jax.lax.stop_gradient(jnp.maximum(largest(scores, members), np.finfo(np.float32).min))
    weights = jnp.exp(scores - spread(highest, members))
    return (total(weights * only_real(xs, members), members) / jnp.maximum(total(weights, members), 1e-30)).astype(
        xs.dtype
    )


def power_mean_pool(xs: jax.Array, power: jax.Array | float, members: Members = None) -> jax.Array:
    r""":math:`\left(\frac{1}{n} \sum_i x_i^p\right)^{1/p}`: mean for p = 1, geometric mean for 0, maximum for large p.

    Args:
        xs, members: As above; numbers below 1e-6 count as 1e-6.
        power: p, a number or ``[D]``, which can be learned.
    """
    members = check_members(xs, members)
    logs = jnp.log(jnp.maximum(only_real(xs, members, 1.0).astype(jnp.promote_types(xs.dtype, jnp.float32)), 1e-6))
    count = jnp.maximum(sizes(members), 1)
    power = jnp.asarray(power, logs.dtype)
    small = jnp.abs(power) < 0.01
    safe = jnp.where(small, 1.0, power)
    highest = jax.lax.stop_gradient(jnp.maximum(largest(safe * logs, members), np.finfo(np.float32).min))
    # Of what is not real too nothing may overflow: the gradient of p would be NaN.
    mean = total(jnp.exp(only_real(safe * logs - spread(highest, members), members)), members) / count
    # Near p = 0 by the cumulants k of the logarithms: k_1 + p/2 k_2 + p^2/6 k_3 + ...
    middle = total(logs, members) / count
    second, third = (total((logs - spread(middle, members)) ** n, members) / count for n in (2, 3))
    near = middle + power / 2 * second + power**2 / 6 * third
    log = jnp.where(small, near, (jnp.log(jnp.where(mean > 0, mean, 1)) + highest) / safe)
    return jnp.where(sizes(members) > 0, jnp.exp(jnp.where(sizes(members) > 0, log, 0)), 0).astype(xs.dtype)


def sorted_pool(xs: jax.Array, weights: jax.Array, members: Members = None) -> jax.Array:
    r"""FSPool (Zhang et al. 2020, arXiv:1906.02795): a weighted sum of each feature's values in descending order.

    .. math:: \sum_i f_d\left(\tfrac{i}{n - 1}\right) x_{(i) d}

    f is piecewise linear, so that one function serves sets of all sizes.

    Args:
        xs, members: As above.
        weights: ``[D, K]``, the values of f at K places evenly from 0 (the largest element) to 1.
    """
    if weights.ndim != 2 or weights.shape[0] != xs.shape[-1] or weights.shape[1] < 1:
        raise ValueError(f"weights: [{xs.shape[-1]}, K] expected, K at least 1; given {weights.shape}")
    ordered, members, rank = in_order(-xs, check_members(xs, members))
    pieces = weights.shape[1] - 1
    place = pieces * rank / jnp.maximum(spread(sizes(members), members).astype(rank.dtype) - 1, 1)
    left = jnp.clip(jnp.floor(place), 0, max(pieces - 1, 0)).astype(jnp.int32)[..., 0]
    first = jnp.take(weights.T, left, axis=0)
    second = jnp.take(weights.T, jnp.minimum(left + 1, pieces), axis=0)
    part = place - left[..., None]
    return total(-only_real(ordered, members) * (first + part * (second - first)), members).astype(xs.dtype)
