"""Densely connected networks (Huang et al. 2017, arXiv:1608.06993): every layer reads all that came before it."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.blocks import HE_IN, ConvNorm, unbiased_conv
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import average_pool, global_average, max_pool
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.checks import check_depths

# Torch's own of a linear layer, which the published program leaves alone: within 1 / sqrt(inputs).
HEAD = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class DenseLayer(nn.Module):
    r"""A composite function with a bottleneck, whose result joins its input as more channels:

    .. math::
        y = [x, W_2 * \mathrm{relu}(\mathrm{norm}_2(W_1 * \mathrm{relu}(\mathrm{norm}_1(x))))]

    Parameters: ``norm_1``, ``conv_1`` (1 x 1), ``norm_2``, ``conv_2`` (3 x 3), no biases.

    Attributes:
        growth: k, channels that are added.
        bottleneck: Channels between are so many times k.
        dropout: Probability of dropping an element of what is added.
        dtype: Compute type.
    """

    growth: int
    bottleneck: int = 4
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H, W, C + growth]``."""
        y = nn.relu(BatchNorm(dtype=self.dtype, name="norm_1")(x, train))
        y = unbiased_conv(self.bottleneck * self.growth, 1, kernel_init=HE_IN, dtype=self.dtype, name="conv_1")(y)
        y = nn.relu(BatchNorm(dtype=self.dtype, name="norm_2")(y, train))
        y = unbiased_conv(self.growth, 3, kernel_init=HE_IN, dtype=self.dtype, name="conv_2")(y)
        y = Dropout(self.dropout, deterministic=not train)(y)
        return jnp.concatenate([x, y], axis=-1)


class Transition(nn.Module):
    """Between dense blocks: norm, ReLU, a 1 x 1 convolution to fewer channels, means of 2 x 2.

    Parameters: ``norm``, ``conv`` (no bias).

    Attributes:
        features: Output channels.
        dtype: Compute type.
    """

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H / 2, W / 2, features]``, rounded down."""
        x = nn.relu(BatchNorm(dtype=self.dtype, name="norm")(x, train))
        x = unbiased_conv(self.features, 1, kernel_init=HE_IN, dtype=self.dtype, name="conv")(x)
        return average_pool(x, 2, 2)


class DenseNet(ImageModel):
    """The ImageNet form with bottlenecks and compression by half (DenseNet-BC).

    Named activations, in order: ``stem``, ``block_1``, ``transition_1``, ``block_2``, ... (no transition after the last
    block), ``norm`` (the last block's, normalized, after ReLU), ``pooled``, ``logits``.
    Parameters: ``stem``; ``block_<b>_layer_<l>``; ``transition_<b>``; ``norm``; ``head``.

    Attributes:
        layers: How many in each dense block.
        growth: k, channels that every layer adds.
        width: Channels of the stem.
        num_classes: C; 0: no head, the answer is ``pooled``.
        bottleneck: Channels inside a layer are so many times k.
        dropout: Of every dense layer, while training; the paper uses 0.2 where images are not augmented.
        dtype: Compute type; the head's results are float32 at least.
    """

    layers: Sequence[int] = (6, 12, 24, 16)
    growth: int = 32
    width: int = 64
    num_classes: int = 1000
    bottleneck: int = 4
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    def activations(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
        check_depths(layers=self.layers)
        # Stem and pooling halve and round up, transitions halve and round down: 29 with four blocks.
        check_images(self, images, 4 * 2 ** (len(self.layers) - 1) - 3, ("stem", "conv"))
        found = {}
        x = ConvNorm(self.width, 7, 2, kernel_init=HE_IN, dtype=self.dtype, name="stem")(images, train)
        found["stem"] = x
        x = max_pool(x, 3, 2, padding=1)
        for block, count in enumerate(self.layers, start=1):
            for layer in range(1, count + 1):
                name = f"block_{block}_layer_{layer}"
                x = DenseLayer(self.growth, self.bottleneck, self.dropout, self.dtype, name=name)(x, train)
            found[f"block_{block}"] = x
            if block < len(self.layers):
                x = Transition(x.shape[-1] // 2, self.dtype, name=f"transition_{block}")(x, train)
                found[f"transition_{block}"] = x
        found["norm"] = nn.relu(BatchNorm(dtype=self.dtype, name="norm")(x, train))
        found["pooled"] = global_average(found["norm"])
        if self.num_classes:
            found["logits"] = self.logits(found["pooled"], kernel_init=HEAD)
        return found


def densenet121(**options: Any) -> DenseNet:
    """121 layers, 7,978,856 parameters. Options: ``classes``, ``dropout``, ``dtype``."""
    return DenseNet((6, 12, 24, 16), **options)


def densenet169(**options: Any) -> DenseNet:
    """169 layers, 14,149,480 parameters. Options: ``classes``, ``dropout``, ``dtype``."""
    return DenseNet((6, 12, 32, 32), **options)


def densenet201(**options: Any) -> DenseNet:
    """201 layers, 20,013,928 parameters. Options: ``classes``, ``dropout``, ``dtype``."""
    return DenseNet((6, 12, 48, 32), **options)


def densenet161(**options: Any) -> DenseNet:
    """161 layers that add 48 channels each, 28,681,000 parameters. Options: ``classes``, ``dropout``, ``dtype``."""
    return DenseNet((6, 12, 36, 24), growth=48, width=96, **options)
