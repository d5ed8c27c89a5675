"""Residual networks (He et al. 2016, arXiv:1512.03385) and two of their kind: ResNeXt (Xie et al. 2017,
arXiv:1611.05431), whose middle convolutions are grouped, and wide ones (Zagoruyko and Komodakis 2016,
arXiv:1605.07146).

The stride of a bottleneck stands in its 3 x 3 convolution, as in the published torch weights ("version 1.5").
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
from jaxnets.ops.checks import check_depths


class ResidualBlock(nn.Module):
    r"""Two 3 x 3 convolutions and what goes past them: :math:`\mathrm{relu}(x + f(x))`.

    Parameters: ``conv_1``, ``conv_2``, and ``shortcut`` (1 x 1) where the shape changes.

    Attributes:
        features: Output channels.
        stride: Of the first convolution.
        dtype: Compute type.
    """

    features: int
    stride: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H / stride, W / stride, features]``."""
        y = ConvNorm(self.features, 3, self.stride, dtype=self.dtype, name="conv_1")(x, train)
        y = ConvNorm(self.features, 3, activation=None, dtype=self.dtype, name="conv_2")(y, train)
        return nn.relu(y + _shortcut(self, x, y, self.stride, train))


class Bottleneck(nn.Module):
    r"""1 x 1, 3 x 3 and 1 x 1 convolutions, the middle one narrower: :math:`\mathrm{relu}(x + f(x))`.

    Parameters: ``conv_1``, ``conv_2``, ``conv_3``, and ``shortcut`` (1 x 1) where the shape changes.

    Attributes:
        features: Output channels.
        middle: Channels between.
        stride: Of the 3 x 3 convolution.
        groups: Of the 3 x 3 convolution; ResNeXt calls them cardinality.
        dtype: Compute type.
    """

    features: int
    middle: int
    stride: int = 1
    groups: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H / stride, W / stride, features]``."""
        y = ConvNorm(self.middle, 1, dtype=self.dtype, name="conv_1")(x, train)
        y = ConvNorm(self.middle, 3, self.stride, self.groups, dtype=self.dtype, name="conv_2")(y, train)
        y = ConvNorm(self.features, 1, activation=None, dtype=self.dtype, name="conv_3")(y, train)
        return nn.relu(y + _shortcut(self, x, y, self.stride, train))


def _shortcut(block: Any, x: jax.Array, y: jax.Array, stride: int, train: bool) -> jax.Array:
    if stride == 1 and x.shape[-1] == y.shape[-1]:
        return x
    return ConvNorm(y.shape[-1], 1, stride, activation=None, dtype=block.dtype, name="shortcut")(x, train)


class ResNet(ImageModel):
    """The ImageNet form: a 7 x 7 stem and pooling, four stages that halve the image, the mean, a dense layer.

    Named activations, in order: ``stem``, ``stage_1`` to ``stage_4``, ``pooled``, ``logits``.
    Parameters: ``stem``; ``stage_<s>_block_<b>``; ``head``.

    Attributes:
        blocks: How many in each stage.
        num_classes: C; 0: no head, the answer is ``pooled``.
        bottleneck: Whether blocks are ``Bottleneck``s, with four times the features.
        width: Middle channels of a bottleneck in the first stage; 64 as published, 128 for wide ones.
        groups: Of bottlenecks.
        dtype: Compute type; the head's results are float32 at least.
    """

    blocks: Sequence[int] = (2, 2, 2, 2)
    num_classes: int = 1000
    bottleneck: bool = False
    width: int = 64
    groups: int = 1
    dtype: Dtype = jnp.float32

    def activations(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
        check_depths(blocks=self.blocks)
        check_images(self, images, 1, ("stem", "conv"))
        found = {}
        x = ConvNorm(64, 7, 2, dtype=self.dtype, name="stem")(images, train)
        found["stem"] = x
        x = max_pool(x, 3, 2, padding=1)
        for stage, count in enumerate(self.blocks):
            for block in range(count):
                stride = 2 if stage and block == 0 else 1
                x = self._block(stage, stride, f"stage_{stage + 1}_block_{block + 1}")(x, train)
            found[f"stage_{stage + 1}"] = x
        found["pooled"] = global_average(x)
        if self.num_classes:
            found["logits"] = self.logits(found["pooled"])
        return found

    def _block(self, stage: int, stride: int, name: str) -> nn.Module:
        features = 64 * 2**stage
        if not self.bottleneck:
            return ResidualBlock(features, stride, self.dtype, name=name)
        return Bottleneck(4 * features, self.width * 2**stage, stride, self.groups, self.dtype, name=name)


def resnet18(**options: Any) -> ResNet:
    """18 layers, 11,689,512 parameters. Options: ``classes``, ``dtype``."""
    return ResNet((2, 2, 2, 2), **options)


def resnet34(**options: Any) -> ResNet:
    """34 layers, 21,797,672 parameters. Options: ``classes``, ``dtype``."""
    return ResNet((3, 4, 6, 3), **options)


def resnet50(**options: Any) -> ResNet:
    """50 layers, 25,557,032 parameters. Options: ``classes``, ``dtype``."""
    return ResNet((3, 4, 6, 3), bottleneck=True, **options)


def resnet101(**options: Any) -> ResNet:
    """101 layers, 44,549,160 parameters. Options: ``classes``, ``dtype``."""
    return ResNet((3, 4, 23, 3), bottleneck=True, **options)


def resnet152(**options: Any) -> ResNet:
    """152 layers, 60,192,808 parameters. Options: ``classes``, ``dtype``."""
    return ResNet((3, 8, 36, 3), bottleneck=True, **options)


def resnext50_32x4d(**options: Any) -> ResNet:
    """ResNeXt of 50 layers and 32 groups of 4, 25,028,904 parameters. Options: ``classes``, ``dtype``."""
    return ResNet((3, 4, 6, 3), bottleneck=True, width=128, groups=32, **options)


def resnext101_32x8d(**options: Any) -> ResNet:
    """ResNeXt of 101 layers and 32 groups of 8, 88,791,336 parameters. Options: ``classes``, ``dtype``."""
    return ResNet((3, 4, 23, 3), bottleneck=True, width=256, groups=32, **options)


def wide_resnet50_2(**options: Any) -> ResNet:
    """50 layers, bottlenecks twice as wide, 68,883,240 parameters. Options: ``classes``, ``dtype``."""
    return ResNet((3, 4, 6, 3), bottleneck=True, width=128, **options)


def wide_resnet101_2(**options: Any) -> ResNet:
    """101 layers, bottlenecks twice as wide, 126,886,696 parameters. Options: ``classes``, ``dtype``."""
    return ResNet((3, 4, 23, 3), bottleneck=True, width=128, **options)
