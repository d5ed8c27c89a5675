"""EfficientNet (Tan and Le 2019, arXiv:1905.11946), with compound scaling of depth, width and image size.

The momentum and epsilon of batch normalization are torchvision's: the paper's values for B5 to B7, and torch's
defaults for B0 to B4.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.blocks import ConvNorm, SqueezeExcite, StochasticDepth
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import global_average
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depths

# As in torchvision: uniform within 1 / sqrt(num_classes).
HEAD = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")


class Stage(NamedTuple):
    """A row of table 1 of the paper: ``layers`` blocks, the first one with ``stride``."""

    expand_ratio: int
    kernel_size: int
    stride: int
    features: int
    layers: int


STEM = 32
STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)


class MBConv(nn.Module):
    r"""An inverted bottleneck (Sandler et al. 2018, arXiv:1801.04381) with squeeze-and-excitation.

    The branch f is a 1 x 1 convolution that expands the channels, a depthwise convolution, squeeze-and-excitation, and
    a 1 x 1 projection. Each convolution has batch normalization, and all but the last have swish. The output is
    :math:`x + f(x)` if the stride is 1 and the channels do not change, and :math:`f(x)` otherwise.

    Parameters: ``expand`` (if the factor is above 1), ``depthwise``, ``squeeze_excite``, ``project``. The squeezed
    features are a quarter of the input channels.

    Attributes:
        features: Output channels.
        expand_ratio: Expansion factor of the channels.
        kernel_size: Height and width of the depthwise kernel.
        stride: Stride of the depthwise convolution.
        rate: Rate of stochastic depth, for blocks that add x.
        momentum, epsilon: As in ``BatchNorm``.
        dtype: Compute dtype.
    """

    features: int
    expand_ratio: int = 6
    kernel_size: int = 3
    stride: int = 1
    rate: float = 0.0
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], train: bool = False
    ) -> Float[Array, "B out_height out_width features"]:
        """Maps ``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), features]``."""
        layer = partial(ConvNorm, momentum=self.momentum, epsilon=self.epsilon, dtype=self.dtype)
        channels = x.shape[-1]
        expanded, squeezed = channels * self.expand_ratio, max(1, channels // 4)
        y = x
        if self.expand_ratio > 1:
            y = layer(expanded, 1, activation=nn.silu, name="expand")(y, train)
        y = layer(expanded, self.kernel_size, self.stride, expanded, activation=nn.silu, name="depthwise")(y, train)
        y = SqueezeExcite(squeezed, nn.silu, dtype=self.dtype, name="squeeze_excite")(y)
        y = layer(self.features, 1, activation=None, name="project")(y, train)
        if self.stride > 1 or self.features != channels:
            return y
        return x + StochasticDepth(self.rate)(y, train)


class EfficientNet(ImageModel):
    """EfficientNet: a stem, seven stages of ``MBConv``, a 1 x 1 convolution to 4 C channels, pooling, and a head.

    Activations, in order: ``stem``, ``stage_1`` to ``stage_7``, ``last``, ``pooled``, ``logits``.
    Parameters: ``stem``; ``stage_<s>_block_<b>``; ``last``; ``head``.

    Attributes:
        width_mult: Width coefficient: the channels relative to B0, rounded to multiples of 8.
        depth_mult: Depth coefficient: the blocks of a stage relative to B0, rounded up.
        stages: Stages before scaling; by default the stages of B0.
        num_classes: Classes; 0: no head, the output is ``pooled``.
        dropout: Dropout rate before the head.
        stochastic_depth: Rate of stochastic depth; it is scaled by k / n for block k of n, counted from 0.
        momentum, epsilon: As in ``BatchNorm``.
        dtype: Compute dtype; logits are at least float32.
    """

    width_mult: float = 1.0
    depth_mult: float = 1.0
    stages: Sequence[Stage] = STAGES
    num_classes: int = 1000
    dropout: float = 0.2
    stochastic_depth: float = 0.2
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Dtype = jnp.float32

    def activations(self, images: Float[Array, "B H W C"], train: bool) -> dict[str, Float[Array, "B ..."]]:
        check_depths(stages=[stage.layers for stage in self.stages])
        check_images(self, images, 1, ("stem", "conv"))
        norm = (self.momentum, self.epsilon, self.dtype)
        layer = partial(ConvNorm, activation=nn.silu, momentum=self.momentum, epsilon=self.epsilon, dtype=self.dtype)
        activations = {}
        x = layer(self._channels(STEM), 3, 2, name="stem")(images, train)
        activations["stem"] = x
        num_blocks = [math.ceil(stage.layers * self.depth_mult) for stage in self.stages]
        check_depths(depth_mult=num_blocks)
        for s, (stage, count) in enumerate(zip(self.stages, num_blocks, strict=True)):
            for b in range(count):
                rate = self.stochastic_depth * (sum(num_blocks[:s]) + b) / sum(num_blocks)
                stride = stage.stride if b == 0 else 1
                channels, name = self._channels(stage.features), f"stage_{s + 1}_block_{b + 1}"
                x = MBConv(channels, stage.expand_ratio, stage.kernel_size, stride, rate, *norm, name=name)(x, train)
            activations[f"stage_{s + 1}"] = x
        activations["last"] = layer(4 * x.shape[-1], 1, name="last")(x, train)
        activations["pooled"] = global_average(activations["last"])
        if self.num_classes:
            x = Dropout(self.dropout, deterministic=not train)(activations["pooled"])
            activations["logits"] = self.logits(x, kernel_init=HEAD)
        return activations

    def _channels(self, base: int) -> int:
        """Scales channels to the nearest multiple of 8, or to the next one if rounding would lose more than 10 %."""
        scaled = base * self.width_mult
        rounded = max(8, int(scaled + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * scaled else rounded


def _scaled(width: float, depth: float, options: dict[str, Any], **defaults: float) -> EfficientNet:
    return EfficientNet(width, depth, **{**defaults, **options})


def efficientnet_b0(**options: Any) -> EfficientNet:
    """EfficientNet-B0 for 224 x 224, 5,288,548 parameters.

    Options: ``num_classes``, ``dropout``, ``stochastic_depth``, ``dtype``.
    """
    return _scaled(1.0, 1.0, options, dropout=0.2)


def efficientnet_b1(**options: Any) -> EfficientNet:
    """EfficientNet-B1 for 240 x 240, 7,794,184 parameters. Options: as for B0."""
    return _scaled(1.0, 1.1, options, dropout=0.2)


def efficientnet_b2(**options: Any) -> EfficientNet:
    """EfficientNet-B2 for 260 x 260, 9,109,994 parameters. Options: as for B0."""
    return _scaled(1.1, 1.2, options, dropout=0.3)


def efficientnet_b3(**options: Any) -> EfficientNet:
    """EfficientNet-B3 for 300 x 300, 12,233,232 parameters. Options: as for B0."""
    return _scaled(1.2, 1.4, options, dropout=0.3)


def efficientnet_b4(**options: Any) -> EfficientNet:
    """EfficientNet-B4 for 380 x 380, 19,341,616 parameters. Options: as for B0."""
    return _scaled(1.4, 1.8, options, dropout=0.4)


def efficientnet_b5(**options: Any) -> EfficientNet:
    """EfficientNet-B5 for 456 x 456, 30,389,784 parameters. Options: as for B0."""
    return _scaled(1.6, 2.2, options, dropout=0.4, momentum=0.99, epsilon=1e-3)


def efficientnet_b6(**options: Any) -> EfficientNet:
    """EfficientNet-B6 for 528 x 528, 43,040,704 parameters. Options: as for B0."""
    return _scaled(1.8, 2.6, options, dropout=0.5, momentum=0.99, epsilon=1e-3)


def efficientnet_b7(**options: Any) -> EfficientNet:
    """EfficientNet-B7 for 600 x 600, 66,347,960 parameters. Options: as for B0."""
    return _scaled(2.0, 3.1, options, dropout=0.5, momentum=0.99, epsilon=1e-3)
