"""LeNet-5 (LeCun et al. 1998, "Gradient-based learning applied to document recognition") as it is built today: ReLU for
tanh, max pooling for trained averages, and a second convolution that sees all the maps of the first."""

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

KERNEL = 5


class LeNet5(ImageModel):
    """Two 5 x 5 convolutions with pooling by 2 after each, then dense layers, for images of one size.

    The dense layers take the pooled maps channel by channel, ``[C, H, W]``, and so belong to the size of the images
    that the parameters were made with.

    Named activations, in order: ``conv_1``, ``conv_2``, ``pooled`` (after the second pooling), ``dense_1`` and so on,
    ``logits``.
    Parameters: ``conv_1``, ``conv_2``, ``dense_<n>``, ``head``, each with ``kernel`` and ``bias``.

    Attributes:
        num_classes: C; 0: no head, the answer is the last dense layer's.
        convolutions: Channels of the two.
        padding: Of each, on every side: from 0, no padding, to 2, which keeps the size.
        dense: Units of the layers between.
        dropout: Probability of dropping one of those units.
        dtype: Compute type; the head's results are float32 at least.
    """

    num_classes: int = 10
    convolutions: tuple[int, int] = (6, 16)
    padding: tuple[int, int] = (2, 0)
    dense: Sequence[int] = (120, 84)
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    def activations(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
        first, second = self.padding
        check_images(self, images, 16 - 2 * first - 4 * second, ("conv_1",))
        found = {}
        x = images
        for layer, (channels, padding) in enumerate(zip(self.convolutions, self.padding, strict=True), 1):
            conv = Conv(
                channels,
                (KERNEL, KERNEL),
                padding=padding,
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=f"conv_{layer}",
            )
            found[f"conv_{layer}"] = nn.relu(conv(x))
            x = max_pool(found[f"conv_{layer}"], 2, 2)
        found["pooled"] = x
        x = self._flat(x, images)
        for layer, units in enumerate(self.dense, 1):
            dense = nn.Dense(units, kernel_init=nn.initializers.he_normal(), dtype=self.dtype, name=f"dense_{layer}")
            found[f"dense_{layer}"] = nn.relu(dense(x))
            x = Dropout(self.dropout, deterministic=not train)(found[f"dense_{layer}"])
        if self.num_classes:
            found["logits"] = self.logits(x)
        return found

    def _flat(self, x: jax.Array, images: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        kernel = self.variables.get("params", {}).get("dense_1", {}).get("kernel")
        if kernel is not None and len(kernel) != height * width * channels:
            given = " x ".join(map(str, images.shape[1:3]))
            raise ValueError(f"LeNet5: images must be of the size that its parameters were made with, got {given}")
        return jnp.moveaxis(x, -1, 1).reshape(batch, height * width * channels)


def lenet5(**options: Any) -> LeNet5:
    """LeNet-5 with the published layer sizes, 61,706 parameters for 28 x 28 x 1 (padded to 32) and 10 classes.

    Options: ``classes``, ``dropout``, ``dtype``; ``padding=(0, 0)`` for images that are 32 x 32 already.
    """
    return LeNet5(**options)


def lenet5_wide(**options: Any) -> LeNet5:
    """The wider LeNet-5 of courses: 20 and 50 channels in convolutions that keep the size, 500 units.

    1,677,170 parameters for 32 x 32 x 3 and 100 classes. Options: ``classes``, ``dropout``, ``dtype``.
    """
    return LeNet5(**{"num_classes": 100, "convolutions": (20, 50), "padding": (2, 2), "dense": (500,), **options})
