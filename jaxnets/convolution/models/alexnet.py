"""AlexNet: as published (Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural
networks"), and in one tower (Krizhevsky 2014, arXiv:1404.5997) as in torchvision."""

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
from jaxnets.ops.dtypes import at_least_float32

KERNELS = (11, 5, 3, 3, 3)
ONE_TOWER = (64, 192, 384, 256, 256)
PUBLISHED = (96, 256, 384, 384, 256)


class AlexNet(ImageModel):
    """Five convolutions, three of them with max pooling, and two dense layers before the head.

    Images of any size are averaged to 6 x 6 after the last pooling, which changes nothing at 224 x 224. The dense
    layers take them channel by channel, ``[C, H, W]``.

    Named activations, in order: ``conv_1`` to ``conv_5`` (before pooling), ``pooled``, ``dense_1``, ``dense_2``,
    ``logits``.
    Parameters: ``conv_<n>``, ``dense_<n>``, ``head``, each with ``kernel`` and ``bias``.

    Attributes:
        num_classes: C; 0: no head, the answer is ``dense_2``.
        published: Whether it is the form of 2012: more channels, local response norm after the first two convolutions,
            dropout after the dense layers and not before them, and its first weights and biases.
        grouped: Whether convolutions 2, 4 and 5 are in two groups, as on the two GPUs of 2012.
        dense: Units of each dense layer.
        dropout: Probability of dropping a number that a dense layer reads; the first one reads all where ``published``,
            and the head all where not.
        dtype: Compute type; the head's results are float32 at least.
    """

    num_classes: int = 1000
    published: bool = False
    grouped: bool = False
    dense: int = 4096
    dropout: float = 0.5
    dtype: Dtype = jnp.float32

    def activations(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
        check_images(self, images, 63, ("conv_1",))
        found = {}
        x = images
        for layer, kernel in enumerate(KERNELS, 1):
            x = found[f"conv_{layer}"] = nn.relu(self._convolution(layer, kernel, x.shape[-1])(x))
            if layer <= 2 and self.published:
                x = local_response_norm(x)
            if layer in (1, 2, 5):
                x = max_pool(x, 3, 2)
        x = found["pooled"] = adaptive_average_pool(x, 6)
        x = jnp.moveaxis(x, -1, 1).reshape(len(x), 36 * x.shape[-1])
        for layer in (1, 2):
            if not self.published:
                x = Dropout(self.dropout, deterministic=not train)(x)
            x = found[f"dense_{layer}"] = nn.relu(self._dense(self.dense, x, f"dense_{layer}", 1.0)(x))
            if self.published:
                x = Dropout(self.dropout, deterministic=not train)(x)
        if self.num_classes:
            found["logits"] = self._dense(self.num_classes, x, "head", 0.0)(x)
        return found

    def _convolution(self, layer: int, kernel: int, channels: int) -> nn.Conv:
        groups = 2 if self.grouped and layer in (2, 4, 5) else 1
        kernel_init, bias_init = self._begin(kernel**2 * channels // groups, 1.0 if layer in (2, 4, 5) else 0.0)
        return Conv(
            (PUBLISHED if self.published else ONE_TOWER)[layer - 1],
            (kernel, kernel),
            strides=4 if layer == 1 else 1,
            padding=kernel // 2 if layer > 1 else 2,
            feature_group_count=groups,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=self.dtype,
            name=f"conv_{layer}",
        )

    def _dense(self, units: int, x: jax.Array, name: str, bias: float) -> nn.Dense:
        kernel_init, bias_init = self._begin(x.shape[-1], bias)
        dtype = at_least_float32(self.dtype) if name == "head" else self.dtype
        return nn.Dense(units, kernel_init=kernel_init, bias_init=bias_init, dtype=dtype, name=name)

    def _begin(self, inputs: int, bias: float) -> tuple[Initializer, Initializer]:
        """Of kernel and bias, where an output reads ``inputs`` numbers; ``bias``: the published one."""
        if self.published:
            return nn.initializers.normal(0.01), nn.initializers.constant(bias)
        bound = inputs**-0.5
        uniform = lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)
        return uniform, uniform


def alexnet(**options: Any) -> AlexNet:
    """torchvision's form, 61,100,840 parameters. Options: ``classes``, ``dense``, ``dropout``, ``dtype``."""
    return AlexNet(**options)


def alexnet_2012(**options: Any) -> AlexNet:
    """The published form, 60,965,224 parameters; with ``grouped=False`` 62,378,344.

    Options: ``classes``, ``grouped``, ``dense``, ``dropout``, ``dtype``.
    """
    return AlexNet(**{"published": True, "grouped": True, **options})
