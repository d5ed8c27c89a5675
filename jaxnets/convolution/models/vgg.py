"""VGG (Simonyan and Zisserman 2015, arXiv:1409.1556): 3 x 3 convolutions only, 11 to 19 layers; with batch norm too."""

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
from jaxnets.ops.checks import check_depths

CHANNELS = (64, 128, 256, 512, 512)


class VGG(ImageModel):
    """Five stages of 3 x 3 convolutions, max pooling by 2 after each, and two dense layers before the head.

    Images of any size are averaged to 7 x 7 after the last pooling, which changes nothing at 224 x 224. The dense
    layers take them channel by channel, ``[C, H, W]``.

    Named activations, in order: ``conv_<s>_<n>``, the n-th of stage s, after ReLU; after those of each stage
    ``stage_<s>``, pooled; ``pooled`` (7 x 7), ``dense_1``, ``dense_2``, ``logits``.
    Parameters: ``conv_<s>_<n>``, ``dense_<n>``, ``head``, each with ``kernel`` and ``bias``; ``norm_<s>_<n>``.

    Attributes:
        convolutions: How many in each stage.
        num_classes: C; 0: no head, the answer is ``dense_2``.
        batch_norm: Whether a norm follows each convolution, which keeps its bias.
        dense: Units of each dense layer.
        dropout: Probability of dropping one of those units.
        dtype: Compute type; the head's results are float32 at least.
    """

    convolutions: Sequence[int] = (2, 2, 3, 3, 3)
    num_classes: int = 1000
    batch_norm: bool = False
    dense: int = 4096
    dropout: float = 0.5
    dtype: Dtype = jnp.float32

    def activations(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
        check_depths(convolutions=self.convolutions)
        check_images(self, images, 32, ("conv_1_1",))
        found = {}
        x = images
        for stage, (channels, count) in enumerate(zip(CHANNELS, self.convolutions, strict=True), 1):
            for layer in range(1, count + 1):
                x = found[f"conv_{stage}_{layer}"] = self._convolution(x, channels, f"{stage}_{layer}", train)
            x = found[f"stage_{stage}"] = max_pool(x, 2, 2)
        x = found["pooled"] = adaptive_average_pool(x, 7)
        x = jnp.moveaxis(x, -1, 1).reshape(len(x), 49 * x.shape[-1])
        normal = nn.initializers.normal(0.01)
        for layer in (1, 2):
            dense = nn.Dense(self.dense, kernel_init=normal, dtype=self.dtype, name=f"dense_{layer}")
            x = found[f"dense_{layer}"] = nn.relu(dense(x))
            x = Dropout(self.dropout, deterministic=not train)(x)
        if self.num_classes:
            found["logits"] = self.logits(x, kernel_init=normal)
        return found

    def _convolution(self, x: jax.Array, channels: int, name: str, train: bool) -> jax.Array:
        x = Conv(channels, (3, 3), padding=1, kernel_init=HE_OUT, dtype=self.dtype, name=f"conv_{name}")(x)
        if self.batch_norm:
            x = BatchNorm(dtype=self.dtype, name=f"norm_{name}")(x, train)
        return nn.relu(x)


def vgg11(**options: Any) -> VGG:
    """Configuration A, 132,863,336 parameters. Options: ``classes``, ``dense``, ``dropout``, ``dtype``."""
    return VGG((1, 1, 2, 2, 2), **options)


def vgg13(**options: Any) -> VGG:
    """Configuration B, 133,047,848 parameters. Options: ``classes``, ``dense``, ``dropout``, ``dtype``."""
    return VGG((2, 2, 2, 2, 2), **options)


def vgg16(**options: Any) -> VGG:
    """Configuration D, 138,357,544 parameters. Options: ``classes``, ``dense``, ``dropout``, ``dtype``."""
    return VGG((2, 2, 3, 3, 3), **options)


def vgg19(**options: Any) -> VGG:
    """Configuration E, 143,667,240 parameters. Options: ``classes``, ``dense``, ``dropout``, ``dtype``."""
    return VGG((2, 2, 4, 4, 4), **options)


def vgg11_bn(**options: Any) -> VGG:
    """Configuration A with batch norm, 132,868,840 parameters. Options: as ``vgg11``'s."""
    return vgg11(batch_norm=True, **options)


def vgg13_bn(**options: Any) -> VGG:
    """Configuration B with batch norm, 133,053,736 parameters. Options: as ``vgg13``'s."""
    return vgg13(batch_norm=True, **options)


def vgg16_bn(**options: Any) -> VGG:
    """Configuration D with batch norm, 138,365,992 parameters. Options: as ``vgg16``'s."""
    return vgg16(batch_norm=True, **options)


def vgg19_bn(**options: Any) -> VGG:
    """Configuration E with batch norm, 143,678,248 parameters. Options: as ``vgg19``'s."""
    return vgg19(batch_norm=True, **options)
