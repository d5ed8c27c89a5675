"""Densely connected networks (Huang et al. 2017, arXiv:1608.06993)."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.blocks import HE_IN, ConvNorm, unbiased_conv
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import average_pool, global_average, max_pool
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depths

# The published code uses torch's default for linear layers: uniform within 1 / sqrt(fan_in).
HEAD = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class DenseLayer(nn.Module):
    r"""A layer of a dense block: a bottleneck, concatenated with its input.

    .. math::
        y = [x, W_2 * \mathrm{relu}(\mathrm{norm}_2(W_1 * \mathrm{relu}(\mathrm{norm}_1(x))))]

    Parameters: ``norm_1``, ``conv_1`` (1 x 1), ``norm_2``, ``conv_2`` (3 x 3), no biases.

    Attributes:
        growth_rate: Growth rate k, the channels that the layer adds.
        bn_size: Channels of the bottleneck, as a multiple of k.
        dropout: Dropout rate of the added channels.
        dtype: Compute dtype.
    """

    growth_rate: int
    bn_size: int = 4
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W F"]:
        """Maps ``[B, H, W, C]`` to ``[B, H, W, C + growth_rate]``."""
        y = nn.relu(BatchNorm(dtype=self.dtype, name="norm_1")(x, train))
        y = unbiased_conv(self.bn_size * self.growth_rate, 1, kernel_init=HE_IN, dtype=self.dtype, name="conv_1")(y)
        y = nn.relu(BatchNorm(dtype=self.dtype, name="norm_2")(y, train))
        y = unbiased_conv(self.growth_rate, 3, kernel_init=HE_IN, dtype=self.dtype, name="conv_2")(y)
        y = Dropout(self.dropout, deterministic=not train)(y)
        return jnp.concatenate([x, y], axis=-1)


class Transition(nn.Module):
    """The transition between dense blocks: norm, ReLU, a 1 x 1 convolution, and 2 x 2 average pooling.

    Parameters: ``norm``, ``conv`` (no bias).

    Attributes:
        features: Output channels.
        dtype: Compute dtype.
    """

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], train: bool = False
    ) -> Float[Array, "B out_height out_width features"]:
        """Maps ``[B, H, W, C]`` to ``[B, floor(H / 2), floor(W / 2), features]``."""
        x = nn.relu(BatchNorm(dtype=self.dtype, name="norm")(x, train))
        x = unbiased_conv(self.features, 1, kernel_init=HE_IN, dtype=self.dtype, name="conv")(x)
        return average_pool(x, 2, 2)


class DenseNet(ImageModel):
    """DenseNet-BC for ImageNet: dense blocks with bottlenecks, and transitions that halve the channels.

    Activations, in order: ``stem``, ``block_1``, ``transition_1``, ``block_2``, ... (no transition after the last
    block), ``norm`` (after ReLU), ``pooled``, ``logits``.
    Parameters: ``stem``; ``block_<b>_layer_<l>``; ``transition_<b>``; ``norm``; ``head``.

    Attributes:
        block_config: Layers of each dense block.
        growth_rate: Growth rate k, the channels that each layer adds.
        width: Channels of the stem.
        num_classes: Classes; 0: no head, the output is ``pooled``.
        bn_size: Channels of each bottleneck, as a multiple of k.
        dropout: Dropout rate of each layer; the paper uses 0.2 without augmentation.
        dtype: Compute dtype; logits are at least float32.
    """

    block_config: Sequence[int] = (6, 12, 24, 16)
    growth_rate: int = 32
    width: int = 64
    num_classes: int = 1000
    bn_size: int = 4
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    def activations(self, images: Float[Array, "B H W C"], train: bool) -> dict[str, Float[Array, "B ..."]]:
        check_depths(block_config=self.block_config)
        # The stem and its pooling round up, the transitions round down. With four blocks, the minimum is 29.
        check_images(self, images, 4 * 2 ** (len(self.block_config) - 1) - 3, ("stem", "conv"))
        activations = {}
        x = ConvNorm(self.width, 7, 2, kernel_init=HE_IN, dtype=self.dtype, name="stem")(images, train)
        activations["stem"] = x
        x = max_pool(x, 3, 2, padding=1)
        for block, num_layers in enumerate(self.block_config, start=1):
            for layer in range(1, num_layers + 1):
                name = f"block_{block}_layer_{layer}"
                x = DenseLayer(self.growth_rate, self.bn_size, self.dropout, self.dtype, name=name)(x, train)
            activations[f"block_{block}"] = x
            if block < len(self.block_config):
                x = Transition(x.shape[-1] // 2, self.dtype, name=f"transition_{block}")(x, train)
                activations[f"transition_{block}"] = x
        activations["norm"] = nn.relu(BatchNorm(dtype=self.dtype, name="norm")(x, train))
        activations["pooled"] = global_average(activations["norm"])
        if self.num_classes:
            activations["logits"] = self.logits(activations["pooled"], kernel_init=HEAD)
        return activations


def densenet121(**options: Any) -> DenseNet:
    """DenseNet-121, 7,978,856 parameters. Options: ``num_classes``, ``dropout``, ``dtype``."""
    return DenseNet((6, 12, 24, 16), **options)


def densenet169(**options: Any) -> DenseNet:
    """DenseNet-169, 14,149,480 parameters. Options: ``num_classes``, ``dropout``, ``dtype``."""
    return DenseNet((6, 12, 32, 32), **options)


def densenet201(**options: Any) -> DenseNet:
    """DenseNet-201, 20,013,928 parameters. Options: ``num_classes``, ``dropout``, ``dtype``."""
    return DenseNet((6, 12, 48, 32), **options)


def densenet161(**options: Any) -> DenseNet:
    """DenseNet-161, with growth rate 48, 28,681,000 parameters. Options: ``num_classes``, ``dropout``, ``dtype``."""
    return DenseNet((6, 12, 36, 24), growth_rate=48, width=96, **options)
