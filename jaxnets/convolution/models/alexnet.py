"""AlexNet (Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks").

It has two forms: the published form, and the form with one tower (Krizhevsky 2014, arXiv:1404.5997) of torchvision.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer

from jaxnets.convolution.conv import Conv
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.normalization import local_response_norm
from jaxnets.convolution.pooling import adaptive_average_pool, max_pool
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.dtypes import at_least_float32

KERNEL_SIZES = (11, 5, 3, 3, 3)
ONE_TOWER_CHANNELS = (64, 192, 384, 256, 256)
PUBLISHED_CHANNELS = (96, 256, 384, 384, 256)


class AlexNet(ImageModel):
    """AlexNet: five convolutions, three of them with max pooling, two dense layers, and a head.

    Average pooling to 6 x 6 after the last max pooling allows images of any size; it is the identity at 224 x 224. The
    features are flattened as ``[C, H, W]``.

    Activations, in order: ``conv_1`` to ``conv_5`` (before pooling), ``pooled``, ``dense_1``, ``dense_2``,
    ``logits``.
    Parameters: ``conv_<n>``, ``dense_<n>``, ``head``, each with ``kernel`` and ``bias``.

    Attributes:
        num_classes: Classes; 0: no head, the output is ``dense_2``.
        published: Whether to use the form of 2012: more channels, local response normalization after the first two
            convolutions, dropout after the dense layers instead of before them, and the published initializers.
        grouped: Whether convolutions 2, 4 and 5 have two groups, as on the two GPUs of 2012.
        dense_features: Units of each dense layer.
        dropout: Dropout rate, at the outputs of the dense layers if ``published``, and at their inputs otherwise.
        dtype: Compute dtype; logits are at least float32.
    """

    num_classes: int = 1000
    published: bool = False
    grouped: bool = False
    dense_features: int = 4096
    dropout: float = 0.5
    dtype: Dtype = jnp.float32

    def activations(self, images: Float[Array, "B H W C"], train: bool) -> dict[str, Float[Array, "B ..."]]:
        check_images(self, images, 63, ("conv_1",))
        activations = {}
        x = images
        for layer, kernel_size in enumerate(KERNEL_SIZES, 1):
            x = activations[f"conv_{layer}"] = nn.relu(self._convolution(layer, kernel_size, x.shape[-1])(x))
            if layer <= 2 and self.published:
                x = local_response_norm(x)
            if layer in (1, 2, 5):
                x = max_pool(x, 3, 2)
        x = activations["pooled"] = adaptive_average_pool(x, 6)
        x = jnp.moveaxis(x, -1, 1).reshape(len(x), 36 * x.shape[-1])
        for layer in (1, 2):
            if not self.published:
                x = Dropout(self.dropout, deterministic=not train)(x)
            x = activations[f"dense_{layer}"] = nn.relu(self._dense(self.dense_features, x, f"dense_{layer}", 1.0)(x))
            if self.published:
                x = Dropout(self.dropout, deterministic=not train)(x)
        if self.num_classes:
            activations["logits"] = self._dense(self.num_classes, x, "head", 0.0)(x)
        return activations

    def _convolution(self, layer: int, kernel_size: int, channels: int) -> nn.Conv:
        groups = 2 if self.grouped and layer in (2, 4, 5) else 1
        fan_in = kernel_size**2 * channels // groups
        kernel_init, bias_init = self._initializers(fan_in, 1.0 if layer in (2, 4, 5) else 0.0)
        return Conv(
            (PUBLISHED_CHANNELS if self.published else ONE_TOWER_CHANNELS)[layer - 1],
            (kernel_size, kernel_size),
            strides=4 if layer == 1 else 1,
            padding=kernel_size // 2 if layer > 1 else 2,
            feature_group_count=groups,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=self.dtype,
            name=f"conv_{layer}",
        )

    def _dense(self, units: int, x: jax.Array, name: str, bias: float) -> nn.Dense:
        kernel_init, bias_init = self._initializers(x.shape[-1], bias)
        dtype = at_least_float32(self.dtype) if name == "head" else self.dtype
        return nn.Dense(units, kernel_init=kernel_init, bias_init=bias_init, dtype=dtype, name=name)

    def _initializers(self, fan_in: int, published_bias: float) -> tuple[Initializer, Initializer]:
        """Initializers of the kernel and the bias of a layer."""
        if self.published:
            return nn.initializers.normal(0.01), nn.initializers.constant(published_bias)
        bound = fan_in**-0.5
        uniform = lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)
        return uniform, uniform


def alexnet(**options: Any) -> AlexNet:
    """AlexNet of torchvision, 61,100,840 parameters.

    Options: ``num_classes``, ``dense_features``, ``dropout``, ``dtype``.
    """
    return AlexNet(**options)


def alexnet_2012(**options: Any) -> AlexNet:
    """AlexNet as published in 2012, 60,965,224 parameters; 62,378,344 with ``grouped=False``.

    Options: ``num_classes``, ``grouped``, ``dense_features``, ``dropout``, ``dtype``.
    """
    return AlexNet(**{"published": True, "grouped": True, **options})
