"""The negative binomial distribution of counts: its likelihood, accurate in float32 for large counts, and samples."""

import math

import jax
import jax.numpy as jnp
from jax.scipy import special

from jaxnets.ops.array_types import Array, Float
from jaxnets.series.forecasting.likelihoods import MIN_SCALE, Likelihood, bisect

MIN_MEAN = 1e-30  # of rescaled outputs, so that logarithms and their gradients are finite
MAX_RATE = 1e9  # of sampled Poisson variables, which are int32
STIRLING_FROM = 16  # where the series is accurate in float64


def negative_binomial() -> Likelihood:
    r"""Creates the likelihood of a negative binomial distribution, for counts (Salinas et al. 2017, arXiv:1704.04110).

    The outputs are the mean :math:`\mu` and the dispersion :math:`\alpha` before softplus, with variance
    :math:`\mu + \alpha \mu^2`. Targets are nonnegative integers in their own units. ``rescale`` maps outputs o for
    counts of size 1 to those for counts of size :math:`\nu` (section 3.3 of the paper):

    .. math::
        \mu = \nu\, \mathrm{softplus}(o_\mu), \quad \alpha = \mathrm{softplus}(o_\alpha) / \sqrt \nu
    """

    def parameters(outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.nn.softplus(outputs[..., 0]) + MIN_SCALE, jax.nn.softplus(outputs[..., 1]) + MIN_SCALE

    def quantile(outputs: jax.Array, levels: jax.Array) -> jax.Array:
        mean, dispersion = (
            jnp.broadcast_to(each[..., None], (*outputs.shape[:-1], len(levels))) for each in parameters(outputs)
        )
        levels = jnp.broadcast_to(levels, mean.shape)
        success = 1 / (1 + dispersion * mean)
        below = lambda k: special.betainc(1 / dispersion, jnp.floor(k) + 1, success) < levels
        high = mean + 64 * jnp.sqrt(mean + dispersion * mean**2) + 64
        return jnp.round(bisect(lambda k: (k < 0) | below(k), jnp.full_like(mean, -1.0), high))

    def sample(key: jax.Array, outputs: jax.Array) -> jax.Array:
        of_rate, of_count = jax.random.split(key)
        mean, dispersion = parameters(outputs)
        rate = jax.random.gamma(of_rate, 1 / dispersion, dtype=mean.dtype) * dispersion * mean
        return jax.random.poisson(of_count, jnp.minimum(rate, MAX_RATE), dtype=jnp.int32).astype(mean.dtype)

    def rescale(outputs: jax.Array, scale: jax.Array) -> jax.Array:
        factors = jnp.stack([scale, 1 / jnp.sqrt(scale)], axis=-1)
        scaled = jnp.maximum(jax.nn.softplus(outputs) * jnp.broadcast_to(factors, outputs.shape), MIN_MEAN)
        return scaled + jnp.log(-jnp.expm1(-scaled))  # the inverse of softplus

    return Likelihood(
        num_outputs=2,
        loss=lambda outputs, targets: -negative_binomial_log_prob(targets, *parameters(outputs)),
        point=lambda outputs: parameters(outputs)[0],
        quantiles=quantile,
        scaling="none",
        sample=sample,
        rescale=rescale,
    )


def negative_binomial_log_prob(
    counts: Float[Array, "*shape"], mean: Float[Array, "*shape"], dispersion: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    r"""Computes the log probability of counts k with mean :math:`\mu` and variance :math:`\mu + \alpha \mu^2`.

    With :math:`r = 1 / \alpha`, :math:`n = k + r` and the error S of Stirling's formula for the factorial,

    .. math::
        \log p(k) = \frac12 \log \frac{r}{2 \pi n k} + S(n) - S(r) - S(k)
        - r\, g\!\left(\frac{n}{r + \mu}\right) - k\, g\!\left(\frac{n \mu}{k (r + \mu)}\right),
        \quad g(x) = x - 1 - \log x

    as for the binomial distribution (Loader 2000, "Fast and accurate computation of binomial probabilities"). The terms
    are small near the mean, unlike the logarithms of the gamma functions, whose difference float32 loses.

    Args:
        counts: k, nonnegative integers as floating point numbers.
        mean: :math:`\mu`, positive.
        dispersion: :math:`\alpha`, positive.
    """
    size = 1 / dispersion
    known = jnp.where(counts > 0, counts, 1)  # the formula is for positive counts
    total, expected = known + size, mean + size
    difference = (known - mean) / expected
    deviance = size * _excess(total / expected, difference)
    deviance += known * _excess((total / known) * (mean / expected), -difference * size / known)
    factors = 0.5 * (jnp.log(size) - jnp.log(total) - jnp.log(known) - math.log(2 * math.pi))
    positive = factors + _stirling_error(total) - _stirling_error(size) - _stirling_error(known) - deviance
    return jnp.where(counts > 0, positive, -size * jnp.log1p(dispersion * mean))


def _excess(ratio: jax.Array, difference: jax.Array) -> jax.Array:
    """Computes ``x - 1 - log(x)`` from x and x - 1, without cancellation near 1."""
    near = jnp.abs(difference) < 0.2
    safe = jnp.where(near, difference, 0)
    v = safe / (2 + safe)  # log(x) = 2 artanh(v)
    powers = sum(v ** (2 * i) / (2 * i + 3) for i in range(8))
    return jnp.where(near, safe * v - 2 * v**3 * powers, difference - jnp.log(jnp.where(near, 1, ratio)))


def _stirling_error(x: jax.Array) -> jax.Array:
    r"""Computes :math:`\log \Gamma(x + 1) - (x + 1/2) \log x + x - \log(2 \pi) / 2`."""
    is_small = x < STIRLING_FROM  # not a minimum: its gradient is halved at a tie
    small, large = jnp.where(is_small, x, STIRLING_FROM), jnp.where(is_small, STIRLING_FROM, x)
    exact = special.gammaln(small + 1) - (small + 0.5) * jnp.log(small) + small - 0.5 * math.log(2 * math.pi)
    inverse = 1 / large**2
    series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / large
    return jnp.where(is_small, exact, series)
