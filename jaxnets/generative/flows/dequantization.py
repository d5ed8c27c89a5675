"""Dequantization of images, and bits per dimension."""

import math

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float, Integer, Key
from jaxnets.ops.checks import check_integer


def dequantize(key: Key[Array, ""], images: Integer[Array, "*shape"], intensities: int = 256) -> Float[Array, "*shape"]:
    r"""Adds uniform noise to discrete intensities: :math:`(v + u) / 256`, u uniform in [0, 1).

    The expected log-density of the result is a lower bound of the log-probability of the intensities; see
    ``bits_per_dim``. Without noise, the density of discrete data is unbounded. See "A note on the evaluation of
    generative models" (arXiv:1511.01844).

    Args:
        key: A random key.
        images: v, integers in 0 ... ``intensities - 1``.
        intensities: Number of intensities, 256 for 8 bits.

    Returns:
        float32 in [0, 1), in the same shape.

    Raises:
        ValueError: The images are not integers; or ``intensities`` is not a positive integer.
    """
    check_integer("intensities", intensities)
    if not jnp.issubdtype(images.dtype, jnp.integer):
        raise ValueError(f"`images` must be integers from 0 to {intensities - 1}, got {images.dtype}")
    noisy = images.astype(jnp.float32) + jax.random.uniform(key, images.shape, jnp.float32)
    # In float32, 255 plus a number near 1 is 256.
    return jnp.minimum(noisy / intensities, 1 - 2**-24)


def bits_per_dim(log_likelihood: Float[Array, "*batch"], dims: int, intensities: int = 256) -> Float[Array, "*batch"]:
    r"""Computes the bits per dimension of discrete intensities from the density of dequantized ones.

    .. math:: \frac{-\log p(x)}{D \log 2} + \log_2 256

    Args:
        log_likelihood: log p of the result of ``dequantize``, in nats, ``[...]``. A likelihood of discrete values, as
            PixelCNN's, has ``intensities=1``.
        dims: D, pixels times channels.
        intensities: Number of intensities, 256 for 8 bits.

    Returns:
        ``[...]``.
    """
    check_integer("dims", dims)
    check_integer("intensities", intensities)
    return math.log2(intensities) - log_likelihood / (dims * math.log(2))
