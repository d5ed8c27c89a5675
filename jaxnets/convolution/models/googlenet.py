"""GoogLeNet (Szegedy et al. 2015, arXiv:1409.4842): inception modules, and two auxiliary heads on the way."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.blocks import ConvNorm
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.images import check_images, chosen
from jaxnets.convolution.normalization import local_response_norm
from jaxnets.convolution.pooling import adaptive_average_pool, average_pool, global_average, max_pool
from jaxnets.modules.dropout import Dropout
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
POOLED_AFTER = {"3b": 3, "4e": 2}  # with which window
AUXILIARIES = {"4a": "auxiliary_1", "4d": "auxiliary_2"}
VARIANTS = ("torchvision", "published_bn", "published")


def _convolution(
    variant: str, features: int, kernel: int, stride: int = 1, *, dtype: Dtype, name: str
) -> Callable[[jax.Array, bool], jax.Array]:
    """With batch norm or, where published, with a bias (0.2 at first, as in the authors' Caffe), and ReLU."""
    if variant != "published":
        normal = nn.initializers.normal(0.01)
        return ConvNorm(features, kernel, stride, epsilon=1e-3, kernel_init=normal, dtype=dtype, name=name)
    conv = Conv(
        features,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2,
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
    """Convolutions of three sizes and a max pooling side by side, their channels one after the other.

    Parameters: ``conv_1x1``; ``reduce_3x3``, ``conv_3x3``; ``reduce_5x5``, ``conv_5x5``; ``pool_projection``.

    Attributes:
        channels: Of these six.
        variant: As in ``GoogLeNet``.
        dtype: Compute type.
    """

    channels: Sequence[int]
    variant: str = "torchvision"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H, W, C']``."""
        one, reduce_3x3, three, reduce_5x5, five, projection = self.channels
        kernel_5x5 = 3 if self.variant == "torchvision" else 5
        conv = lambda channels, kernel, name, x: _convolution(
            self.variant, channels, kernel, dtype=self.dtype, name=name
        )(x, train)
        branches = [
            conv(one, 1, "conv_1x1", x),
            conv(three, 3, "conv_3x3", conv(reduce_3x3, 1, "reduce_3x3", x)),
            conv(five, kernel_5x5, "conv_5x5", conv(reduce_5x5, 1, "reduce_5x5", x)),
            conv(projection, 1, "pool_projection", max_pool(x, 3, 1, padding=1)),
        ]
        return jnp.concatenate(branches, axis=-1)


class Auxiliary(nn.Module):
    """A head on the way: means over 4 x 4 windows, a 1 x 1 convolution, a dense layer and another.

    Parameters: ``conv``, ``dense``, ``head``.

    Attributes:
        num_classes: C.
        variant: As in ``GoogLeNet``.
        dtype: Compute type; the results are float32 at least.
    """

    num_classes: int
    variant: str = "torchvision"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[B, H, W, C]`` to logits ``[B, classes]``."""
        if self.variant != "torchvision" and min(x.shape[1:3]) >= 14:  # of 224 x 224 images it is 14, and becomes 4
            x = average_pool(x, 5, 3)
        x = adaptive_average_pool(x, 4)
        x = _convolution(self.variant, 128, 1, dtype=self.dtype, name="conv")(x, train)
        x = jnp.moveaxis(x, -1, 1).reshape(len(x), 16 * x.shape[-1])
        x = nn.relu(_dense(self.variant, 1024, bias=0.2, dtype=self.dtype, name="dense")(x))
        x = Dropout(0.7, deterministic=not train)(x)
        wide = at_least_float32(self.dtype)
        return _dense(self.variant, self.num_classes, dtype=wide, name="head")(x)


class GoogLeNet(nn.Module):
    """22 layers: three convolutions, nine inception modules, the mean, a dense layer.

    The loss that the auxiliary heads are for weighs each by 0.3: ``loss(logits) + 0.3 (loss(auxiliary_1) +
    loss(auxiliary_2))``.

    torchvision's published weights read images scaled to -1 ... 1; torchvision itself makes them so inside the model
    (``transform_input``).

    Named activations, in order: ``conv_1`` to ``conv_3``, ``inception_3a``, ``inception_3b``, ``inception_4a`` to
    ``inception_4e``, ``inception_5a``, ``inception_5b``, ``pooled``, ``logits``; where ``auxiliary``, logits
    ``auxiliary_1`` after ``inception_4a`` and ``auxiliary_2`` after ``inception_4d``.
    Parameters: ``conv_<n>``, ``inception_<n>``, ``auxiliary_<n>``, ``head``.

    Attributes:
        num_classes: C; 0: no head, the answer is ``pooled``.
        auxiliary: Whether it has the auxiliary heads.
        variant: ``"torchvision"``: batch norm, and 3 x 3 where the paper has 5 x 5; ``"published_bn"``: batch norm, and
            else as in the paper; ``"published"``: biases, and two local response norms.
        dropout: Probability of dropping a feature before the head; None: 0.2 in torchvision's variant, 0.4 else.
        dtype: Compute type; the heads' results are float32 at least.
    """

    num_classes: int = 1000
    auxiliary: bool = False
    variant: str = "torchvision"
    dropout: float | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, images: jax.Array, train: bool = False, features: Sequence[str] | None = None
    ) -> jax.Array | tuple[jax.Array, ...] | dict[str, jax.Array]:
        """``[B, H, W, C]`` to logits ``[B, classes]``, or a dict of the activations named in ``features``.

        With auxiliary heads and ``train`` it is ``(logits, auxiliary_1, auxiliary_2)``. Dropout is on when ``train``;
        it needs ``rngs={"dropout": key}`` then.

        Raises:
            ValueError: The images do not fit, or a name or the variant is unknown, or auxiliary heads have no classes.
        """
        self._check(images)
        found = {}
        published = self.variant == "published"
        conv = lambda channels, kernel, stride, name, x: _convolution(
            self.variant, channels, kernel, stride, dtype=self.dtype, name=name
        )(x, train)
        x = found["conv_1"] = conv(64, 7, 2, "conv_1", images)
        x = max_pool(x, 3, 2, ceil=True)
        x = _response_norm(x) if published else x
        x = found["conv_2"] = conv(64, 1, 1, "conv_2", x)
        x = found["conv_3"] = conv(192, 3, 1, "conv_3", x)
        x = _response_norm(x) if published else x
        x = max_pool(x, 3, 2, ceil=True)
        with_auxiliary = self.auxiliary and (train or features is not None or self.is_initializing())
        for name, channels in INCEPTIONS.items():
            block = Inception(channels, self.variant, self.dtype, name=f"inception_{name}")
            x = found[f"inception_{name}"] = block(x, train)
            if with_auxiliary and name in AUXILIARIES:
                auxiliary = Auxiliary(self.num_classes, self.variant, self.dtype, name=AUXILIARIES[name])
                found[AUXILIARIES[name]] = auxiliary(x, train)
            if name in POOLED_AFTER:
                window = POOLED_AFTER[name] if self.variant == "torchvision" else 3
                x = max_pool(x, window, 2, ceil=True)
        x = found["pooled"] = global_average(x)
        if self.num_classes:
            x = Dropout(self._dropout(), deterministic=not train)(x)
            wide = at_least_float32(self.dtype)
            found["logits"] = _dense(self.variant, self.num_classes, dtype=wide, name="head")(x)
        if self.auxiliary and train and features is None:
            return found["logits"], found["auxiliary_1"], found["auxiliary_2"]
        return chosen(found, features)

    def _dropout(self) -> float:
        if self.dropout is not None:
            return self.dropout
        return 0.2 if self.variant == "torchvision" else 0.4

    def _check(self, images: jax.Array) -> None:
        check_choice("variant", self.variant, VARIANTS)
        if self.auxiliary and not self.num_classes:
            raise ValueError("`num_classes` must be at least 1 with auxiliary heads, got 0")
        smallest = 15 if self.variant == "torchvision" else 31
        check_images(self, images, smallest, ("conv_1",) if self.variant == "published" else ("conv_1", "conv"))


def _response_norm(x: jax.Array) -> jax.Array:
    return local_response_norm(x, alpha=2e-5, k=1.0)  # the paper has no numbers; these are of the authors' Caffe file


def googlenet(**options: Any) -> GoogLeNet:
    """torchvision's form, 6,624,904 parameters; 13,004,888 with ``auxiliary=True``.

    With ``variant="published"`` 6,998,552 (13,378,280), with ``variant="published_bn"`` 7,005,832.
    Options: ``classes``, ``auxiliary``, ``variant``, ``dropout``, ``dtype``.
    """
    return GoogLeNet(**options)
