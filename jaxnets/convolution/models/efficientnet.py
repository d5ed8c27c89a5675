"""EfficientNet (Tan and Le 2019, arXiv:1905.11946): a small network, its depth, width and image size scaled as one.

The norms' constants are those of the published torch weights: B5 to B7 have the paper's, B0 to B4 torch's own.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.blocks import ConvNorm, SqueezeExcite, StochasticDepth
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import global_average
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.checks import check_depths

# Of the published torch program: within 1 / sqrt(classes).
HEAD = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")


class Stage(NamedTuple):
    """A row of the paper's table 1: ``layers`` blocks, of which the first has the stride."""

    expand: int
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
    r"""The inverted bottleneck (Sandler et al. 2018, arXiv:1801.04381) with squeeze and excitation.

    A 1 x 1 convolution to more channels, a convolution of each channel by itself, gates, and a 1 x 1 convolution back,
    each with batch norm, swish but for the last; :math:`y = x + f(x)` where the stride is 1 and the channels stay, else
    :math:`f(x)`.

    Parameters: ``expand`` (if there is more than one times the channels), ``depthwise``, ``squeeze_excite``,
    ``project``. Between ``squeeze`` and ``excite`` are a quarter as many features as the block's input has channels.

    Attributes:
        features: Output channels.
        expand: Channels between are so many times the input's.
        kernel_size: Side of the depthwise convolution.
        stride: Of the depthwise convolution.
        rate: Probability of dropping f for an example, where x is added.
        momentum, epsilon: Of the norms.
        dtype: Compute type.
    """

    features: int
    expand: int = 6
    kernel_size: int = 3
    stride: int = 1
    rate: float = 0.0
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H / stride, W / stride, features]``, rounded up."""
        layer = partial(ConvNorm, momentum=self.momentum, epsilon=self.epsilon, dtype=self.dtype)
        channels = x.shape[-1]
        middle, squeezed = channels * self.expand, max(1, channels // 4)
        y = x
        if self.expand > 1:
            y = layer(middle, 1, activation=nn.silu, name="expand")(y, train)
        y = layer(middle, self.kernel_size, self.stride, middle, activation=nn.silu, name="depthwise")(y, train)
        y = SqueezeExcite(squeezed, nn.silu, dtype=self.dtype, name="squeeze_excite")(y)
        y = layer(self.features, 1, activation=None, name="project")(y, train)
        if self.stride > 1 or self.features != channels:
            return y
        return x + StochasticDepth(self.rate)(y, train)


class EfficientNet(ImageModel):
    """A stem, stages of ``MBConv`` (seven), a 1 x 1 convolution to four times the channels, the mean, a dense layer.

    Named activations, in order: ``stem``, ``stage_1`` to ``stage_7``, ``last``, ``pooled``, ``logits``.
    Parameters: ``stem``; ``stage_<s>_block_<b>``; ``last``; ``head``.

    Attributes:
        width: Channels are so many times those of B0, rounded to eights.
        depth: Blocks of a stage are so many times those of B0, rounded up.
        stages: Those of B0; others make other networks of the kind.
        num_classes: C; 0: no head, the answer is ``pooled``.
        dropout: Probability of dropping an element before the head.
        stochastic_depth: Probability of dropping a branch; a block after k of n has k / n of it.
        momentum, epsilon: Of the norms.
        dtype: Compute type; the head's results are float32 at least.
    """

    width: float = 1.0
    depth: float = 1.0
    stages: Sequence[Stage] = STAGES
    num_classes: int = 1000
    dropout: float = 0.2
    stochastic_depth: float = 0.2
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Dtype = jnp.float32

    def activations(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
        check_depths(stages=[stage.layers for stage in self.stages])
        check_images(self, images, 1, ("stem", "conv"))
        norm = (self.momentum, self.epsilon, self.dtype)
        layer = partial(ConvNorm, activation=nn.silu, momentum=self.momentum, epsilon=self.epsilon, dtype=self.dtype)
        found = {}
        x = layer(self._channels(STEM), 3, 2, name="stem")(images, train)
        found["stem"] = x
        counts = [math.ceil(stage.layers * self.depth) for stage in self.stages]
        check_depths(depth=counts)
        for s, (stage, count) in enumerate(zip(self.stages, counts, strict=True)):
            for b in range(count):
                rate = self.stochastic_depth * (sum(counts[:s]) + b) / sum(counts)
                stride = stage.stride if b == 0 else 1
                channels, name = self._channels(stage.features), f"stage_{s + 1}_block_{b + 1}"
                x = MBConv(channels, stage.expand, stage.kernel_size, stride, rate, *norm, name=name)(x, train)
            found[f"stage_{s + 1}"] = x
        found["last"] = layer(4 * x.shape[-1], 1, name="last")(x, train)
        found["pooled"] = global_average(found["last"])
        if self.num_classes:
            x = Dropout(self.dropout, deterministic=not train)(found["pooled"])
            found["logits"] = self.logits(x, kernel_init=HEAD)
        return found

    def _channels(self, of_b0: int) -> int:
        """The nearest multiple of 8, or the next one where that would lose more than a tenth."""
        wanted = of_b0 * self.width
        near = max(8, int(wanted + 4) // 8 * 8)
        return near + 8 if near < 0.9 * wanted else near


def _scaled(width: float, depth: float, options: dict[str, Any], **defaults: float) -> EfficientNet:
    return EfficientNet(width, depth, **{**defaults, **options})


def efficientnet_b0(**options: Any) -> EfficientNet:
    """For 224 x 224, 5,288,548 parameters. Options: ``classes``, ``dropout``, ``stochastic_depth``, ``dtype``."""
    return _scaled(1.0, 1.0, options, dropout=0.2)


def efficientnet_b1(**options: Any) -> EfficientNet:
    """For 240 x 240, 7,794,184 parameters. Options as for B0."""
    return _scaled(1.0, 1.1, options, dropout=0.2)


def efficientnet_b2(**options: Any) -> EfficientNet:
    """For 260 x 260, 9,109,994 parameters. Options as for B0."""
    return _scaled(1.1, 1.2, options, dropout=0.3)


def efficientnet_b3(**options: Any) -> EfficientNet:
    """For 300 x 300, 12,233,232 parameters. Options as for B0."""
    return _scaled(1.2, 1.4, options, dropout=0.3)


def efficientnet_b4(**options: Any) -> EfficientNet:
    """For 380 x 380, 19,341,616 parameters. Options as for B0."""
    return _scaled(1.4, 1.8, options, dropout=0.4)


def efficientnet_b5(**options: Any) -> EfficientNet:
    """For 456 x 456, 30,389,784 parameters. Options as for B0."""
    return _scaled(1.6, 2.2, options, dropout=0.4, momentum=0.99, epsilon=1e-3)


def efficientnet_b6(**options: Any) -> EfficientNet:
    """For 528 x 528, 43,040,704 parameters. Options as for B0."""
    return _scaled(1.8, 2.6, options, dropout=0.5, momentum=0.99, epsilon=1e-3)


def efficientnet_b7(**options: Any) -> EfficientNet:
    """For 600 x 600, 66,347,960 parameters. Options as for B0."""
    return _scaled(2.0, 3.1, options, dropout=0.5, momentum=0.99, epsilon=1e-3)
