"""Posterior of the forward process, variances of the reverse process, and terms of the variational bound."""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.generative.diffusion.schedules import NoiseSchedule, add_noise, at_times
from jaxnets.generative.variational.divergences import gaussian_kl, standard_normal_kl
from jaxnets.ops.array_types import Array, Float, Integer
from jaxnets.ops.checks import check_choice, check_integer

FIXED_VARIANCES = ("fixed_small", "fixed_large")


class Gaussian(NamedTuple):
    """A diagonal Gaussian: ``mean`` and ``log_variance``, broadcastable to the same shape."""

    mean: jax.Array
    log_variance: jax.Array


def posterior(
    schedule: NoiseSchedule, clean: Float[Array, "B ..."], noisy: Float[Array, "B ..."], steps: Integer[Array, " B"]
) -> Gaussian:
    r"""Computes the posterior :math:`q(x_{t-1} | x_t, x_0)` (Ho et al. 2020, equation 7):

    .. math::
        \mu = \frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t} x_0
            + \frac{(1 - \bar\alpha_{t-1}) \sqrt{1 - \beta_t}}{1 - \bar\alpha_t} x_t, \quad
        \sigma^2 = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t} \beta_t

    The variance of the first step is 0; its logarithm is that of the second step.

    Args:
        schedule: T steps.
        clean: :math:`x_0`, ``[B, ...]``.
        noisy: :math:`x_t`, ``[B, ...]``.
        steps: t, integers from 0 to T - 1, ``[B]``.
    """
    of_clean, of_noisy = posterior_coefficients(schedule)
    mean = at_times(of_clean, steps, noisy) * clean + at_times(of_noisy, steps, noisy) * noisy
    return Gaussian(mean, at_times(log_variances(schedule, "fixed_small"), steps, noisy))


def posterior_coefficients(schedule: NoiseSchedule) -> tuple[np.ndarray, np.ndarray]:
    """Returns the coefficients of the clean and of the noisy example in the mean of ``posterior``, ``[T]`` each."""
    previous, rest = schedule.alphas_cumprod_prev, 1 - schedule.alphas_cumprod
    return np.sqrt(previous) * schedule.betas / rest, (1 - previous) * np.sqrt(1 - schedule.betas) / rest


def log_variances(schedule: NoiseSchedule, kind: str) -> np.ndarray:
    r"""Returns the logarithms of the fixed variances of the reverse process, float64 ``[T]``.

    Args:
        schedule: T steps.
        kind: ``"fixed_small"``: the variances of ``posterior``. ``"fixed_large"``: :math:`\beta_t`, but for the first
            step, which has the variance of ``"fixed_small"``.
    """
    check_choice("kind", kind, FIXED_VARIANCES)
    small = schedule.betas * (1 - schedule.alphas_cumprod_prev) / (1 - schedule.alphas_cumprod)
    small[0] = small[1] if len(small) > 1 else schedule.betas[0]
    large = np.concatenate([small[:1], schedule.betas[1:]])
    return np.log(small if kind == "fixed_small" else large)


def learned_log_variance(
    schedule: NoiseSchedule, output: Float[Array, "B ..."], steps: Integer[Array, " B"]
) -> Float[Array, "B ..."]:
    r"""Interpolates between the fixed variances (Nichol and Dhariwal 2021, equation 15):

    .. math:: \log \sigma^2 = u \log \beta_t + (1 - u) \log \tilde\beta_t, \quad u = (v + 1) / 2

    Args:
        schedule: T steps.
        output: v, of the network, usually from -1 to 1, ``[B, ...]``.
        steps: t, integers from 0 to T - 1, ``[B]``.
    """
    small = at_times(log_variances(schedule, "fixed_small"), steps, output)
    large = at_times(np.log(schedule.betas), steps, output)
    weight = (output + 1) / 2
    return weight * large + (1 - weight) * small


def discretized_gaussian_log_prob(
    xs: Float[Array, "*shape"],
    mean: Float[Array, "*#shape"],
    log_variance: Float[Array, "*#shape"],
    num_levels: int = 256,
) -> Float[Array, "*shape"]:
    """Computes the log-probability of L levels in [-1, 1] under a Gaussian, in nats (Ho et al. 2020, section 3.3).

    A level has the probability of its interval of width 2 / (L - 1); the first and the last interval are unbounded.

    Args:
        xs: Levels, -1 + 2 i / (L - 1), ``[...]``.
        mean, log_variance: Broadcastable to ``[...]``.
        num_levels: L.
    """
    check_integer("num_levels", num_levels, minimum=2)
    scale, half = jnp.exp(-0.5 * log_variance), 1 / (num_levels - 1)
    upper, lower = (xs - mean + half) * scale, (xs - mean - half) * scale
    norm = jax.scipy.stats.norm
    # In the upper half, the difference of survival functions has no cancellation near 1.
    flipped = lower > 0
    low, high = jnp.where(flipped, -upper, lower), jnp.where(flipped, -lower, upper)
    inner = norm.cdf(high) - norm.cdf(low)
    density = norm.logpdf((low + high) / 2) + jnp.log(high - low)  # far from the mean, where both underflow
    tiny = jnp.finfo(inner.dtype).smallest_normal ** 0.5
    log_inner = jnp.where(inner > tiny, jnp.log(jnp.maximum(inner, tiny)), density)
    edge = 1 - half
    return jnp.where(xs < -edge, norm.logcdf(upper), jnp.where(xs > edge, norm.logcdf(-lower), log_inner))


def bound_terms(
    schedule: NoiseSchedule,
    predicted: Gaussian,
    clean: Float[Array, "B ..."],
    noisy: Float[Array, "B ..."],
    steps: Integer[Array, " B"],
    num_levels: int = 256,
) -> Float[Array, " B"]:
    r"""Computes one term of the negative variational bound of each example, in nats (Ho et al. 2020, equation 5).

    The term is :math:`\mathrm{KL}(q(x_{t-1} | x_t, x_0) \| p(x_{t-1} | x_t))`; that of the first step is
    :math:`-\log p(x_0 | x_1)` of the levels.

    Args:
        schedule: T steps.
        predicted: :math:`p(x_{t-1} | x_t)`.
        clean: :math:`x_0`, ``[B, ...]``, levels as in ``discretized_gaussian_log_prob``.
        noisy: :math:`x_t`, ``[B, ...]``.
        steps: t, integers from 0 to T - 1, ``[B]``.
        num_levels: Levels of the data.
    """
    true = posterior(schedule, clean, noisy, steps)
    flat = lambda array: jnp.broadcast_to(array, clean.shape).reshape(len(clean), -1)
    divergence = gaussian_kl(
        flat(true.mean), flat(true.log_variance), flat(predicted.mean), flat(predicted.log_variance)
    )
    log_probs = discretized_gaussian_log_prob(
        flat(clean), flat(predicted.mean), flat(predicted.log_variance), num_levels
    )
    decoded = -jnp.sum(log_probs, axis=-1)
    chex.assert_equal_shape([divergence, decoded, steps])
    return jnp.where(steps == 0, decoded, divergence)


def prior_term(schedule: NoiseSchedule, clean: Float[Array, "B ..."]) -> Float[Array, " B"]:
    r"""Computes the last term of the negative bound, :math:`\mathrm{KL}(q(x_T | x_0) \| N(0, I))`, in nats ``[B]``."""
    last = jnp.full(len(clean), len(schedule.betas) - 1)
    mean = add_noise(schedule, clean, jnp.zeros_like(clean), last).reshape(len(clean), -1)
    return standard_normal_kl(mean, jnp.full_like(mean, math.log1p(-schedule.alphas_cumprod[-1])))
