"""VGG (Simonyan and Zisserman 2015, arXiv:1409.1556), with and without batch normalization."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.blocks import HE_OUT
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import adaptive_average_pool, max_pool
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depths

CHANNELS = (64, 128, 256, 512, 512)


class VGG(ImageModel):
    """VGG: five stages of 3 x 3 convolutions, each with 2 x 2 max pooling, two dense layers, and a head.

    Average pooling to 7 x 7 after the last max pooling allows images of any size; it is the identity at 224 x 224. The
    features are flattened as ``[C, H, W]``.

    Activations, in order: for each stage s, ``conv_<s>_<n>`` (after ReLU) for each convolution n, and ``stage_<s>``
    (after pooling); ``pooled`` (7 x 7), ``dense_1``, ``dense_2``, ``logits``.
    Parameters: ``conv_<s>_<n>``, ``dense_<n>``, ``head``, each with ``kernel`` and ``bias``; ``norm_<s>_<n>``.

    Attributes:
        convolutions: Convolutions of each stage.
        num_classes: Classes; 0: no head, the output is ``dense_2``.
        batch_norm: Whether batch normalization follows each convolution; the convolutions have a bias in either case.
        dense_features: Units of each dense layer.
        dropout: Dropout rate of these units.
        dtype: Compute dtype; logits are at least float32.
    """

    convolutions: Sequence[int] = (2, 2, 3, 3, 3)
    num_classes: int = 1000
    batch_norm: bool = False
    dense_features: int = 4096
    dropout: float = 0.5
    dtype: Dtype = jnp.float32

    def activations(self, images: Float[Array, "B H W C"], train: bool) -> dict[str, Float[Array, "B ..."]]:
        check_depths(convolutions=self.convolutions)
        check_images(self, images, 32, ("conv_1_1",))
        activations = {}
        x = images
        for stage, (channels, count) in enumerate(zip(CHANNELS, self.convolutions, strict=True), 1):
            for layer in range(1, count + 1):
                x = activations[f"conv_{stage}_{layer}"] = self._convolution(x, channels, f"{stage}_{layer}", train)
            x = activations[f"stage_{stage}"] = max_pool(x, 2, 2)
        x = activations["pooled"] = adaptive_average_pool(x, 7)
        x = jnp.moveaxis(x, -1, 1).reshape(len(x), 49 * x.shape[-1])
        normal = nn.initializers.normal(0.01)
        for layer in (1, 2):
            dense = nn.Dense(self.dense_features, kernel_init=normal, dtype=self.dtype, name=f"dense_{layer}")
            x = activations[f"dense_{layer}"] = nn.relu(dense(x))
            x = Dropout(self.dropout, deterministic=not train)(x)
        if self.num_classes:
            activations["logits"] = self.logits(x, kernel_init=normal)
        return activations

    def _convolution(self, x: jax.Array, channels: int, name: str, train: bool) -> jax.Array:
        x = Conv(channels, (3, 3), padding=1, kernel_init=HE_OUT, dtype=self.dtype, name=f"conv_{name}")(x)
        if self.batch_norm:
            x = BatchNorm(dtype=self.dtype, name=f"norm_{name}")(x, train)
        return nn.relu(x)


def vgg11(**options: Any) -> VGG:
    """VGG-11 (configuration A), 132,863,336 parameters.

    Options: ``num_classes``, ``dense_features``, ``dropout``, ``dtype``.
    """
    return VGG((1, 1, 2, 2, 2), **options)


def vgg13(**options: Any) -> VGG:
    """VGG-13 (configuration B), 133,047,848 parameters.

    Options: ``num_classes``, ``dense_features``, ``dropout``, ``dtype``.
    """
    return VGG((2, 2, 2, 2, 2), **options)


def vgg16(**options: Any) -> VGG:
    """VGG-16 (configuration D), 138,357,544 parameters.

    Options: ``num_classes``, ``dense_features``, ``dropout``, ``dtype``.
    """
    return VGG((2, 2, 3, 3, 3), **options)


def vgg19(**options: Any) -> VGG:
    """VGG-19 (configuration E), 143,667,240 parameters.

    Options: ``num_classes``, ``dense_features``, ``dropout``, ``dtype``.
    """
    return VGG((2, 2, 4, 4, 4), **options)


def vgg11_bn(**options: Any) -> VGG:
    """VGG-11 with batch normalization, 132,868,840 parameters. Options: as for ``vgg11``."""
    return vgg11(batch_norm=True, **options)


def vgg13_bn(**options: Any) -> VGG:
    """VGG-13 with batch normalization, 133,053,736 parameters. Options: as for ``vgg13``."""
    return vgg13(batch_norm=True, **options)


def vgg16_bn(**options: Any) -> VGG:
    """VGG-16 with batch normalization, 138,365,992 parameters. Options: as for ``vgg16``."""
    return vgg16(batch_norm=True, **options)


def vgg19_bn(**options: Any) -> VGG:
    """VGG-19 with batch normalization, 143,678,248 parameters. Options: as for ``vgg19``."""
    return vgg19(batch_norm=True, **options)
