"""The U-Net of denoising diffusion (Ho et al. 2020, arXiv:2006.11239)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution import Conv
from jaxnets.generative.diffusion.unet_blocks import (
    INIT,
    ZERO_INIT,
    AttentionBlock,
    ResidualBlock,
    Upsample,
    group_norm,
)
from jaxnets.modules.dense import Dense
from jaxnets.ops.array_types import Array, Float, Integer, Num
from jaxnets.ops.checks import check_depth, check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.embedding import check_ids


class UNet(nn.Module):
    r"""The U-Net of DDPM: residual blocks with group norms and time embeddings, and self-attention at some sizes.

    The defaults are the network for CIFAR-10, with 35,746,307 parameters. Convolutions with stride 2 halve
    the size of the images on the way down; nearest neighbors and a convolution double it on the way up. Activations of
    the way down are concatenated to those of the way up.

    Optional conditions are classes, whose embeddings are added to that of the time, and sequences of vectors, such as
    encoded words, to which each pixel attends after each self-attention.

    Attributes:
        image_shape: ``(H, W, C)``; height and width are multiples of 2 to the number of levels minus 1.
        width: Channels of the first level.
        multipliers: Channels of each level, relative to ``width``.
        num_blocks: Residual blocks of a level; there is one more on the way up.
        attention_levels: Levels with attention, from 0; the middle always has it.
        num_heads: Attention heads.
        num_groups: Groups of the norms, a divisor of all channels.
        dropout: Dropout probability in residual blocks.
        num_classes: Classes; 0: a model without classes. The label ``num_classes`` stands for no class.
        context_dim: Size of the vectors of a sequence to attend to; 0: none.
        learned_variance: Whether the output has twice as many channels, see ``learned_log_variance``.
        dtype: Compute dtype; outputs are at least float32.
    """

    image_shape: tuple[int, int, int] = (32, 32, 3)
    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    num_blocks: int = 2
    attention_levels: tuple[int, ...] = (1,)
    num_heads: int = 1
    num_groups: int = 32
    dropout: float = 0.1
    num_classes: int = 0
    context_dim: int = 0
    learned_variance: bool = False
    dtype: Dtype = jnp.float32

    def __post_init__(self):
        super().__post_init__()
        check_unet(self)

    @nn.compact
    def __call__(
        self,
        xs: Float[Array, "B H W C"],
        times: Num[Array, " B"],
        labels: Integer[Array, " B"] | None = None,
        context: Float[Array, "B S D"] | None = None,
        context_lengths: Integer[Array, " B"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B H W C"]:
        """Computes the prediction for noisy images.

        Args:
            xs: Noisy images, ``[B, H, W, C]``.
            times: Times, from 0 to about 1000, ``[B]``.
            labels: Integers from 0 to K, where K stands for no class, ``[B]``; None: no class for all.
            context: ``[B, S, D]``, for a model with ``context_dim``; None: nothing to attend to.
            context_lengths: Valid vectors of each sequence, ``[B]``, also 0; None: all.
            train: Whether to apply dropout, which needs ``rngs={"dropout": key}``.

        Returns:
            ``[B, H, W, C]``, or 2 C channels with ``learned_variance``.
        """
        self._check_inputs(xs, times, labels, context)
        embedding = self._embed(times, labels)
        if self.context_dim and context is None:
            context, context_lengths = jnp.zeros((len(xs), 1, self.context_dim)), jnp.zeros(len(xs), jnp.int32)
        block = functools.partial(ResidualBlock, num_groups=self.num_groups, dropout=self.dropout, dtype=self.dtype)
        conv = functools.partial(Conv, kernel_size=(3, 3), kernel_init=INIT, dtype=self.dtype)
        channels = [self.width * factor for factor in self.multipliers]

        def attend(x, place):
            block = functools.partial(AttentionBlock, self.num_heads, self.num_groups, self.dtype)
            x = block(name=f"{place}_attention")(x)
            if self.context_dim:
                x = block(name=f"{place}_cross_attention")(x, context, context_lengths)
            return x

        x = conv(self.width, name="conv_in")(xs.astype(self.dtype))
        skips = [x]
        for level, features in enumerate(channels):
            for index in range(1, self.num_blocks + 1):
                x = block(features, name=f"down_{level}_block_{index}")(x, embedding, train)
                if level in self.attention_levels:
                    x = attend(x, f"down_{level}_{index}")
                skips.append(x)
            if level < len(channels) - 1:
                # One row and one column of zeros below and to the right, as TensorFlow pads.
                x = conv(features, strides=2, padding=((0, 1), (0, 1)), name=f"down_{level}_downsample")(x)
                skips.append(x)
        x = block(channels[-1], name="middle_block_1")(x, embedding, train)
        x = attend(x, "middle")
        x = block(channels[-1], name="middle_block_2")(x, embedding, train)
        for level in reversed(range(len(channels))):
            for index in range(1, self.num_blocks + 2):
                x = jnp.concatenate([x, skips.pop()], axis=-1)
                x = block(channels[level], name=f"up_{level}_block_{index}")(x, embedding, train)
                if level in self.attention_levels:
                    x = attend(x, f"up_{level}_{index}")
            if level:
                x = Upsample(channels[level], self.dtype, name=f"up_{level}_upsample")(x)
        x = nn.silu(group_norm(self.num_groups, self.dtype, "norm_out")(x))
        outputs = self.image_shape[-1] * (1 + self.learned_variance)
        last = at_least_float32(self.dtype)
        return Conv(outputs, (3, 3), kernel_init=ZERO_INIT, dtype=last, name="conv_out")(x.astype(last))

    def _embed(self, times: jax.Array, labels: jax.Array | None) -> jax.Array:
        """Returns the embedding of times and labels, ``[B, 4 width]``."""
        dense = functools.partial(Dense, 4 * self.width, kernel_init=INIT, dtype=self.dtype)
        waves = timestep_embedding(times, self.width).astype(self.dtype)
        embedding = dense(name="time_2")(nn.silu(dense(name="time_1")(waves)))
        if not self.num_classes:
            return embedding
        labels = jnp.full(len(times), self.num_classes, jnp.int32) if labels is None else labels
        table = nn.Embed(self.num_classes + 1, 4 * self.width, dtype=self.dtype, name="classes")
        return embedding + table(labels)

    def _check_inputs(self, xs: Any, times: Any, labels: Any, context: Any) -> None:
        if xs.shape[1:] != tuple(self.image_shape):
            raise ValueError(
                f"`xs` must be images of shape [B, {', '.join(map(str, self.image_shape))}], got {xs.shape}"
            )
        if times.shape != xs.shape[:1]:
            raise ValueError(f"`times` must have the shape {xs.shape[:1]}, got {times.shape}")
        if labels is not None:
            if not self.num_classes:
                raise ValueError("`labels` must be None for a model with `num_classes=0`, got an array")
            if labels.shape != xs.shape[:1]:
                raise ValueError(f"`labels` must be integers of shape {xs.shape[:1]}, got shape {labels.shape}")
            check_ids("labels", labels, self.num_classes + 1)
        if context is not None and context.shape[::2] != (len(xs), self.context_dim):
            expected = f"[{len(xs)}, S, {self.context_dim}]" if self.context_dim else "None"
            raise ValueError(f"`context` must be {expected} for `context_dim={self.context_dim}`, got {context.shape}")


def timestep_embedding(times: Num[Array, " B"], features: int, max_period: float = 10_000.0) -> Float[Array, "B D"]:
    r"""Computes the sinusoidal embedding of DDPM: D / 2 sines, then D / 2 cosines.

    .. math:: e_i = \sin(t\, L^{-i / (D/2 - 1)}), \quad e_{D/2 + i} = \cos(t\, L^{-i / (D/2 - 1)})

    Args:
        times: t, integers or floating point, ``[B]``.
        features: D, even, at least 4.
        max_period: L.

    Returns:
        ``[B, D]``, float32 at least.

    Raises:
        ValueError: D is odd or below 4.
    """
    check_integer("features", features, minimum=4)
    if features % 2:
        raise ValueError(f"`features` must be even, got {features}")
    times = times.astype(at_least_float32(times.dtype))
    half = features // 2
    rates = jnp.exp(-jnp.log(max_period) * jnp.arange(half, dtype=times.dtype) / (half - 1))
    angles = times[:, None] * rates[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def check_unet(unet: UNet) -> None:
    """Raises a ``ValueError`` if the attributes of a U-Net do not fit each other."""
    check_depth(num_blocks=unet.num_blocks)
    check_integer("num_blocks", unet.num_blocks)
    check_integer("width", unet.width, minimum=4)
    levels = len(unet.multipliers)
    halvings = 2 ** (levels - 1)
    height, width, _ = unet.image_shape
    if height % halvings or width % halvings:
        raise ValueError(
            f"the height and the width of `image_shape` must be multiples of {halvings} for {levels} levels, which "
            f"halve them {levels - 1} times, got {height} x {width}"
        )
    outside = [level for level in unet.attention_levels if level not in range(levels)]
    if outside:
        raise ValueError(f"`attention_levels` must be from 0 to {levels - 1}, got {outside[0]}")
    for factor in unet.multipliers:
        if unet.width * factor % unet.num_groups:
            raise ValueError(
                f"`num_groups` must divide the channels of all levels, got {unet.num_groups} groups and "
                f"{unet.width * factor} channels"
            )
        if unet.width * factor % unet.num_heads:
            raise ValueError(
                f"`num_heads` must divide the channels of all levels, got {unet.num_heads} heads and "
                f"{unet.width * factor} channels"
            )
