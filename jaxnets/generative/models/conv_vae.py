"""The convolutional variational autoencoder of beta-VAE (Burgess et al. 2018, arXiv:1804.03599)."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution import Conv, ConvTranspose
from jaxnets.generative.variational.likelihoods import reparameterize
from jaxnets.modules.dense import Dense
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_layer_sizes
from jaxnets.ops.dtypes import at_least_float32


class ConvVAE(nn.Module):
    """A variational autoencoder of images, with a Gaussian encoder, 502,005 parameters by default.

    4 x 4 convolutions with stride 2, dense layers, and the reverse, with ReLU. ``image_shape=(28, 28, 1)`` needs
    ``channels`` of two layers.

    Attributes:
        image_shape: Height, width and channels of the images; each layer of ``channels`` halves height and width.
        latent: Z, size of a latent code.
        channels: Channels of the convolutions of the encoder; the decoder has them in reverse order.
        hidden_sizes: Sizes of the dense layers of the encoder; the decoder has them in reverse order.
        dtype: Compute dtype; outputs are at least float32.
    """

    image_shape: tuple[int, int, int] = (64, 64, 1)
    latent: int = 10
    channels: Sequence[int] = (32, 32, 32, 32)
    hidden_sizes: Sequence[int] = (256, 256)
    dtype: Dtype = jnp.float32

    def setup(self):
        check_layer_sizes(channels=self.channels, hidden_sizes=self.hidden_sizes)
        height, width, depth = self.image_shape
        factor = 2 ** len(self.channels)
        if height % factor or width % factor:
            raise ValueError(
                f"`image_shape` must have a height and a width that are multiples of {factor} for "
                f"{len(self.channels)} layers of `channels`, got {height} x {width}"
            )
        self.grid = (height // factor, width // factor, self.channels[-1] if self.channels else depth)
        conv = lambda size: Conv(size, (4, 4), strides=2, padding=1, dtype=self.dtype)
        dense = lambda size: Dense(size, dtype=self.dtype)
        self.encoder_convs = [conv(size) for size in self.channels]
        self.encoder_layers = [dense(size) for size in self.hidden_sizes]
        self.code = Dense(2 * self.latent, dtype=at_least_float32(self.dtype))
        self.decoder_layers = [dense(size) for size in (*reversed(self.hidden_sizes), math.prod(self.grid))]
        sizes = (*reversed(self.channels[:-1]), depth) if self.channels else ()
        self.decoder_convs = [ConvTranspose(size, dtype=self.dtype) for size in sizes]

    def __call__(
        self, images: Float[Array, "B H W C"], noise: Float[Array, "*samples B latent"]
    ) -> tuple[Float[Array, "*samples B H W C"], Float[Array, "B latent"], Float[Array, "B latent"]]:
        """Encodes and decodes images, with one or more samples of the latent code.

        Args:
            images: ``[B, H, W, C]``.
            noise: Standard normal noise of the reparameterized samples, ``[B, Z]``, or ``[K, B, Z]`` for K samples.

        Returns:
            The logits ``[B, H, W, C]`` or ``[K, B, H, W, C]`` of the decoder, and the mean and log variance ``[B, Z]``
            of the encoder.
        """
        mean, log_variance = self.encode(images)
        return self.decode(reparameterize(mean, log_variance, noise)), mean, log_variance

    def encode(self, images: Float[Array, "B H W C"]) -> tuple[Float[Array, "B latent"], Float[Array, "B latent"]]:
        """Returns the mean and log variance ``[B, Z]`` of the latent codes of images ``[B, H, W, C]``.

        Raises:
            ValueError: The images have another shape than ``image_shape``.
        """
        if images.shape[1:] != tuple(self.image_shape):
            shape = ", ".join(map(str, self.image_shape))
            raise ValueError(f"`images` must have the shape [B, {shape}], got {images.shape}")
        x = images
        for conv in self.encoder_convs:
            x = nn.relu(conv(x))
        x = x.reshape(len(x), -1)
        for layer in self.encoder_layers:
            x = nn.relu(layer(x))
        mean, log_variance = jnp.split(self.code(x), 2, axis=-1)
        return mean, log_variance

    def decode(self, codes: Float[Array, "*batch latent"]) -> Float[Array, "*batch H W C"]:
        """Returns the logits ``[..., H, W, C]`` of latent codes ``[..., Z]``."""
        x = codes.reshape(-1, codes.shape[-1])
        *hidden_layers, last = self.decoder_layers
        for layer in hidden_layers:
            x = nn.relu(layer(x))
        x = last(x).reshape(-1, *self.grid)
        for conv in self.decoder_convs:
            x = conv(nn.relu(x))
        return x.astype(at_least_float32(self.dtype)).reshape(*codes.shape[:-1], *self.image_shape)
