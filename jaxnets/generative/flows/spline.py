"""Rational-quadratic splines with linear tails (Durkan et al. 2019, arXiv:1906.04032)."""

import math

import chex
import jax
import jax.numpy as jnp

from jaxnets.generative.flows.bijector import Bijector, sum_of_example
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.dtypes import at_least_float32

MIN_SHARE = 1e-3  # of the interval, for the width and the height of a bin
MIN_DERIVATIVE = 1e-3
IDENTITY = math.log(math.expm1(1 - MIN_DERIVATIVE))  # softplus of it is a derivative of 1


def rational_quadratic_spline(parameters: Float[Array, "B ... F"], bound: float = 3.0) -> Bijector:
    r"""Creates the elementwise bijector of monotonic rational-quadratic splines on an interval, the identity outside.

    Bin k has the width :math:`w_k`, the height :math:`h_k`, the slope :math:`s_k = h_k / w_k`, and derivatives
    :math:`d_k, d_{k+1}` at its ends. With the position :math:`\xi = (x - x_k) / w_k` in it,

    .. math::
        z = z_k + \frac{h_k (s_k \xi^2 + d_k \xi (1 - \xi))}{s_k + (d_{k+1} + d_k - 2 s_k)\, \xi (1 - \xi)}

    Widths and heights are softmaxes, at least 0.001 of the interval each; derivatives are softplus, at least 0.001, and
    1 at both ends of the interval. Parameters of zeros are the identity. See Durkan et al. 2019 (arXiv:1906.04032).

    Args:
        parameters: For each variable the logits of K widths and K heights, and K - 1 derivatives before softplus,
            ``[B, ..., 3 K - 1]`` for x ``[B, ...]``. The constant that makes 0 a derivative of 1 is added to these.
        bound: Half of the interval, :math:`[-b, b]`.

    Raises:
        ValueError: The size of the last axis is not 3 K - 1, or ``bound`` is not positive.
    """
    bins = (parameters.shape[-1] + 1) // 3
    if not 1 <= bins < 1 / MIN_SHARE or 3 * bins - 1 != parameters.shape[-1]:
        raise ValueError(f"the last axis of `parameters` must be 3 K - 1, K from 1 to 999, got {parameters.shape}")
    if not bound > 0:
        raise ValueError(f"`bound` must be positive, got {bound}")

    def bins_of(values: jax.Array, by_code: bool) -> tuple[jax.Array, ...]:
        """Returns the left end, width, lower end, height and both derivatives of the bins of values."""
        widths, heights, slopes = jnp.split(parameters.astype(values.dtype), [bins, 2 * bins], axis=-1)
        x_knots, z_knots = _knots(widths, bound), _knots(heights, bound)
        slopes, one = MIN_DERIVATIVE + jax.nn.softplus(slopes + IDENTITY), jnp.ones_like(widths[..., :1])
        slopes = jnp.concatenate([one, slopes, one], axis=-1)
        chex.assert_shape(values, parameters.shape[:-1])
        knots = z_knots if by_code else x_knots
        index = jnp.sum(values[..., None] >= knots[..., 1:-1], axis=-1, keepdims=True, dtype=jnp.int32)
        chosen = index == jnp.arange(bins, dtype=jnp.int32).reshape((1,) * values.ndim + (bins,))
        # A sum over the bins; the gradient of a gather would be a scatter, which is slow.
        pick = lambda table: jnp.sum(jnp.where(chosen, table, 0), axis=-1)
        left, lower = pick(x_knots[..., :-1]), pick(z_knots[..., :-1])
        width, height = pick(jnp.diff(x_knots)), pick(jnp.diff(z_knots))
        return left, width, lower, height, pick(slopes[..., :-1]), pick(slopes[..., 1:])

    def log_slope(position: jax.Array, slope: jax.Array, start: jax.Array, end: jax.Array) -> jax.Array:
        between = position * (1 - position)
        numerator = end * position**2 + 2 * slope * between + start * (1 - position) ** 2
        return 2 * jnp.log(slope) + jnp.log(numerator) - 2 * jnp.log(slope + (end + start - 2 * slope) * between)

    def forward(xs: jax.Array) -> tuple[jax.Array, jax.Array]:
        inside, values = _clip(xs, bound)
        left, width, lower, height, start, end = bins_of(values, by_code=False)
        slope, position = height / width, (values - left) / width
        between = position * (1 - position)
        rise = (slope * position**2 + start * between) / (slope + (end + start - 2 * slope) * between)
        log_slopes = jnp.where(inside, log_slope(position, slope, start, end), 0)
        return jnp.where(inside, lower + height * rise, xs).astype(xs.dtype), sum_of_example(log_slopes)

    def inverse(zs: jax.Array) -> tuple[jax.Array, jax.Array]:
        inside, values = _clip(zs, bound)
        left, width, lower, height, start, end = bins_of(values, by_code=True)
        slope, offset = height / width, (values - lower) / height
        # The position solves a q^2 + b q + c = 0. This form of its root does not cancel.
        curvature = end + start - 2 * slope
        a = slope - start + offset * curvature
        b = start - offset * curvature
        c = -slope * offset
        discriminant = jnp.maximum(b**2 - 4 * a * c, jnp.finfo(values.dtype).tiny)
        position = 2 * c / (-b - jnp.sqrt(discriminant))
        log_slopes = jnp.where(inside, log_slope(position, slope, start, end), 0)
        return jnp.where(inside, left + width * position, zs).astype(zs.dtype), -sum_of_example(log_slopes)

    return Bijector(forward, inverse)


def _knots(logits: jax.Array, bound: float) -> jax.Array:
    """Returns the ends of bins ``[..., K + 1]``, the first and the last exact."""
    bins = logits.shape[-1]
    shares = MIN_SHARE + (1 - MIN_SHARE * bins) * jax.nn.softmax(logits, axis=-1)
    inner = 2 * bound * jnp.cumsum(shares[..., :-1], axis=-1) - bound
    ends = jnp.full_like(logits[..., :1], bound)
    return jnp.concatenate([-ends, inner, ends], axis=-1)


def _clip(values: jax.Array, bound: float) -> tuple[jax.Array, jax.Array]:
    """Returns which values are in the interval, and values in it, float32 at least."""
    dtype = at_least_float32(values.dtype)
    return jnp.abs(values) < bound, jnp.clip(values.astype(dtype), -bound, bound)
