"""Residual networks for CIFAR (He et al. 2016, arXiv:1512.03385, section 4.2)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.blocks import ConvNorm
from jaxnets.convolution.branches import padded_shortcut
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import global_average
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depth


class CifarBlock(nn.Module):
    r"""A residual block with two 3 x 3 convolutions and a shortcut without parameters.

    .. math::
        y = \mathrm{relu}(\mathrm{pad}(x) + f(x))

    Parameters: ``conv_1``, ``conv_2``.

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
        return nn.relu(y + padded_shortcut(x, self.features, self.stride))


class CifarResNet(ImageModel):
    """A residual network for images of 32 x 32: a 3 x 3 stem, and three stages of n blocks with 16, 32 and 64 features.

    Activations, in order: ``stem``, ``stage_1`` to ``stage_3``, ``pooled``, ``logits``.
    Parameters: ``stem``; ``stage_<s>_block_<b>``; ``head``.

    Attributes:
        depth: Layers, 6 n + 2.
        num_classes: Classes; 0: no head, the output is ``pooled``.
        width: Channels of the first stage.
        dtype: Compute dtype; logits are at least float32.
    """

    depth: int = 20
    num_classes: int = 10
    width: int = 16
    dtype: Dtype = jnp.float32

    def activations(self, images: Float[Array, "B H W C"], train: bool) -> dict[str, Float[Array, "B ..."]]:
        check_depth(depth=self.depth)
        blocks_per_stage, remainder = divmod(self.depth - 2, 6)
        if remainder or blocks_per_stage < 1:
            raise ValueError(f"`depth` must be 6 n + 2, such as 20, 32, 56 or 110, got {self.depth}")
        check_images(self, images, 1, ("stem", "conv"))
        activations = {}
        x = ConvNorm(self.width, 3, dtype=self.dtype, name="stem")(images, train)
        activations["stem"] = x
        for stage in range(3):
            for block in range(blocks_per_stage):
                stride = 2 if stage and block == 0 else 1
                name = f"stage_{stage + 1}_block_{block + 1}"
                x = CifarBlock(self.width * 2**stage, stride, self.dtype, name=name)(x, train)
            activations[f"stage_{stage + 1}"] = x
        activations["pooled"] = global_average(x)
        if self.num_classes:
            activations["logits"] = self.logits(activations["pooled"])
        return activations


def cifar_resnet20(**options: Any) -> CifarResNet:
    """CIFAR ResNet of 20 layers, 269,722 parameters with 10 classes. Options: ``num_classes``, ``dtype``."""
    return CifarResNet(20, **options)


def cifar_resnet32(**options: Any) -> CifarResNet:
    """CIFAR ResNet of 32 layers, 464,154 parameters with 10 classes. Options: ``num_classes``, ``dtype``."""
    return CifarResNet(32, **options)


def cifar_resnet44(**options: Any) -> CifarResNet:
    """CIFAR ResNet of 44 layers, 658,586 parameters with 10 classes. Options: ``num_classes``, ``dtype``."""
    return CifarResNet(44, **options)


def cifar_resnet56(**options: Any) -> CifarResNet:
    """CIFAR ResNet of 56 layers, 853,018 parameters with 10 classes. Options: ``num_classes``, ``dtype``."""
    return CifarResNet(56, **options)


def cifar_resnet110(**options: Any) -> CifarResNet:
    """CIFAR ResNet of 110 layers, 1,727,962 parameters with 10 classes. Options: ``num_classes``, ``dtype``.

    In the paper, training starts with a learning rate of 0.01, until the error is below 80 %.
    """
    return CifarResNet(110, **options)
