"""Residual networks for CIFAR (He et al. 2016, arXiv:1512.03385, section 4.2): thin, deep, with free shortcuts."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.blocks import ConvNorm
from jaxnets.convolution.branches import padded_shortcut
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import global_average
from jaxnets.ops.checks import check_depth


class CifarBlock(nn.Module):
    r"""Two 3 x 3 convolutions beside a shortcut without parameters: :math:`\mathrm{relu}(\mathrm{pad}(x) + f(x))`.

    Parameters: ``conv_1``, ``conv_2``.

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
        """``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), features]``."""
        y = ConvNorm(self.features, 3, self.stride, dtype=self.dtype, name="conv_1")(x, train)
        y = ConvNorm(self.features, 3, activation=None, dtype=self.dtype, name="conv_2")(y, train)
        return nn.relu(y + padded_shortcut(x, self.features, self.stride))


class CifarResNet(ImageModel):
    """A 3 x 3 stem and three stages of n blocks with 16, 32 and 64 features: 6 n + 2 layers, for 32 x 32.

    Named activations, in order: ``stem``, ``stage_1`` to ``stage_3``, ``pooled``, ``logits``.
    Parameters: ``stem``; ``stage_<s>_block_<b>``; ``head``.

    Attributes:
        depth: 6 n + 2.
        num_classes: C; 0: no head, the answer is ``pooled``.
        width: Features of the first stage.
        dtype: Compute type; the head's results are float32 at least.
    """

    depth: int = 20
    num_classes: int = 10
    width: int = 16
    dtype: Dtype = jnp.float32

    def activations(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
        check_depth(depth=self.depth)
        count, rest = divmod(self.depth - 2, 6)
        if rest or count < 1:
            raise ValueError(f"`depth` must be 6 n + 2, such as 20, 32, 56 or 110, got {self.depth}")
        check_images(self, images, 1, ("stem", "conv"))
        found = {}
        x = ConvNorm(self.width, 3, dtype=self.dtype, name="stem")(images, train)
        found["stem"] = x
        for stage in range(3):
            for block in range(count):
                stride = 2 if stage and block == 0 else 1
                name = f"stage_{stage + 1}_block_{block + 1}"
                x = CifarBlock(self.width * 2**stage, stride, self.dtype, name=name)(x, train)
            found[f"stage_{stage + 1}"] = x
        found["pooled"] = global_average(x)
        if self.num_classes:
            found["logits"] = self.logits(found["pooled"])
        return found


def cifar_resnet20(**options: Any) -> CifarResNet:
    """20 layers, 269,722 parameters with 10 classes. Options: ``classes``, ``dtype``."""
    return CifarResNet(20, **options)


def cifar_resnet32(**options: Any) -> CifarResNet:
    """32 layers, 464,154 parameters with 10 classes. Options: ``classes``, ``dtype``."""
    return CifarResNet(32, **options)


def cifar_resnet44(**options: Any) -> CifarResNet:
    """44 layers, 658,586 parameters with 10 classes. Options: ``classes``, ``dtype``."""
    return CifarResNet(44, **options)


def cifar_resnet56(**options: Any) -> CifarResNet:
    """56 layers, 853,018 parameters with 10 classes. Options: ``classes``, ``dtype``."""
    return CifarResNet(56, **options)


def cifar_resnet110(**options: Any) -> CifarResNet:
    """110 layers, 1,727,962 parameters with 10 classes. Options: ``classes``, ``dtype``.

    The paper begins the training of this one with a learning rate of 0.01, until the error is below 80 %.
    """
    return CifarResNet(110, **options)
