"""Likelihoods of forecasts: point forecasts, quantiles, and distributions, as tuples of pure functions.

A model predicts K numbers for each value. A ``Likelihood`` turns them into a loss, a point forecast and quantiles.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special, stats

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_choice

MIN_SCALE = 1e-3  # of distributions, in units of the normalized window: the likelihood of a constant would be infinite
BISECTIONS = 40


class Likelihood(NamedTuple):
    """A loss, a point forecast and quantiles as functions of the K outputs of a model.

    Attributes:
        num_outputs: K.
        loss: ``(outputs [..., K], targets [...]) -> [...]``.
        point: ``outputs [..., K] -> [...]``, the forecast that minimizes the loss, or the mean of the distribution.
        quantiles: ``(outputs [..., K], levels [Q]) -> [..., Q]``, or None for point forecasts.
        scaling: How the outputs relate to the values y if a model normalizes its window. ``"outputs"``: the forecast is
            ``shift + scale * outputs``. ``"density"``: the outputs are the parameters of the distribution of
            ``(y - shift) / scale``. ``"none"``: y are counts, which are neither standardized nor normalized.
        sample: ``(key, outputs [..., K]) -> [...]``, one sample of each distribution, or None for points and quantiles.
        rescale: ``(outputs [..., K], scale [...]) -> [..., K]``, the outputs for counts of this size from those for
            counts of size 1, or None.
    """

    num_outputs: int
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    point: Callable[[jax.Array], jax.Array]
    quantiles: Callable[[jax.Array, jax.Array], jax.Array] | None
    scaling: str = "outputs"
    sample: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    rescale: Callable[[jax.Array, jax.Array], jax.Array] | None = None


def pinball(
    forecasts: Float[Array, "*shape Q"], targets: Float[Array, "*shape"], levels: Float[Array, " Q"]
) -> Float[Array, "*shape Q"]:
    r"""Computes the pinball loss of quantiles (Koenker and Bassett 1978):

    .. math:: \max(q e, (q - 1) e), \quad e = y - \hat y_q

    Args:
        forecasts: ``[..., Q]``.
        targets: ``[...]``.
        levels: q, ``[Q]``, between 0 and 1.
    """
    errors = targets[..., None] - forecasts
    levels = jnp.broadcast_to(levels, errors.shape)
    return jnp.maximum(levels * errors, (levels - 1) * errors)


def crps_of_quantiles(
    forecasts: Float[Array, "*shape Q"], targets: Float[Array, "*shape"], levels: Float[Array, " Q"]
) -> Float[Array, "*shape"]:
    r"""Approximates the continuous ranked probability score by quantiles: twice the mean pinball loss.

    .. math:: \mathrm{CRPS}(F, y) = \int (F(z) - 1\{z \ge y\})^2\, dz = 2 \int_0^1 \mathrm{pinball}_q\, dq

    With the levels :math:`(i - 1/2) / Q` this is the midpoint rule.

    Args:
        forecasts, targets, levels: As in ``pinball``.
    """
    return 2 * jnp.mean(pinball(forecasts, targets, levels), axis=-1)


def gaussian_crps(
    mean: Float[Array, "*shape"], std: Float[Array, "*shape"], targets: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    r"""Computes the CRPS of a normal distribution (Gneiting and Raftery 2007, equation 21):

    .. math::
        \sigma \left( z (2 \Phi(z) - 1) + 2 \varphi(z) - \frac{1}{\sqrt \pi} \right), \quad z = \frac{y - \mu}{\sigma}
    """
    z = (targets - mean) / std
    return std * (z * special.erf(z / math.sqrt(2)) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))


def point(error: str = "squared") -> Likelihood:
    """Creates the likelihood of point forecasts.

    Args:
        error: ``"squared"`` or ``"absolute"``, the loss.

    Raises:
        ValueError: If ``error`` is unknown.
    """
    check_choice("error", error, ("squared", "absolute"))
    function = jnp.square if error == "squared" else jnp.abs
    return Likelihood(
        num_outputs=1,
        loss=lambda outputs, targets: function(outputs[..., 0] - targets),
        point=lambda outputs: outputs[..., 0],
        quantiles=None,
    )


def quantiles(levels: Sequence[float] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)) -> Likelihood:
    """Creates the likelihood of quantiles at fixed levels; the loss is the mean pinball loss.

    For forecasts, the quantiles are sorted. They are interpolated linearly between the levels and constant beyond.

    Args:
        levels: Increasing levels between 0 and 1, including 0.5, the point forecast.

    Raises:
        ValueError: If the levels are not increasing, not between 0 and 1, or do not include 0.5.
    """
    levels = tuple(map(float, levels))
    if (
        not levels
        or any(not 0 < level < 1 for level in levels)
        or 0.5 not in levels
        or sorted(set(levels)) != [*levels]
    ):
        raise ValueError(f"`levels` must be increasing numbers between 0 and 1 that include 0.5, got {levels}")
    known = np.asarray(levels, np.float32)

    def interpolated(outputs: jax.Array, wanted: jax.Array) -> jax.Array:
        ordered = jnp.sort(outputs, axis=-1)
        upper = jnp.clip(jnp.searchsorted(known, wanted), min(1, len(levels) - 1), len(levels) - 1)
        lower = jnp.maximum(upper - 1, 0)
        low, high = jnp.asarray(known)[lower], jnp.asarray(known)[upper]
        weight = jnp.clip((wanted - low) / jnp.where(upper == lower, 1, high - low), 0, 1)
        weight = jnp.broadcast_to(weight, (*ordered.shape[:-1], len(wanted)))
        return (1 - weight) * ordered[..., lower] + weight * ordered[..., upper]

    return Likelihood(
        num_outputs=len(levels),
        loss=lambda outputs, targets: jnp.mean(pinball(outputs, targets, jnp.asarray(known)), axis=-1),
        point=lambda outputs: jnp.sort(outputs, axis=-1)[..., levels.index(0.5)],
        quantiles=interpolated,
    )


def gaussian() -> Likelihood:
    """Creates the likelihood of a normal distribution; the outputs are the mean, and the std before softplus."""

    def parameters(outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        return outputs[..., 0], jax.nn.softplus(outputs[..., 1]) + MIN_SCALE

    def loss(outputs: jax.Array, targets: jax.Array) -> jax.Array:
        mean, std = parameters(outputs)
        return -stats.norm.logpdf(targets, mean, std)

    def quantile(outputs: jax.Array, levels: jax.Array) -> jax.Array:
        mean, std = (each[..., None] for each in parameters(outputs))
        return mean + std * jnp.broadcast_to(special.ndtri(levels), (*outputs.shape[:-1], len(levels)))

    def sample(key: jax.Array, outputs: jax.Array) -> jax.Array:
        mean, std = parameters(outputs)
        return mean + std * jax.random.normal(key, mean.shape, mean.dtype)

    return Likelihood(2, loss, lambda outputs: outputs[..., 0], quantile, scaling="density", sample=sample)


def student_t() -> Likelihood:
    """Creates the likelihood of Student's t distribution, for heavy tails.

    The outputs are the location, and the scale and the degrees of freedom before softplus; there are more than two
    degrees of freedom, so that the variance is finite.
    """

    def parameters(outputs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        scale = jax.nn.softplus(outputs[..., 1]) + MIN_SCALE
        return outputs[..., 0], scale, 2 + jax.nn.softplus(outputs[..., 2])

    def loss(outputs: jax.Array, targets: jax.Array) -> jax.Array:
        location, scale, freedom = parameters(outputs)
        return -stats.t.logpdf(targets, freedom, location, scale)

    def cdf(z: jax.Array, freedom: jax.Array) -> jax.Array:
        tail = 0.5 * special.betainc(freedom / 2, jnp.full_like(freedom, 0.5), freedom / (freedom + z**2))
        return jnp.where(z > 0, 1 - tail, tail)

    def quantile(outputs: jax.Array, levels: jax.Array) -> jax.Array:
        location, scale, freedom = (
            jnp.broadcast_to(each[..., None], (*outputs.shape[:-1], len(levels))) for each in parameters(outputs)
        )
        levels = jnp.broadcast_to(levels, freedom.shape)
        z = bisect(lambda z: cdf(z, freedom) < levels, jnp.full_like(freedom, -64.0), jnp.full_like(freedom, 64.0))
        return location + scale * z

    def sample(key: jax.Array, outputs: jax.Array) -> jax.Array:
        """Samples by the polar method of Bailey (1994), which is exact and needs no rejection."""
        location, scale, freedom = parameters(outputs)
        first, second = jax.random.split(key)
        u = 1 - jax.random.uniform(first, scale.shape, scale.dtype)  # in (0, 1]
        angle = 2 * math.pi * jax.random.uniform(second, scale.shape, scale.dtype)
        radius = jnp.sqrt(freedom * jnp.expm1(-2 / freedom * jnp.log(u)))
        return location + scale * radius * jnp.cos(angle)

    return Likelihood(3, loss, lambda outputs: outputs[..., 0], quantile, scaling="density", sample=sample)


def bisect(is_below: Callable[[jax.Array], jax.Array], low: jax.Array, high: jax.Array) -> jax.Array:
    """Returns the point where ``is_below`` changes from True to False, by bisection."""

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low + high) / 2
        below = is_below(middle)
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    return jax.lax.fori_loop(0, BISECTIONS, halve, (low, high))[1]
