"""Residual networks (He et al. 2016, arXiv:1512.03385), ResNeXt and wide residual networks for ImageNet.

ResNeXt (Xie et al. 2017, arXiv:1611.05431) has grouped 3 x 3 convolutions. Wide residual networks (Zagoruyko and
Komodakis 2016, arXiv:1605.07146) have more channels in their bottlenecks. The 3 x 3 convolution of a bottleneck has the
stride, as in the weights of torchvision ("version 1.5").
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.blocks import ConvNorm
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import global_average, max_pool
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depths


class ResidualBlock(nn.Module):
    r"""A residual block with two 3 x 3 convolutions, :math:`y = \mathrm{relu}(x + f(x))`.

    Parameters: ``conv_1``, ``conv_2``, and ``shortcut`` (1 x 1) if the shape changes.

    Attributes:
        features: Output channels.
        stride: Stride of the first convolution.
        dtype: Compute dtype.
    """

    features: int
    stride: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], train: bool = False
    ) -> Float[Array, "B out_height out_width features"]:
        """Maps ``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), features]``."""
        y = ConvNorm(self.features, 3, self.stride, dtype=self.dtype, name="conv_1")(x, train)
        y = ConvNorm(self.features, 3, activation=None, dtype=self.dtype, name="conv_2")(y, train)
        return nn.relu(y + _shortcut(self, x, y, self.stride, train))


class Bottleneck(nn.Module):
    r"""A bottleneck block with 1 x 1, 3 x 3 and 1 x 1 convolutions, :math:`y = \mathrm{relu}(x + f(x))`.

    Parameters: ``conv_1``, ``conv_2``, ``conv_3``, and ``shortcut`` (1 x 1) if the shape changes.

    Attributes:
        features: Output channels.
        middle: Channels of the 3 x 3 convolution.
        stride: Stride of the 3 x 3 convolution.
        groups: Groups of the 3 x 3 convolution, the cardinality of ResNeXt.
        dtype: Compute dtype.
    """

    features: int
    middle: int
    stride: int = 1
    groups: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], train: bool = False
    ) -> Float[Array, "B out_height out_width features"]:
        """Maps ``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), features]``."""
        y = ConvNorm(self.middle, 1, dtype=self.dtype, name="conv_1")(x, train)
        y = ConvNorm(self.middle, 3, self.stride, self.groups, dtype=self.dtype, name="conv_2")(y, train)
        y = ConvNorm(self.features, 1, activation=None, dtype=self.dtype, name="conv_3")(y, train)
        return nn.relu(y + _shortcut(self, x, y, self.stride, train))


def _shortcut(block: Any, x: jax.Array, y: jax.Array, stride: int, train: bool) -> jax.Array:
    if stride == 1 and x.shape[-1] == y.shape[-1]:
        return x
    return ConvNorm(y.shape[-1], 1, stride, activation=None, dtype=block.dtype, name="shortcut")(x, train)


class ResNet(ImageModel):
    """A residual network for ImageNet: a 7 x 7 stem, max pooling, four stages, global average pooling, and a head.

    Activations, in order: ``stem``, ``stage_1`` to ``stage_4``, ``pooled``, ``logits``.
    Parameters: ``stem``; ``stage_<s>_block_<b>``; ``head``.

    Attributes:
        blocks: Blocks of each stage.
        num_classes: Classes; 0: no head, the output is ``pooled``.
        bottleneck: Whether the blocks are of type ``Bottleneck``, with four times the output channels.
        width: Channels of the 3 x 3 convolutions in the bottlenecks of the first stage; 64 in the paper.
        groups: Groups of the bottlenecks.
        dtype: Compute dtype; logits are at least float32.
    """

    blocks: Sequence[int] = (2, 2, 2, 2)
    num_classes: int = 1000
    bottleneck: bool = False
    width: int = 64
    groups: int = 1
    dtype: Dtype = jnp.float32

    def activations(self, images: Float[Array, "B H W C"], train: bool) -> dict[str, Float[Array, "B ..."]]:
        check_depths(blocks=self.blocks)
        check_images(self, images, 1, ("stem", "conv"))
        activations = {}
        x = ConvNorm(64, 7, 2, dtype=self.dtype, name="stem")(images, train)
        activations["stem"] = x
        x = max_pool(x, 3, 2, padding=1)
        for stage, count in enumerate(self.blocks):
            for block in range(count):
                stride = 2 if stage and block == 0 else 1
                x = self._block(stage, stride, f"stage_{stage + 1}_block_{block + 1}")(x, train)
            activations[f"stage_{stage + 1}"] = x
        activations["pooled"] = global_average(x)
        if self.num_classes:
            activations["logits"] = self.logits(activations["pooled"])
        return activations

    def _block(self, stage: int, stride: int, name: str) -> nn.Module:
        features = 64 * 2**stage
        if not self.bottleneck:
            return ResidualBlock(features, stride, self.dtype, name=name)
        return Bottleneck(4 * features, self.width * 2**stage, stride, self.groups, self.dtype, name=name)


def resnet18(**options: Any) -> ResNet:
    """ResNet-18, 11,689,512 parameters. Options: ``num_classes``, ``dtype``."""
    return ResNet((2, 2, 2, 2), **options)


def resnet34(**options: Any) -> ResNet:
    """ResNet-34, 21,797,672 parameters. Options: ``num_classes``, ``dtype``."""
    return ResNet((3, 4, 6, 3), **options)


def resnet50(**options: Any) -> ResNet:
    """ResNet-50, 25,557,032 parameters. Options: ``num_classes``, ``dtype``."""
    return ResNet((3, 4, 6, 3), bottleneck=True, **options)


def resnet101(**options: Any) -> ResNet:
    """ResNet-101, 44,549,160 parameters. Options: ``num_classes``, ``dtype``."""
    return ResNet((3, 4, 23, 3), bottleneck=True, **options)


def resnet152(**options: Any) -> ResNet:
    """ResNet-152, 60,192,808 parameters. Options: ``num_classes``, ``dtype``."""
    return ResNet((3, 8, 36, 3), bottleneck=True, **options)


def resnext50_32x4d(**options: Any) -> ResNet:
    """ResNeXt-50 with 32 groups of 4 channels, 25,028,904 parameters. Options: ``num_classes``, ``dtype``."""
    return ResNet((3, 4, 6, 3), bottleneck=True, width=128, groups=32, **options)


def resnext101_32x8d(**options: Any) -> ResNet:
    """ResNeXt-101 with 32 groups of 8 channels, 88,791,336 parameters. Options: ``num_classes``, ``dtype``."""
    return ResNet((3, 4, 23, 3), bottleneck=True, width=256, groups=32, **options)


def wide_resnet50_2(**options: Any) -> ResNet:
    """ResNet-50 with bottlenecks of twice the width, 68,883,240 parameters. Options: ``num_classes``, ``dtype``."""
    return ResNet((3, 4, 6, 3), bottleneck=True, width=128, **options)


def wide_resnet101_2(**options: Any) -> ResNet:
    """ResNet-101 with bottlenecks of twice the width, 126,886,696 parameters. Options: ``num_classes``, ``dtype``."""
    return ResNet((3, 4, 23, 3), bottleneck=True, width=128, **options)
