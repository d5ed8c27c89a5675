"""Lower bounds of the log-likelihood of latent variable models, and their gradients."""

import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxnets.generative.variational.likelihoods import gaussian_log_prob, reparameterize
from jaxnets.ops.array_types import Array, Float


def elbo(
    log_likelihood: Float[Array, "*batch"], kl: Float[Array, "*batch"], beta: float = 1.0
) -> Float[Array, "*batch"]:
    r"""Computes the evidence lower bound, in nats.

    .. math:: \mathrm{ELBO}(x) = E_{z \sim q(z|x)} \log p(x|z) - \beta\, \mathrm{KL}(q(z|x) \| p(z)) \le \log p(x)

    The second term may also be a sample of it. Only with :math:`\beta \ge 1` is it a bound.

    Args:
        log_likelihood: log p(x|z), summed over the pixels, ``[...]``. A mean over D pixels makes beta D times as large.
        kl: The divergence, ``[...]``.
        beta: Weight of the divergence (Higgins et al. 2017, beta-VAE).

    Returns:
        ``[...]``.
    """
    chex.assert_equal_shape([log_likelihood, kl])
    return log_likelihood - beta * kl


def log_importance_weights(
    log_likelihood: Float[Array, "*batch"],
    codes: Float[Array, "*batch latent"],
    mean: Float[Array, "*#batch latent"],
    log_variance: Float[Array, "*#batch latent"],
) -> Float[Array, "*batch"]:
    r"""Computes log weights of codes of a Gaussian encoder and a standard normal prior.

    .. math:: \log w = \log p(x|z) + \log \mathcal{N}(z; 0, I) - \log \mathcal{N}(z; \mu(x), \mathrm{diag}\,\sigma^2(x))

    Their mean over z is the evidence lower bound, which ``elbo`` computes with less variance.

    Args:
        log_likelihood: log p(x|z), ``[..., B]``.
        codes: z, samples of the encoder, ``[..., B, Z]``.
        mean, log_variance: Of the encoder, ``[B, Z]``.

    Returns:
        ``[..., B]``.
    """
    chex.assert_shape(log_likelihood, codes.shape[:-1])
    zeros = jnp.zeros_like(codes)
    return log_likelihood + gaussian_log_prob(codes, zeros, zeros) - gaussian_log_prob(codes, mean, log_variance)


def importance_weighted_bound(log_weights: Float[Array, "K ..."]) -> Float[Array, "..."]:
    r"""Computes the importance-weighted bound of IWAE, in nats (Burda et al. 2016, arXiv:1509.00519).

    .. math:: L_K = E \log \frac1K \sum_{k=1}^K w_k, \qquad \mathrm{ELBO} = L_1 \le L_K \le L_{K+1} \le \log p(x)

    With K = 5,000, it is the usual estimate of the test likelihood.

    Args:
        log_weights: log w of K samples for each example, ``[K, ...]``; see ``log_importance_weights``.

    Returns:
        ``[...]``.
    """
    return jax.nn.logsumexp(log_weights, axis=0) - math.log(log_weights.shape[0])


def doubly_reparameterized_bound(
    log_joint: Callable[[Float[Array, "K B latent"]], Float[Array, "K B"]],
    mean: Float[Array, "B latent"],
    log_variance: Float[Array, "B latent"],
    noise: Float[Array, "K B latent"],
) -> Float[Array, " B"]:
    r"""Computes the importance-weighted bound with the doubly reparameterized gradient of the encoder (DReG).

    The value is that of ``importance_weighted_bound``. So is the gradient in the parameters of ``log_joint``. For the
    parameters :math:`\phi` of the encoder, with normalized weights :math:`\tilde w_k`, it is

    .. math::
        \sum_k \tilde w_k^2 \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi}, \quad
        z_k = \mu_\phi + \sigma_\phi \odot \epsilon_k,

    which has the same expectation, and whose signal-to-noise ratio does not vanish with large K. See Tucker et al. 2019
    (arXiv:1810.04152).

    Args:
        log_joint: z -> log p(x, z), ``[K, B, Z] -> [K, B]``; it must not depend on the encoder otherwise.
        mean, log_variance: Of the Gaussian encoder, ``[B, Z]``.
        noise: :math:`\epsilon`, standard normal, ``[K, B, Z]``.

    Returns:
        ``[B]``.
    """
    codes = reparameterize(mean, log_variance, noise)
    fixed_mean, fixed_log_variance = jax.lax.stop_gradient((mean, log_variance))

    def log_weights_of(codes: jax.Array) -> jax.Array:
        return log_joint(codes) - gaussian_log_prob(codes, fixed_mean, fixed_log_variance)

    log_weights, pullback = jax.vjp(log_weights_of, jax.lax.stop_gradient(codes))
    normalized = jax.lax.stop_gradient(jax.nn.softmax(log_weights, axis=0))
    slopes = jax.lax.stop_gradient(pullback(normalized**2)[0])
    encoder_terms = jnp.sum(slopes * (codes - jax.lax.stop_gradient(codes)), axis=(0, -1))  # zero, with a gradient
    return importance_weighted_bound(log_weights) + encoder_terms
