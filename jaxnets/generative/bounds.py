"""Terms of the evidence lower bound."""

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


def bernoulli_log_prob(logits: Float[Array, "*batch D"], xs: Float[Array, "*batch D"]) -> Float[Array, "*batch"]:
    r"""Computes the log-likelihood of independent Bernoulli variables, in nats.

    .. math:: \sum_i x_i l_i - \log(1 + e^{l_i})

    Args:
        logits: l, logits of the probability of 1, ``[..., D]``.
        xs: x, floating point 0 or 1, ``[..., D]``.

    Returns:
        ``[...]``.
    """
    chex.assert_equal_shape([logits, xs])
    return jnp.sum(xs * logits - jax.nn.softplus(logits), axis=-1)
