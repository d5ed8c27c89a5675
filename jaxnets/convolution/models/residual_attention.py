"""Residual attention networks (Wang et al. 2017, arXiv:1704.06904).

Details that the paper leaves open follow the authors' Caffe models: the order of the units, the positions of the skip
connections in the masks, the ceil mode of pooling, and interpolation with fixed corners.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.blocks import ConvNorm, unbiased_conv
from jaxnets.convolution.branches import attention_gate
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import global_average, max_pool
from jaxnets.convolution.resizing import bilinear
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depth, check_depths


class PreActivationUnit(nn.Module):
    r"""A pre-activation bottleneck (He et al. 2016, arXiv:1603.05027): norm and ReLU before each of three convolutions.

    .. math::
        a = \mathrm{relu}(\mathrm{norm}(x)), \quad y = s + f(a)

    where s is x, or a 1 x 1 convolution of a if the shape changes.

    Parameters: ``norm_<i>`` and ``conv_<i>``, i from 1 to 3, and ``shortcut``; convolutions have no bias.

    Attributes:
        features: Output channels; the 3 x 3 convolution has a quarter of them.
        stride: Stride of the 3 x 3 convolution.
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
        activated = _norm_relu(x, train, self.dtype, "norm_1")
        y = unbiased_conv(self.features // 4, 1, 1, dtype=self.dtype, name="conv_1")(activated)
        y = _norm_relu(y, train, self.dtype, "norm_2")
        y = unbiased_conv(self.features // 4, 3, self.stride, dtype=self.dtype, name="conv_2")(y)
        y = _norm_relu(y, train, self.dtype, "norm_3")
        y = unbiased_conv(self.features, 1, 1, dtype=self.dtype, name="conv_3")(y)
        if self.stride == 1 and x.shape[-1] == self.features:
            return x + y
        return unbiased_conv(self.features, 1, self.stride, dtype=self.dtype, name="shortcut")(activated) + y


def _norm_relu(x: jax.Array, train: bool, dtype: Dtype, name: str) -> jax.Array:
    return nn.relu(BatchNorm(dtype=dtype, name=name)(x, train))


class SoftMask(nn.Module):
    """The mask branch, before the sigmoid: max pooling, then interpolation, with skip connections in between.

    Parameters: units ``down_<i>``, ``skip_<i>`` and ``up_<i>``, where i counts the poolings before the unit;
    ``bottom``; ``norm_1``, ``conv_1``, ``norm_2``, ``conv_2`` (1 x 1).

    Attributes:
        poolings: Max poolings; each halves the size.
        dtype: Compute dtype.
    """

    poolings: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W C"]:
        """Maps ``[B, H, W, C]`` to the same shape."""
        check_depth(poolings=self.poolings)
        channels = x.shape[-1]
        unit = lambda name, x: PreActivationUnit(channels, dtype=self.dtype, name=name)(x, train)
        sizes, skips, y = [x.shape[1:3]], [], x
        for i in range(1, self.poolings + 1):
            y = unit(f"down_{i}", max_pool(y, 3, 2, ceil=True))
            sizes.append(y.shape[1:3])
            if i < self.poolings:
                skips.append(unit(f"skip_{i}", y))
        y = unit("bottom", y)
        for i in reversed(range(1, self.poolings)):
            y = unit(f"up_{i}", skips[i - 1] + bilinear(y, *sizes[i]))
        y = bilinear(y, *sizes[0])
        y = unbiased_conv(channels, 1, 1, dtype=self.dtype, name="conv_1")(_norm_relu(y, train, self.dtype, "norm_1"))
        y = _norm_relu(y, train, self.dtype, "norm_2")
        return unbiased_conv(channels, 1, 1, dtype=self.dtype, name="conv_2")(y)


class AttentionModule(nn.Module):
    r"""An attention module: a trunk T of residual units, multiplied by a soft mask M.

    .. math::
        x' = f_1(x), \quad y = f_4\big((1 + \sigma(M(x'))) \odot T(x')\big), \quad T = f_3 \circ f_2

    Its hyperparameters in the notation of the paper are p = 1, t = 2 and r = 1.

    Parameters: ``unit_1`` to ``unit_4`` (f); ``mask`` of ``SoftMask`` (M).

    Attributes:
        poolings: Max poolings of the mask.
        dtype: Compute dtype.
    """

    poolings: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W C"]:
        """Maps ``[B, H, W, C]`` to the same shape."""
        features = x.shape[-1]
        unit = lambda i, x: PreActivationUnit(features, dtype=self.dtype, name=f"unit_{i}")(x, train)
        x = unit(1, x)
        mask = SoftMask(self.poolings, self.dtype, name="mask")(x, train)
        return unit(4, attention_gate(mask, unit(3, unit(2, x))))


class ResidualAttentionNetwork(ImageModel):
    """A residual attention network for ImageNet: a stem, three stages, three residual units, pooling, and a head.

    Each stage has a residual unit and attention modules. The masks of the three stages have three, two and one max
    poolings; for images of 224 x 224, each mask reaches 7 x 7.

    Activations, in order: ``stem``, ``stage_1`` to ``stage_4``, ``pooled``, ``logits``.
    Parameters: ``stem``; ``stage_<s>_unit`` and ``stage_<s>_attention_<i>``; ``stage_4_unit_<i>``; ``norm``; ``head``.

    Attributes:
        modules: Attention modules of each of the three stages; m modules in total make 12 m + 20 layers.
        num_classes: Classes; 0: no head, the output is ``pooled``.
        width: Channels of the stem; stage s has 2^(s + 1) times as many.
        dtype: Compute dtype; logits are at least float32.
    """

    modules: Sequence[int] = (1, 1, 1)
    num_classes: int = 1000
    width: int = 64
    dtype: Dtype = jnp.float32

    def activations(self, images: Float[Array, "B H W C"], train: bool) -> dict[str, Float[Array, "B ..."]]:
        check_depths(modules=self.modules)
        check_images(self, images, 31, ("stem", "conv"))
        activations = {}
        x = ConvNorm(self.width, 7, 2, dtype=self.dtype, name="stem")(images, train)
        activations["stem"] = x
        x = max_pool(x, 3, 2, ceil=True)
        for stage, count in enumerate(self.modules, 1):
            features = 2 * self.width * 2**stage
            x = PreActivationUnit(features, 1 if stage == 1 else 2, self.dtype, name=f"stage_{stage}_unit")(x, train)
            for i in range(count):
                x = AttentionModule(4 - stage, self.dtype, name=f"stage_{stage}_attention_{i + 1}")(x, train)
            activations[f"stage_{stage}"] = x
        for i in range(3):
            stride = 2 if i == 0 else 1
            x = PreActivationUnit(32 * self.width, stride, self.dtype, name=f"stage_4_unit_{i + 1}")(x, train)
        activations["stage_4"] = x
        activations["pooled"] = global_average(_norm_relu(x, train, self.dtype, "norm"))
        if self.num_classes:
            activations["logits"] = self.logits(activations["pooled"])
        return activations


def residual_attention56(**options: Any) -> ResidualAttentionNetwork:
    """Attention-56, 31,810,728 parameters; the 31.9 M of the paper include batch statistics.

    Options: ``num_classes``, ``dtype``.
    """
    return ResidualAttentionNetwork((1, 1, 1), **options)


def residual_attention92(**options: Any) -> ResidualAttentionNetwork:
    """Attention-92, 52,466,344 parameters, as in the authors' model; the paper states 51.3 M.

    One version of the authors' model has tanh in its masks; the other version and the paper have the sigmoid.
    Options: ``num_classes``, ``dtype``.
    """
    return ResidualAttentionNetwork((1, 2, 3), **options)
