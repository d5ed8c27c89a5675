"""The vector-quantized variational autoencoder (van den Oord et al. 2017, arXiv:1711.00937)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution import Conv, ConvTranspose
from jaxnets.generative.variational.quantization import Quantized, vector_quantize
from jaxnets.ops.array_types import Array, Float, Int
from jaxnets.ops.checks import check_depth
from jaxnets.ops.dtypes import at_least_float32


class VQVAE(nn.Module):
    """A vector-quantized autoencoder of images, with a grid of discrete codes of a quarter of the height and width.

    The sizes are those of the authors' example. The output is linear: means of a Gaussian, or logits of pixels.

    Parameters: ``encoder``, ``decoder``, ``codebook [K, E]``.

    Attributes:
        channels: Channels C of the images.
        num_codes: K, rows of the codebook.
        code_size: E, size of a code.
        hidden: Channels of hidden layers, an even number.
        residual_hidden: Channels within residual blocks.
        num_residual_blocks: Residual blocks of the encoder, and of the decoder.
        dtype: Compute dtype; codes and outputs are at least float32.
    """

    channels: int = 1
    num_codes: int = 512
    code_size: int = 64
    hidden: int = 128
    residual_hidden: int = 32
    num_residual_blocks: int = 2
    dtype: Dtype = jnp.float32

    def setup(self):
        check_depth(num_residual_blocks=self.num_residual_blocks)
        trunk = (self.hidden, self.residual_hidden, self.num_residual_blocks, self.dtype)
        self.encoder = VQEncoder(self.code_size, *trunk)
        self.decoder = VQDecoder(self.channels, *trunk)
        self.codebook = self.param(
            "codebook", _uniform(1 / self.num_codes), (self.num_codes, self.code_size), jnp.float32
        )

    def __call__(self, images: Float[Array, "B H W C"]) -> tuple[Float[Array, "B H W C"], Quantized]:
        """Encodes and decodes images.

        Args:
            images: ``[B, H, W, C]``; H and W multiples of 4.

        Returns:
            Outputs ``[B, H, W, C]``, with the straight-through gradient; and the quantized vectors with their losses,
            ``[B, H / 4, W / 4, ...]``.

        Raises:
            ValueError: The size is not a multiple of 4.
        """
        quantized = self.quantize(images)
        return self.decoder(quantized.codes), quantized

    def encode(self, images: Float[Array, "B H W C"]) -> Int[Array, "B rows columns"]:
        """Returns the indices of the codes of images ``[B, H, W, C]``, int32 ``[B, H / 4, W / 4]``."""
        return self.quantize(images).indices

    def quantize(self, images: Float[Array, "B H W C"]) -> Quantized:
        """Returns the quantized vectors of images ``[B, H, W, C]``; errors as in ``__call__``."""
        if images.ndim != 4 or images.shape[1] % 4 or images.shape[2] % 4 or images.shape[3] != self.channels:
            raise ValueError(
                f"`images` must have the shape [B, H, W, {self.channels}], H and W multiples of 4, got {images.shape}"
            )
        return vector_quantize(self.encoder(images), self.codebook)

    def decode(self, indices: Int[Array, "B rows columns"]) -> Float[Array, "B H W C"]:
        """Returns the outputs ``[B, H, W, C]`` of indices of codes, ``[B, H / 4, W / 4]``."""
        return self.decoder(jnp.asarray(self.codebook)[indices])


class VQEncoder(nn.Module):
    """The encoder of ``VQVAE``: two convolutions with stride 2, residual blocks, and a linear layer."""

    code_size: int
    hidden: int
    residual_hidden: int
    num_residual_blocks: int
    dtype: Dtype

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"]) -> Float[Array, "B rows columns E"]:
        """Maps ``[B, H, W, C]`` to ``[B, H / 4, W / 4, E]``."""
        x = nn.relu(Conv(self.hidden // 2, (4, 4), strides=2, padding=1, dtype=self.dtype, name="conv_1")(images))
        x = nn.relu(Conv(self.hidden, (4, 4), strides=2, padding=1, dtype=self.dtype, name="conv_2")(x))
        x = Conv(self.hidden, (3, 3), padding=1, dtype=self.dtype, name="conv_3")(x)
        x = _residual_stack(self, x)
        return Conv(self.code_size, (1, 1), dtype=at_least_float32(self.dtype), name="code")(x)


class VQDecoder(nn.Module):
    """The decoder of ``VQVAE``: residual blocks, and two transposed convolutions with stride 2."""

    channels: int
    hidden: int
    residual_hidden: int
    num_residual_blocks: int
    dtype: Dtype

    @nn.compact
    def __call__(self, codes: Float[Array, "B rows columns E"]) -> Float[Array, "B H W C"]:
        """Maps ``[B, H / 4, W / 4, E]`` to ``[B, H, W, C]``."""
        x = Conv(self.hidden, (3, 3), padding=1, dtype=self.dtype, name="conv")(codes)
        x = _residual_stack(self, x)
        x = nn.relu(ConvTranspose(self.hidden // 2, dtype=self.dtype, name="upsampling_1")(x))
        x = ConvTranspose(self.channels, dtype=self.dtype, name="upsampling_2")(x)
        return x.astype(at_least_float32(self.dtype))


def _residual_stack(module: VQEncoder | VQDecoder, x: jax.Array) -> jax.Array:
    """Applies residual blocks of ReLU, a 3 x 3 convolution, ReLU and a 1 x 1 convolution; and ReLU at the end."""
    for block in range(1, module.num_residual_blocks + 1):
        inner = Conv(module.residual_hidden, (3, 3), padding=1, dtype=module.dtype, name=f"residual_{block}_conv_1")
        outer = Conv(module.hidden, (1, 1), dtype=module.dtype, name=f"residual_{block}_conv_2")
        x += outer(nn.relu(inner(nn.relu(x))))
    return nn.relu(x)


def _uniform(bound: float) -> nn.initializers.Initializer:
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)
