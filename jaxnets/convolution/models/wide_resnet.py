"""Wide residual networks for CIFAR (Zagoruyko and Komodakis 2016, arXiv:1605.07146).

The wide residual networks for ImageNet, ``wide_resnet50_2`` and ``wide_resnet101_2``, are in ``resnet.py``.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.blocks import unbiased_conv
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import global_average
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depth


class WideBlock(nn.Module):
    r"""A pre-activation residual block: norm, ReLU and a 3 x 3 convolution, twice, with dropout in between.

    .. math::
        a = \mathrm{relu}(\mathrm{norm}(x)), \quad
        y = s + W_2 * \mathrm{dropout}(\mathrm{relu}(\mathrm{norm}(W_1 * a)))

    where s is x, or a 1 x 1 convolution of a if the shape changes.

    Parameters: ``norm_1``, ``conv_1``, ``norm_2``, ``conv_2``, and ``shortcut``; convolutions have no bias.

    Attributes:
        features: Output channels.
        stride: Stride of the first convolution.
        dropout: Dropout rate before the second convolution.
        dtype: Compute dtype.
    """

    features: int
    stride: int = 1
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], train: bool = False
    ) -> Float[Array, "B out_height out_width features"]:
        """Maps ``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), features]``."""
        activated = nn.relu(BatchNorm(dtype=self.dtype, name="norm_1")(x, train))
        y = unbiased_conv(self.features, 3, self.stride, dtype=self.dtype, name="conv_1")(activated)
        y = nn.relu(BatchNorm(dtype=self.dtype, name="norm_2")(y, train))
        y = Dropout(self.dropout, deterministic=not train)(y)
        y = unbiased_conv(self.features, 3, 1, dtype=self.dtype, name="conv_2")(y)
        if self.stride == 1 and x.shape[-1] == self.features:
            return x + y
        return unbiased_conv(self.features, 1, self.stride, dtype=self.dtype, name="shortcut")(activated) + y


class WideResNet(ImageModel):
    """A wide residual network: a 3 x 3 stem, and three stages of n blocks with 16 k, 32 k and 64 k features.

    Activations, in order: ``stem``, ``stage_1`` to ``stage_3``, ``pooled``, ``logits``.
    Parameters: ``stem``; ``stage_<s>_block_<b>``; ``norm``; ``head``.

    Attributes:
        depth: Layers, 6 n + 4.
        widen_factor: Widening factor k.
        num_classes: Classes; 0: no head, the output is ``pooled``.
        dropout: Dropout rate in each block; 0.3 on CIFAR in the paper.
        dtype: Compute dtype; logits are at least float32.
    """

    depth: int = 28
    widen_factor: int = 10
    num_classes: int = 10
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    def activations(self, images: Float[Array, "B H W C"], train: bool) -> dict[str, Float[Array, "B ..."]]:
        check_depth(depth=self.depth)
        blocks_per_stage, remainder = divmod(self.depth - 4, 6)
        if remainder or blocks_per_stage < 1:
            raise ValueError(f"`depth` must be 6 n + 4, such as 16, 28 or 40, got {self.depth}")
        check_images(self, images, 1, ("stem",))
        activations = {}
        x = unbiased_conv(16, 3, 1, dtype=self.dtype, name="stem")(images)
        activations["stem"] = x
        for stage in range(3):
            for block in range(blocks_per_stage):
                stride = 2 if stage and block == 0 else 1
                name = f"stage_{stage + 1}_block_{block + 1}"
                x = WideBlock(16 * self.widen_factor * 2**stage, stride, self.dropout, self.dtype, name=name)(x, train)
            activations[f"stage_{stage + 1}"] = x
        activations["pooled"] = global_average(nn.relu(BatchNorm(dtype=self.dtype, name="norm")(x, train)))
        if self.num_classes:
            activations["logits"] = self.logits(activations["pooled"])
        return activations


def wide_resnet28_10(**options: Any) -> WideResNet:
    """WRN-28-10, 36,479,194 parameters with 10 classes. Options: ``num_classes``, ``dropout``, ``dtype``."""
    return WideResNet(28, 10, **options)


def wide_resnet16_4(**options: Any) -> WideResNet:
    """WRN-16-4, 2,748,890 parameters with 10 classes. Options: ``num_classes``, ``dropout``, ``dtype``."""
    return WideResNet(16, 4, **options)
