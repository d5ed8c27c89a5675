"""Wide residual networks for CIFAR (Zagoruyko and Komodakis 2016, arXiv:1605.07146): pre-activation, few and wide.

Those for ImageNet, ``wide_resnet50_2`` and ``wide_resnet101_2``, are bottleneck ``ResNet``s.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.blocks import unbiased_conv
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import global_average
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.checks import check_depth


class WideBlock(nn.Module):
    r"""Norm, ReLU and a 3 x 3 convolution, twice, with dropout before the second:

    .. math::
        a = \mathrm{relu}(\mathrm{norm}(x)), \quad
        y = s + W_2 * \mathrm{dropout}(\mathrm{relu}(\mathrm{norm}(W_1 * a)))

    where s is x, or a 1 x 1 convolution of a where the shape changes.

    Parameters: ``norm_1``, ``conv_1``, ``norm_2``, ``conv_2``, and ``shortcut``; convolutions have no bias.

    Attributes:
        features: Output channels.
        stride: Of the first convolution.
        dropout: Probability of dropping an element between the convolutions.
        dtype: Compute type.
    """

    features: int
    stride: int = 1
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), features]``."""
        active = nn.relu(BatchNorm(dtype=self.dtype, name="norm_1")(x, train))
        y = unbiased_conv(self.features, 3, self.stride, dtype=self.dtype, name="conv_1")(active)
        y = nn.relu(BatchNorm(dtype=self.dtype, name="norm_2")(y, train))
        y = Dropout(self.dropout, deterministic=not train)(y)
        y = unbiased_conv(self.features, 3, 1, dtype=self.dtype, name="conv_2")(y)
        if self.stride == 1 and x.shape[-1] == self.features:
            return x + y
        return unbiased_conv(self.features, 1, self.stride, dtype=self.dtype, name="shortcut")(active) + y


class WideResNet(ImageModel):
    """WRN-depth-widen: a 3 x 3 stem and three stages of n blocks with 16 k, 32 k and 64 k features, 6 n + 4 layers.

    Named activations, in order: ``stem``, ``stage_1`` to ``stage_3``, ``pooled``, ``logits``.
    Parameters: ``stem``; ``stage_<s>_block_<b>``; ``norm``; ``head``.

    Attributes:
        depth: 6 n + 4.
        widen: k.
        num_classes: C; 0: no head, the answer is ``pooled``.
        dropout: Probability of dropping an element between the convolutions of a block; the paper has 0.3 on CIFAR.
        dtype: Compute type; the head's results are float32 at least.
    """

    depth: int = 28
    widen: int = 10
    num_classes: int = 10
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    def activations(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
        check_depth(depth=self.depth)
        count, rest = divmod(self.depth - 4, 6)
        if rest or count < 1:
            raise ValueError(f"`depth` must be 6 n + 4, such as 16, 28 or 40, got {self.depth}")
        check_images(self, images, 1, ("stem",))
        found = {}
        x = unbiased_conv(16, 3, 1, dtype=self.dtype, name="stem")(images)
        found["stem"] = x
        for stage in range(3):
            for block in range(count):
                stride = 2 if stage and block == 0 else 1
                name = f"stage_{stage + 1}_block_{block + 1}"
                x = WideBlock(16 * self.widen * 2**stage, stride, self.dropout, self.dtype, name=name)(x, train)
            found[f"stage_{stage + 1}"] = x
        found["pooled"] = global_average(nn.relu(BatchNorm(dtype=self.dtype, name="norm")(x, train)))
        if self.num_classes:
            found["logits"] = self.logits(found["pooled"])
        return found


def wide_resnet28_10(**options: Any) -> WideResNet:
    """WRN-28-10, 36,479,194 parameters with 10 classes. Options: ``classes``, ``dropout``, ``dtype``."""
    return WideResNet(28, 10, **options)


def wide_resnet16_4(**options: Any) -> WideResNet:
    """WRN-16-4, 2,748,890 parameters with 10 classes. Options: ``classes``, ``dropout``, ``dtype``."""
    return WideResNet(16, 4, **options)
