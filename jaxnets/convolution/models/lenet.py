"""LeNet-5 (LeCun et al. 1998, "Gradient-based learning applied to document recognition") in its modern form.

ReLU replaces tanh, max pooling replaces trainable average pooling, and the second convolution is connected to all
feature maps of the first.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.conv import Conv
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import max_pool
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.array_types import Array, Float

KERNEL_SIZE = 5


class LeNet5(ImageModel):
    """LeNet-5: two 5 x 5 convolutions with 2 x 2 max pooling, dense layers, and a head.

    The pooled feature maps are flattened as ``[C, H, W]``. The parameters therefore depend on the image size.

    Activations, in order: ``conv_1``, ``conv_2``, ``pooled`` (after the second pooling), ``dense_1``, ``dense_2``, ...,
    ``logits``.
    Parameters: ``conv_1``, ``conv_2``, ``dense_<n>``, ``head``, each with ``kernel`` and ``bias``.

    Attributes:
        num_classes: Classes; 0: no head, the output is that of the last dense layer.
        convolutions: Channels of the two convolutions.
        padding: Padding of each convolution on all sides; 2 preserves the size.
        dense_features: Units of each dense layer.
        dropout: Dropout rate of these units.
        dtype: Compute dtype; logits are at least float32.
    """

    num_classes: int = 10
    convolutions: tuple[int, int] = (6, 16)
    padding: tuple[int, int] = (2, 0)
    dense_features: Sequence[int] = (120, 84)
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    def activations(self, images: Float[Array, "B H W C"], train: bool) -> dict[str, Float[Array, "B ..."]]:
        first, second = self.padding
        check_images(self, images, 16 - 2 * first - 4 * second, ("conv_1",))
        activations = {}
        x = images
        for layer, (channels, padding) in enumerate(zip(self.convolutions, self.padding, strict=True), 1):
            conv = Conv(
                channels,
                (KERNEL_SIZE, KERNEL_SIZE),
                padding=padding,
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=f"conv_{layer}",
            )
            activations[f"conv_{layer}"] = nn.relu(conv(x))
            x = max_pool(activations[f"conv_{layer}"], 2, 2)
        activations["pooled"] = x
        x = self._flatten(x, images)
        for layer, units in enumerate(self.dense_features, 1):
            dense = nn.Dense(units, kernel_init=nn.initializers.he_normal(), dtype=self.dtype, name=f"dense_{layer}")
            activations[f"dense_{layer}"] = nn.relu(dense(x))
            x = Dropout(self.dropout, deterministic=not train)(activations[f"dense_{layer}"])
        if self.num_classes:
            activations["logits"] = self.logits(x)
        return activations

    def _flatten(self, x: jax.Array, images: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        kernel = self.variables.get("params", {}).get("dense_1", {}).get("kernel")
        if kernel is not None and len(kernel) != height * width * channels:
            size = " x ".join(map(str, images.shape[1:3]))
            raise ValueError(
                f"LeNet5: `images` must have the size that the parameters were initialized with, got {size}"
            )
        return jnp.moveaxis(x, -1, 1).reshape(batch, height * width * channels)


def lenet5(**options: Any) -> LeNet5:
    """LeNet-5 with the published layer sizes, 61,706 parameters for 28 x 28 x 1 (padded to 32) and 10 classes.

    Options: ``num_classes``, ``dropout``, ``dtype``; ``padding=(0, 0)`` for images of 32 x 32.
    """
    return LeNet5(**options)


def lenet5_wide(**options: Any) -> LeNet5:
    """A wider LeNet-5, common in courses: 20 and 50 channels, convolutions that preserve the size, and 500 units.

    1,677,170 parameters for 32 x 32 x 3 and 100 classes. Options: ``num_classes``, ``dropout``, ``dtype``.
    """
    return LeNet5(
        **{"num_classes": 100, "convolutions": (20, 50), "padding": (2, 2), "dense_features": (500,), **options}
    )
