"""Discretized mixtures of logistic distributions, the pixels of PixelCNN++ (arXiv:1701.05517)."""

import math

import jax
import jax.numpy as jnp

from jaxnets.generative.autoregressive.levels import from_levels, to_levels
from jaxnets.ops.array_types import Array, Float, Key

MIN_LOG_SCALE = -7.0
EDGE = 0.999  # the first and the last level have open intervals
MIN_MASS = 1e-5  # below it, the density at the center replaces the difference of two equal numbers


def num_mixture_parameters(channels: int, num_mixtures: int) -> int:
    """Returns the parameters of a pixel: M weights, and for each channel M means, scales and, with 3, coefficients."""
    return num_mixtures * (1 + channels * (3 if channels == 3 else 2))


def discretized_logistic_mixture_log_prob(
    parameters: Float[Array, "*batch P"], xs: Float[Array, "*batch channels"], num_levels: int = 256
) -> Float[Array, "*batch"]:
    r"""Computes the log-likelihood of pixels, in nats; all channels of a pixel have the same component.

    .. math:: \log \sum_m \pi_m \prod_c
        \mathrm{sigmoid}\Big(\frac{x_c + \delta - \mu_{mc}}{s_{mc}}\Big)
        - \mathrm{sigmoid}\Big(\frac{x_c - \delta - \mu_{mc}}{s_{mc}}\Big), \quad \delta = \frac{1}{L - 1}

    The intervals of the levels -1 and 1 are open. With three channels, the mean of green depends on red, and that of
    blue on both: :math:`\mu_G + \alpha R`, :math:`\mu_B + \beta R + \gamma G`. See Salimans et al. 2017
    (arXiv:1701.05517).

    Args:
        parameters: For M components, M logits of :math:`\pi`, and for each channel M means, M log scales (at least -7),
            and with three channels M coefficients before their tanh; ``[..., P]``.
        xs: x, levels in [-1, 1], ``[..., C]``, C 1 or 3.
        num_levels: L.

    Returns:
        ``[...]``.

    Raises:
        ValueError: The number of channels or of parameters is wrong.
    """
    logits, means, log_scales = _components(parameters, xs)
    half_bin = 1 / (num_levels - 1)
    x = xs[..., None]
    inverse_scales = jnp.exp(-log_scales)
    centered = x - means
    upper, lower = inverse_scales * (centered + half_bin), inverse_scales * (centered - half_bin)
    middle = inverse_scales * centered
    mass = jax.nn.sigmoid(upper) - jax.nn.sigmoid(lower)
    log_density = middle - log_scales - 2 * jax.nn.softplus(middle) + math.log(2 * half_bin)
    inside = jnp.where(mass > MIN_MASS, jnp.log(jnp.maximum(mass, 1e-12)), log_density)
    log_mass = jnp.where(
        x < -EDGE, upper - jax.nn.softplus(upper), jnp.where(x > EDGE, -jax.nn.softplus(lower), inside)
    )
    return jax.nn.logsumexp(jax.nn.log_softmax(logits) + jnp.sum(log_mass, axis=-2), axis=-1)


def sample_discretized_logistic_mixture(
    key: Key[Array, ""], parameters: Float[Array, "*batch P"], channels: int, num_levels: int = 256
) -> Float[Array, "*batch channels"]:
    """Samples pixels of ``discretized_logistic_mixture_log_prob``, rounded to the nearest level.

    Args:
        key: A random key.
        parameters: ``[..., P]``.
        channels: C, 1 or 3.
        num_levels: L.

    Returns:
        Levels in [-1, 1], ``[..., C]``.
    """
    first, second = jax.random.split(key)
    xs = jnp.zeros((*parameters.shape[:-1], channels), parameters.dtype)
    logits, _, _ = _components(parameters, xs)
    component = jax.random.categorical(first, logits)[..., None, None]
    uniform = jax.random.uniform(second, xs.shape, xs.dtype, 1e-5, 1 - 1e-5)
    noise = jnp.log(uniform) - jnp.log1p(-uniform)
    for channel in range(channels):  # the means depend on the channels before
        _, means, log_scales = _components(parameters, xs)
        mean, log_scale = (
            jnp.take_along_axis(each, jnp.broadcast_to(component, (*each.shape[:-1], 1)), axis=-1)[..., channel, 0]
            for each in (means, log_scales)
        )
        drawn = mean + jnp.exp(log_scale) * noise[..., channel]
        level = jnp.round(to_levels(jnp.clip(drawn, -1, 1), num_levels))
        xs = xs.at[..., channel].set(from_levels(level, num_levels))
    return xs


def _components(
    parameters: jax.Array, xs: jax.Array
) -> tuple[Float[Array, "*batch M"], Float[Array, "*batch C M"], Float[Array, "*batch C M"]]:
    """Returns the logits, and the means and log scales given the channels ``xs`` before each channel."""
    channels = xs.shape[-1]
    if channels not in (1, 3):
        raise ValueError(f"`xs` must have 1 or 3 channels, got {channels}")
    per_component = num_mixture_parameters(channels, 1)
    num_mixtures, rest = divmod(parameters.shape[-1], per_component)
    if rest or not num_mixtures:
        raise ValueError(f"`parameters` must be {per_component} for each component, got {parameters.shape[-1]}")
    logits, others = parameters[..., :num_mixtures], parameters[..., num_mixtures:]
    means, log_scales, *coefficients = jnp.split(
        others.reshape(*others.shape[:-1], channels, -1), 3 if channels == 3 else 2, axis=-1
    )
    if coefficients:
        alpha, beta, gamma = jnp.moveaxis(jnp.tanh(coefficients[0]), -2, 0)
        red, green, _ = jnp.moveaxis(xs[..., None], -2, 0)
        shifts = [jnp.zeros_like(alpha), alpha * red, beta * red + gamma * green]
        means = means + jnp.stack(shifts, axis=-2)
    return logits, means, jnp.maximum(log_scales, MIN_LOG_SCALE)
