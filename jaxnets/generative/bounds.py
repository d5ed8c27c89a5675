"""Terms of the evidence lower bound."""

import chex
import jax
import jax.numpy as jnp


def standard_normal_kl(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    r"""The divergence of a diagonal Gaussian from the standard one, in nats.

    .. math:: \mathrm{KL} = \frac12 \sum_j \mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2

    Args:
        mean: :math:`\mu`, ``[..., Z]``.
        log_variance: :math:`\log \sigma^2`, ``[..., Z]``.

    Returns:
        ``[...]``.
    """
    chex.assert_equal_shape([mean, log_variance])
    return 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance, axis=-1)


def bernoulli_log_prob(logits: jax.Array, xs: jax.Array) -> jax.Array:
    r"""The log-likelihood of independent bits, in nats.

    .. math:: \sum_i x_i l_i - \log(1 + e^{l_i})

    Args:
        logits: l, ``[..., D]``.
        xs: Bits 0 and 1, floating point ``[..., D]``.

    Returns:
        ``[...]``.
    """
    chex.assert_equal_shape([logits, xs])
    return jnp.sum(xs * logits - jax.nn.softplus(logits), axis=-1)
