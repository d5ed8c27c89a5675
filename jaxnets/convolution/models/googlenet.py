"""GoogLeNet (Szegedy et al. 2015, arXiv:1409.4842): inception modules, and optional auxiliary heads."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.blocks import ConvNorm
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.images import check_images, select_activations
from jaxnets.convolution.normalization import local_response_norm
from jaxnets.convolution.pooling import adaptive_average_pool, average_pool, global_average, max_pool
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_choice
from jaxnets.ops.dtypes import at_least_float32

# Table 1 of the paper: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
POOLED_AFTER = {"3b": 3, "4e": 2}  # inception module: window of the max pooling after it
AUXILIARIES = {"4a": "auxiliary_1", "4d": "auxiliary_2"}
VARIANTS = ("torchvision", "published_bn", "published")


def _convolution(
    variant: str, features: int, kernel_size: int, stride: int = 1, *, dtype: Dtype, name: str
) -> Callable[[jax.Array, bool], jax.Array]:
    """Returns a convolution with ReLU, and with batch norm or, if published, a bias (initially 0.2, as in Caffe)."""
    if variant != "published":
        normal = nn.initializers.normal(0.01)
        return ConvNorm(features, kernel_size, stride, epsilon=1e-3, kernel_init=normal, dtype=dtype, name=name)
    conv = Conv(
        features,
        (kernel_size, kernel_size),
        strides=stride,
        padding=kernel_size // 2,
        kernel_init=nn.initializers.lecun_uniform(),
        bias_init=nn.initializers.constant(0.2),
        dtype=dtype,
        name=name,
    )
    return lambda x, train: nn.relu(conv(x))


def _dense(variant: str, features: int, *, bias: float = 0.0, dtype: Dtype, name: str) -> nn.Dense:
    published = variant == "published"
    return nn.Dense(
        features,
        kernel_init=nn.initializers.lecun_uniform() if published else nn.initializers.normal(0.01),
        bias_init=nn.initializers.constant(bias if published else 0.0),
        dtype=dtype,
        name=name,
    )


class Inception(nn.Module):
    """An inception module: parallel convolutions of three sizes and a max pooling, concatenated.

    Parameters: ``conv_1x1``; ``reduce_3x3``, ``conv_3x3``; ``reduce_5x5``, ``conv_5x5``; ``pool_projection``.

    Attributes:
        channels: Output channels of the six convolutions, in this order.
        variant: As in ``GoogLeNet``.
        dtype: Compute dtype.
    """

    channels: Sequence[int]
    variant: str = "torchvision"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W F"]:
        """Maps ``[B, H, W, C]`` to ``[B, H, W, F]``."""
        features_1x1, reduce_3x3, features_3x3, reduce_5x5, features_5x5, projection = self.channels
        kernel_size_5x5 = 3 if self.variant == "torchvision" else 5
        conv = lambda channels, kernel_size, name, x: _convolution(
            self.variant, channels, kernel_size, dtype=self.dtype, name=name
        )(x, train)
        branches = [
            conv(features_1x1, 1, "conv_1x1", x),
            conv(features_3x3, 3, "conv_3x3", conv(reduce_3x3, 1, "reduce_3x3", x)),
            conv(features_5x5, kernel_size_5x5, "conv_5x5", conv(reduce_5x5, 1, "reduce_5x5", x)),
            conv(projection, 1, "pool_projection", max_pool(x, 3, 1, padding=1)),
        ]
        return jnp.concatenate(branches, axis=-1)


class Auxiliary(nn.Module):
    """An auxiliary head: average pooling to 4 x 4, a 1 x 1 convolution, and two dense layers.

    Parameters: ``conv``, ``dense``, ``head``.

    Attributes:
        num_classes: Classes.
        variant: As in ``GoogLeNet``.
        dtype: Compute dtype; logits are at least float32.
    """

    num_classes: int
    variant: str = "torchvision"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B classes"]:
        """Maps ``[B, H, W, C]`` to logits ``[B, num_classes]``."""
        if self.variant != "torchvision" and min(x.shape[1:3]) >= 14:  # images of 224 x 224 give 14 here, then 4
            x = average_pool(x, 5, 3)
        x = adaptive_average_pool(x, 4)
        x = _convolution(self.variant, 128, 1, dtype=self.dtype, name="conv")(x, train)
        x = jnp.moveaxis(x, -1, 1).reshape(len(x), 16 * x.shape[-1])
        x = nn.relu(_dense(self.variant, 1024, bias=0.2, dtype=self.dtype, name="dense")(x))
        x = Dropout(0.7, deterministic=not train)(x)
        return _dense(self.variant, self.num_classes, dtype=at_least_float32(self.dtype), name="head")(x)


class GoogLeNet(nn.Module):
    """GoogLeNet: three convolutions, nine inception modules, global average pooling, and a head; 22 layers.

    The training loss of the paper weights each auxiliary head by 0.3: ``loss(logits) + 0.3 (loss(auxiliary_1) +
    loss(auxiliary_2))``.

    The weights of torchvision expect images in -1 ... 1; torchvision itself scales images with ``transform_input``.

    Activations, in order: ``conv_1`` to ``conv_3``, ``inception_3a``, ``inception_3b``, ``inception_4a`` to
    ``inception_4e``, ``inception_5a``, ``inception_5b``, ``pooled``, ``logits``. With auxiliary heads, also the logits
    ``auxiliary_1`` after ``inception_4a`` and ``auxiliary_2`` after ``inception_4d``.
    Parameters: ``conv_<n>``, ``inception_<n>``, ``auxiliary_<n>``, ``head``.

    Attributes:
        num_classes: Classes; 0: no head, the output is ``pooled``.
        auxiliary: Whether the model has auxiliary heads.
        variant: ``"published"``: the paper, with biases and two local response normalizations; ``"published_bn"``: the
            paper, with batch normalization instead; ``"torchvision"``: with batch normalization, and 3 x 3 convolutions
            instead of 5 x 5.
        dropout: Dropout rate before the head; None: 0.2 for ``"torchvision"``, 0.4 otherwise.
        dtype: Compute dtype; logits are at least float32.
    """

    num_classes: int = 1000
    auxiliary: bool = False
    variant: str = "torchvision"
    dropout: float | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "B H W C"], train: bool = False, features: Sequence[str] | None = None
    ) -> Float[Array, "B ..."] | tuple[Float[Array, "B classes"], ...] | dict[str, Float[Array, "B ..."]]:
        """Computes logits, or the activations named in ``features``.

        Args:
            images: ``[B, H, W, C]``, floating point.
            train: Whether batch norms use the statistics of the batch, which needs ``mutable=["batch_stats"]``, and
                dropout is on, which needs ``rngs={"dropout": key}``.
            features: Names of activations; None: the last one.

        Returns:
            Logits ``[B, num_classes]``. With auxiliary heads and ``train``, ``(logits, auxiliary_1, auxiliary_2)``. If
            ``features`` is given, a dict of activations.

        Raises:
            ValueError: If the images do not match the model, a name or the variant is unknown, or the model has
                auxiliary heads but no classes.
        """
        self._check(images)
        activations = {}
        published = self.variant == "published"
        conv = lambda channels, kernel_size, stride, name, x: _convolution(
            self.variant, channels, kernel_size, stride, dtype=self.dtype, name=name
        )(x, train)
        x = activations["conv_1"] = conv(64, 7, 2, "conv_1", images)
        x = max_pool(x, 3, 2, ceil=True)
        x = _response_norm(x) if published else x
        x = activations["conv_2"] = conv(64, 1, 1, "conv_2", x)
        x = activations["conv_3"] = conv(192, 3, 1, "conv_3", x)
        x = _response_norm(x) if published else x
        x = max_pool(x, 3, 2, ceil=True)
        with_auxiliary = self.auxiliary and (train or features is not None or self.is_initializing())
        for name, channels in INCEPTIONS.items():
            block = Inception(channels, self.variant, self.dtype, name=f"inception_{name}")
            x = activations[f"inception_{name}"] = block(x, train)
            if with_auxiliary and name in AUXILIARIES:
                auxiliary = Auxiliary(self.num_classes, self.variant, self.dtype, name=AUXILIARIES[name])
                activations[AUXILIARIES[name]] = auxiliary(x, train)
            if name in POOLED_AFTER:
                window = POOLED_AFTER[name] if self.variant == "torchvision" else 3
                x = max_pool(x, window, 2, ceil=True)
        x = activations["pooled"] = global_average(x)
        if self.num_classes:
            x = Dropout(self._dropout(), deterministic=not train)(x)
            dtype = at_least_float32(self.dtype)
            activations["logits"] = _dense(self.variant, self.num_classes, dtype=dtype, name="head")(x)
        if self.auxiliary and train and features is None:
            return activations["logits"], activations["auxiliary_1"], activations["auxiliary_2"]
        return select_activations(activations, features)

    def _dropout(self) -> float:
        if self.dropout is not None:
            return self.dropout
        return 0.2 if self.variant == "torchvision" else 0.4

    def _check(self, images: jax.Array) -> None:
        check_choice("variant", self.variant, VARIANTS)
        if self.auxiliary and not self.num_classes:
            raise ValueError("`num_classes` must be at least 1 with auxiliary heads, got 0")
        min_size = 15 if self.variant == "torchvision" else 31
        check_images(self, images, min_size, ("conv_1",) if self.variant == "published" else ("conv_1", "conv"))


def _response_norm(x: jax.Array) -> jax.Array:
    return local_response_norm(x, alpha=2e-5, k=1.0)  # from the authors' Caffe model; the paper gives no constants


def googlenet(**options: Any) -> GoogLeNet:
    """GoogLeNet of torchvision, 6,624,904 parameters; 13,004,888 with ``auxiliary=True``.

    With ``variant="published"``: 6,998,552 (13,378,280); with ``variant="published_bn"``: 7,005,832.
    Options: ``num_classes``, ``auxiliary``, ``variant``, ``dropout``, ``dtype``.
    """
    return GoogLeNet(**options)
