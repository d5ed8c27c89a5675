"""Residual attention networks (Wang et al. 2017, arXiv:1704.06904): masks that are learned where they are used.

The layout is that of the authors' own Caffe models: where a unit stands, where the skips of the masks do, pooling that
lets the last window be cut short, and interpolation that keeps the corners.
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
from jaxnets.ops.checks import check_depth, check_depths


class PreActivationUnit(nn.Module):
    r"""The bottleneck of He et al. 2016 (arXiv:1603.05027): norm and ReLU before each of three convolutions.

    .. math::
        a = \mathrm{relu}(\mathrm{norm}(x)), \quad y = s + f(a)

    where s is x, or a 1 x 1 convolution of a where the shape changes.

    Parameters: ``norm_<i>`` and ``conv_<i>``, i from 1 to 3, and ``shortcut``; convolutions have no bias.

    Attributes:
        features: Output channels; the 3 x 3 convolution in the middle has a quarter of them.
        stride: Of that convolution.
        dtype: Compute type.
    """

    features: int
    stride: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), features]``."""
        active = _active(x, train, self.dtype, "norm_1")
        y = unbiased_conv(self.features // 4, 1, 1, dtype=self.dtype, name="conv_1")(active)
        y = unbiased_conv(self.features // 4, 3, self.stride, dtype=self.dtype, name="conv_2")(
            _active(y, train, self.dtype, "norm_2")
        )
        y = unbiased_conv(self.features, 1, 1, dtype=self.dtype, name="conv_3")(_active(y, train, self.dtype, "norm_3"))
        if self.stride == 1 and x.shape[-1] == self.features:
            return x + y
        return unbiased_conv(self.features, 1, self.stride, dtype=self.dtype, name="shortcut")(active) + y


def _active(x: jax.Array, train: bool, dtype: Dtype, name: str) -> jax.Array:
    return nn.relu(BatchNorm(dtype=dtype, name=name)(x, train))


class SoftMask(nn.Module):
    """The mask branch: down by pooling, up by interpolation, with a skip at every size between; before the sigmoid.

    Parameters: units ``down_<i>``, ``skip_<i>`` and ``up_<i>``, where i is the number of poolings above it, ``bottom``,
    then ``norm_1``, ``conv_1``, ``norm_2``, ``conv_2`` (1 x 1).

    Attributes:
        poolings: How many, each of which halves the size.
        dtype: Compute type.
    """

    poolings: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[B, H, W, C]`` to the same."""
        check_depth(poolings=self.poolings)
        channels = x.shape[-1]
        unit = lambda name, given: PreActivationUnit(channels, dtype=self.dtype, name=name)(given, train)
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
        y = unbiased_conv(channels, 1, 1, dtype=self.dtype, name="conv_1")(_active(y, train, self.dtype, "norm_1"))
        return unbiased_conv(channels, 1, 1, dtype=self.dtype, name="conv_2")(_active(y, train, self.dtype, "norm_2"))


class AttentionModule(nn.Module):
    r"""A unit, two units (the trunk T) beside a mask M, the gate, and a unit: p = 1, t = 2, r = 1 in the paper's terms.

    .. math::
        x' = f_1(x), \quad y = f_4\big((1 + M(x')) \odot T(x')\big), \quad T = f_3 \circ f_2

    Parameters: ``unit_1`` to ``unit_4``; ``mask`` of ``SoftMask``.

    Attributes:
        poolings: Of the mask.
        dtype: Compute type.
    """

    poolings: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[B, H, W, C]`` to the same."""
        unit = lambda i, given: PreActivationUnit(x.shape[-1], dtype=self.dtype, name=f"unit_{i}")(given, train)
        x = unit(1, x)
        mask = SoftMask(self.poolings, self.dtype, name="mask")(x, train)
        return unit(4, attention_gate(mask, unit(3, unit(2, x))))


class ResidualAttentionNetwork(ImageModel):
    """The ImageNet form: a stem, three stages of a unit and attention modules, three units, the mean, a dense layer.

    The masks of the stages pool three, two and one times, down to 7 x 7 at 224 x 224.

    Named activations, in order: ``stem``, ``stage_1`` to ``stage_4``, ``pooled``, ``logits``.
    Parameters: ``stem``; ``stage_<s>_unit`` and ``stage_<s>_attention_<i>``; ``stage_4_unit_<i>``; ``norm``; ``head``.

    Attributes:
        modules: Attention modules in each of the three stages; with m of them there are 12 m + 20 layers.
        num_classes: C; 0: no head, the answer is ``pooled``.
        width: Of the stem; stage s has 2^(s + 1) times as many features.
        dtype: Compute type; the head's results are float32 at least.
    """

    modules: Sequence[int] = (1, 1, 1)
    num_classes: int = 1000
    width: int = 64
    dtype: Dtype = jnp.float32

    def activations(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
        check_depths(modules=self.modules)
        check_images(self, images, 31, ("stem", "conv"))
        found = {}
        x = ConvNorm(self.width, 7, 2, dtype=self.dtype, name="stem")(images, train)
        found["stem"] = x
        x = max_pool(x, 3, 2, ceil=True)
        for stage, count in enumerate(self.modules, 1):
            wide = 2 * self.width * 2**stage
            x = PreActivationUnit(wide, 1 if stage == 1 else 2, self.dtype, name=f"stage_{stage}_unit")(x, train)
            for i in range(count):
                x = AttentionModule(4 - stage, self.dtype, name=f"stage_{stage}_attention_{i + 1}")(x, train)
            found[f"stage_{stage}"] = x
        for i in range(3):
            stride = 2 if i == 0 else 1
            x = PreActivationUnit(32 * self.width, stride, self.dtype, name=f"stage_4_unit_{i + 1}")(x, train)
        found["stage_4"] = x
        found["pooled"] = global_average(_active(x, train, self.dtype, "norm"))
        if self.num_classes:
            found["logits"] = self.logits(found["pooled"])
        return found


def residual_attention56(**options: Any) -> ResidualAttentionNetwork:
    """Attention-56, 31,810,728 parameters (the paper counts statistics: 31.9 M). Options: ``classes``, ``dtype``."""
    return ResidualAttentionNetwork((1, 1, 1), **options)


def residual_attention92(**options: Any) -> ResidualAttentionNetwork:
    """Attention-92, 52,466,344 parameters, as the authors' model has; the paper says 51.3 M. Options: likewise.

    One version of the authors' file has tanh in its masks, where the other and the paper have the sigmoid.
    """
    return ResidualAttentionNetwork((1, 2, 3), **options)
