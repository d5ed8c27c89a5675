"""Log-likelihoods of independent variables in nats, and samples of them."""

import math

import chex
import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float, Key, Num


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


def gaussian_log_prob(
    xs: Float[Array, "*batch D"], mean: Float[Array, "*#batch D"], log_variance: Float[Array, "*#batch D"]
) -> Float[Array, "*batch"]:
    r"""Computes the log-likelihood of independent Gaussian variables, in nats.

    .. math:: -\frac12 \sum_i \log 2 \pi + \log \sigma_i^2 + \frac{(x_i - \mu_i)^2}{\sigma_i^2}

    Args:
        xs: x, ``[..., D]``.
        mean: :math:`\mu`, broadcastable to ``[..., D]``.
        log_variance: :math:`\log \sigma^2`, broadcastable to ``[..., D]``.

    Returns:
        ``[...]``.
    """
    mean, log_variance = (jnp.broadcast_to(a, xs.shape) for a in (mean, log_variance))
    squares = (xs - mean) ** 2 * jnp.exp(-log_variance)
    return -0.5 * jnp.sum(math.log(2 * math.pi) + log_variance + squares, axis=-1)


def reparameterize(
    mean: Float[Array, "*#batch latent"],
    log_variance: Float[Array, "*#batch latent"],
    noise: Float[Array, "*batch latent"],
) -> Float[Array, "*batch latent"]:
    r"""Computes samples of a diagonal Gaussian that are differentiable in its parameters.

    .. math:: z = \mu + \sigma \odot \epsilon

    See Kingma and Welling 2013 (arXiv:1312.6114).

    Args:
        mean: :math:`\mu`, broadcastable to the shape of the noise.
        log_variance: :math:`\log \sigma^2`, broadcastable to the shape of the noise.
        noise: :math:`\epsilon`, standard normal, ``[..., Z]``. ``[K, B, Z]`` for ``mean [B, Z]`` are K samples each.

    Returns:
        Samples, in the shape of the noise.
    """
    mean, std = (jnp.broadcast_to(a, noise.shape) for a in (mean, jnp.exp(0.5 * log_variance)))
    return mean + std * noise


def binarize(key: Key[Array, ""], images: Num[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Samples pixels as bits, with the intensities as probabilities: dynamic binarization, if done at every step.

    See Burda et al. 2016 (arXiv:1509.00519). Likelihoods of these bits are not comparable with those of a fixed
    binarization, and intensities as targets have no Bernoulli likelihood.

    Args:
        key: A random key.
        images: uint8, or floating point in [0, 1].

    Returns:
        0 or 1, floating point, in the same shape.

    Raises:
        ValueError: The dtype is another one.
    """
    if images.dtype == jnp.uint8:
        images = images.astype(jnp.float32) / 255
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"`images` must be uint8, or floating point in [0, 1], got {images.dtype}")
    return jax.random.bernoulli(key, images).astype(images.dtype)
