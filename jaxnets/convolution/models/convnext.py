"""ConvNeXt (Liu et al. 2022, arXiv:2201.03545), a residual network with design choices of vision transformers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.blocks import StochasticDepth
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.convolve import plain_convolve
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import global_average
from jaxnets.modules.dense import Dense
from jaxnets.modules.norms import LayerNorm
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depths

# The published code truncates at 2, which is 100 standard deviations and has no effect.
INIT = nn.initializers.normal(0.02)


class ConvNeXtBlock(nn.Module):
    r"""A residual block with a 7 x 7 depthwise convolution and two dense layers, with 4 C features between them.

    .. math::
        y = x + s \odot (W_2\, \mathrm{gelu}(W_1\, \mathrm{norm}(K * x) + b_1) + b_2)

    Parameters: ``depthwise`` (K), ``norm``, ``expand``, ``project``, and ``layer_scale [C]`` (s).

    Attributes:
        rate: Rate of stochastic depth.
        layer_scale: Initial value of s.
        dtype: Compute dtype.
    """

    rate: float = 0.0
    layer_scale: float = 1e-6
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W C"]:
        """Maps ``[B, H, W, C]`` to the same shape."""
        channels = x.shape[-1]
        conv = partial(nn.Conv, kernel_init=INIT, dtype=self.dtype, conv_general_dilated=plain_convolve)
        dense = partial(Dense, kernel_init=INIT, dtype=self.dtype)
        y = conv(channels, (7, 7), padding=3, feature_group_count=channels, name="depthwise")(x)
        y = _norm(self.dtype, "norm")(y)
        y = nn.gelu(dense(4 * channels, name="expand")(y), approximate=False)
        y = dense(channels, name="project")(y)
        scale = self.param("layer_scale", nn.initializers.constant(self.layer_scale), (channels,), jnp.float32)
        return x + StochasticDepth(self.rate)(y * scale.astype(y.dtype)[None, None, None], train)


def _norm(dtype: Dtype, name: str) -> nn.LayerNorm:
    """Layer normalization over channels; the variance is computed from differences, stable for large means."""
    return LayerNorm(epsilon=1e-6, use_fast_variance=False, dtype=dtype, name=name)


class ConvNeXt(ImageModel):
    """ConvNeXt: a stem of 4 x 4 patches, four stages of blocks, global average pooling, a norm, and a head.

    A 2 x 2 convolution of stride 2 precedes each stage but the first. Rows and columns beyond the last complete patch
    are ignored.

    Activations, in order: ``stem``, ``stage_1`` to ``stage_4``, ``pooled``, ``norm`` (of ``pooled``), ``logits``.
    Parameters: ``stem``, ``stem_norm``; ``stage_<s>_norm`` and ``stage_<s>_downsample`` (not in the first stage);
    ``stage_<s>_block_<b>``; ``norm``; ``head``.

    Attributes:
        blocks: Blocks of each stage.
        widths: Channels of each stage.
        num_classes: Classes; 0: no head, the output is ``norm``.
        stochastic_depth: Rate of stochastic depth of the last block; it increases linearly from 0 at the first block.
        layer_scale: Initial value of the layer scales.
        dtype: Compute dtype; logits are at least float32.
    """

    blocks: Sequence[int] = (3, 3, 9, 3)
    widths: Sequence[int] = (96, 192, 384, 768)
    num_classes: int = 1000
    stochastic_depth: float = 0.1
    layer_scale: float = 1e-6
    dtype: Dtype = jnp.float32

    def activations(self, images: Float[Array, "B H W C"], train: bool) -> dict[str, Float[Array, "B ..."]]:
        check_depths(blocks=self.blocks)
        check_images(self, images, 4 * 2 ** (len(self.blocks) - 1), ("stem",))
        activations = {}
        x = _norm(self.dtype, "stem_norm")(self._patches(self.widths[0], 4, "stem")(images))
        activations["stem"] = x
        index, last_index = 0, max(1, sum(self.blocks) - 1)
        for stage, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True), start=1):
            if stage > 1:
                x = _norm(self.dtype, f"stage_{stage}_norm")(x)
                x = self._patches(width, 2, f"stage_{stage}_downsample")(x)
            for block in range(1, count + 1):
                rate = self.stochastic_depth * index / last_index
                x = ConvNeXtBlock(rate, self.layer_scale, self.dtype, name=f"stage_{stage}_block_{block}")(x, train)
                index += 1
            activations[f"stage_{stage}"] = x
        activations["pooled"] = global_average(x)
        activations["norm"] = _norm(self.dtype, "norm")(activations["pooled"])
        if self.num_classes:
            activations["logits"] = self.logits(activations["norm"], kernel_init=INIT)
        return activations

    def _patches(self, features: int, size: int, name: str) -> nn.Conv:
        shape = (size, size)
        return Conv(features, shape, shape, padding="VALID", kernel_init=INIT, dtype=self.dtype, name=name)


def convnext_tiny(**options: Any) -> ConvNeXt:
    """ConvNeXt-T, 28,589,128 parameters. Options: ``num_classes``, ``stochastic_depth``, ``layer_scale``, ``dtype``."""
    return _sized((3, 3, 9, 3), 96, 0.1, options)


def convnext_small(**options: Any) -> ConvNeXt:
    """ConvNeXt-S, 50,223,688 parameters. Options: as for ``convnext_tiny``."""
    return _sized((3, 3, 27, 3), 96, 0.4, options)


def convnext_base(**options: Any) -> ConvNeXt:
    """ConvNeXt-B, 88,591,464 parameters. Options: as for ``convnext_tiny``."""
    return _sized((3, 3, 27, 3), 128, 0.5, options)


def convnext_large(**options: Any) -> ConvNeXt:
    """ConvNeXt-L, 197,767,336 parameters. Options: as for ``convnext_tiny``."""
    return _sized((3, 3, 27, 3), 192, 0.5, options)


def _sized(blocks: Sequence[int], width: int, stochastic_depth: float, options: dict[str, Any]) -> ConvNeXt:
    widths = tuple(width * 2**stage for stage in range(len(blocks)))
    return ConvNeXt(blocks, widths, **{"stochastic_depth": stochastic_depth, **options})
