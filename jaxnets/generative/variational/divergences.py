"""Kullback-Leibler divergences, in nats."""

import math

import chex
import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float


def standard_normal_kl(
    mean: Float[Array, "*batch latent"], log_variance: Float[Array, "*batch latent"]
) -> Float[Array, "*batch"]:
    r"""Computes the KL divergence of a diagonal Gaussian from the standard normal distribution, in nats.

    .. math:: \mathrm{KL} = \frac12 \sum_j \mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2

    Args:
        mean: :math:`\mu`, ``[..., Z]``.
        log_variance: :math:`\log \sigma^2`, ``[..., Z]``.

    Returns:
        ``[...]``.
    """
    chex.assert_equal_shape([mean, log_variance])
    return 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance, axis=-1)


def gaussian_kl(
    mean: Float[Array, "*batch latent"],
    log_variance: Float[Array, "*batch latent"],
    other_mean: Float[Array, "*batch latent"],
    other_log_variance: Float[Array, "*batch latent"],
) -> Float[Array, "*batch"]:
    r"""Computes the KL divergence of a diagonal Gaussian q from another one p, in nats.

    .. math::
        \mathrm{KL}(q \| p) = \frac12 \sum_j \log \frac{\sigma_{pj}^2}{\sigma_{qj}^2}
        + \frac{\sigma_{qj}^2 + (\mu_{qj} - \mu_{pj})^2}{\sigma_{pj}^2} - 1

    Args:
        mean, log_variance: Of q, ``[..., Z]``.
        other_mean, other_log_variance: Of p, ``[..., Z]``.

    Returns:
        ``[...]``.
    """
    chex.assert_equal_shape([mean, log_variance, other_mean, other_log_variance])
    log_ratio = log_variance - other_log_variance
    squares = jnp.exp(log_ratio) + (mean - other_mean) ** 2 * jnp.exp(-other_log_variance)
    return 0.5 * jnp.sum(squares - 1 - log_ratio, axis=-1)


def uniform_kl(logits: Float[Array, "*batch K"]) -> Float[Array, "*batch"]:
    r"""Computes the KL divergence of a categorical distribution from the uniform distribution, in nats.

    .. math:: \mathrm{KL} = \log K + \sum_k p_k \log p_k, \quad p = \mathrm{softmax}(l)

    The divergence of a code of ``vector_quantize`` is its maximum, log K.

    Args:
        logits: l, ``[..., K]``; minus infinity is a probability of 0, for all but one category at most.

    Returns:
        ``[...]``.
    """
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    possible = log_probs != -jnp.inf
    terms = jnp.where(possible, jnp.exp(log_probs) * jnp.where(possible, log_probs, 0), 0)
    return math.log(logits.shape[-1]) + jnp.sum(terms, axis=-1)
