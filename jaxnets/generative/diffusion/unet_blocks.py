"""Blocks of the U-Net of diffusion models."""

import functools

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.attention import attention
from jaxnets.convolution import Conv
from jaxnets.modules.dense import Dense
from jaxnets.modules.norms import GroupNorm
from jaxnets.ops.array_types import Array, Float, Integer

INIT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
ZERO_INIT = nn.initializers.variance_scaling(1e-10, "fan_avg", "uniform")  # of layers before a sum, and of the last one


def group_norm(num_groups: int, dtype: Dtype, name: str) -> GroupNorm:
    """Makes a group norm, computed in float32."""
    return GroupNorm(num_groups, epsilon=1e-6, dtype=dtype, name=name)


class ResidualBlock(nn.Module):
    r"""Two 3 x 3 convolutions after group norms and SiLU, with the embedding of the time added between them.

    .. math:: y = W_s x + W_2 f(n_2(W_1 f(n_1(x)) + W_t f(e))), \quad f = \mathrm{SiLU}

    :math:`W_s` is the identity if the number of channels does not change. Dropout is applied before :math:`W_2`.

    Attributes:
        features: Channels of the output.
        num_groups: Groups of the norms.
        dropout: Dropout probability.
        dtype: Compute dtype.
    """

    features: int
    num_groups: int
    dropout: float
    dtype: Dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], embedding: Float[Array, "B E"], train: bool
    ) -> Float[Array, "B H W F"]:
        """Computes the block for ``x [B, H, W, C]`` and embeddings ``[B, E]``."""
        norm = functools.partial(group_norm, self.num_groups, self.dtype)
        conv = functools.partial(Conv, self.features, (3, 3), dtype=self.dtype)
        y = conv(kernel_init=INIT, name="conv_1")(nn.silu(norm("norm_1")(x)))
        shift = Dense(self.features, kernel_init=INIT, dtype=self.dtype, name="time")(nn.silu(embedding))
        y = nn.silu(norm("norm_2")(y + shift[:, None, None]))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        y = conv(kernel_init=ZERO_INIT, name="conv_2")(y)
        if x.shape[-1] != self.features:
            x = Dense(self.features, kernel_init=INIT, dtype=self.dtype, name="shortcut")(x)
        return x + y


class AttentionBlock(nn.Module):
    """Attention between pixels, or of pixels to a sequence, after a group norm and with a residual connection.

    Attributes:
        num_heads: Heads.
        num_groups: Groups of the norm.
        dtype: Compute dtype.
    """

    num_heads: int
    num_groups: int
    dtype: Dtype

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W C"],
        context: Float[Array, "B S D"] | None = None,
        lengths: Integer[Array, " B"] | None = None,
    ) -> Float[Array, "B H W C"]:
        """Computes the block for ``x [B, H, W, C]``.

        Args:
            x: Activations.
            context: The sequence to attend to, ``[B, S, D]``; None: all pixels of the image.
            lengths: Valid vectors of each sequence, ``[B]``; 0 leaves an image unchanged but for a bias.
        """
        batch, height, width, channels = x.shape
        pixels = group_norm(self.num_groups, self.dtype, "norm")(x).reshape(batch, height * width, channels)
        attended = pixels if context is None else context.astype(self.dtype)
        dense = functools.partial(Dense, channels, dtype=self.dtype)
        query, key, value = (
            dense(kernel_init=INIT, name=name)(xs).reshape(batch, -1, self.num_heads, channels // self.num_heads)
            for name, xs in (("query", pixels), ("key", attended), ("value", attended))
        )
        y = attention(query, key, value, lengths=lengths).reshape(batch, height, width, channels)
        return x + dense(kernel_init=ZERO_INIT, name="out")(y)


class Upsample(nn.Module):
    """Doubles height and width by nearest neighbors, and applies a 3 x 3 convolution.

    Attributes:
        features: Channels of the output.
        dtype: Compute dtype.
    """

    features: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B out_height out_width F"]:
        """Maps ``[B, H, W, C]`` to ``[B, 2 H, 2 W, F]``."""
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        return Conv(self.features, (3, 3), kernel_init=INIT, dtype=self.dtype, name="conv")(x)
