"""U-Net (Ronneberger, Fischer and Brox 2015, arXiv:1505.04597): a class for every pixel."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.blocks import HE_IN  # the paper's: deviation sqrt(2 / N), N the inputs of one output
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import max_pool
from jaxnets.convolution.resizing import upsample
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.checks import check_choice, check_depth, check_integer
from jaxnets.ops.dtypes import at_least_float32


class UpConvolution(nn.Module):
    r"""A transposed 2 x 2 convolution with stride 2: every pixel becomes four.

    .. math::
        y_{2i + a, 2j + b} = W_{ab}\, x_{ij} + \mathrm{bias}

    Parameters: ``kernel [2, 2, features, C]``, which is torch's transposed as those of other convolutions are, and
    ``bias [features]``.

    Attributes:
        features: Output channels.
        dtype: Compute type.
    """

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, 2 H, 2 W, features]``."""
        init = nn.initializers.variance_scaling(2.0, "fan_in", "normal", in_axis=3, out_axis=2, batch_axis=(0, 1))
        kernel = self.param("kernel", init, (2, 2, self.features, x.shape[-1]), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        return upsample(x, kernel) + bias[None, None, None]


class TwoConvolutions(nn.Module):
    """Two 3 x 3 convolutions, each with ReLU, and with batch norm instead of a bias if wanted.

    Parameters: ``conv_1``, ``conv_2``; ``norm_1``, ``norm_2``.

    Attributes:
        features: Output channels.
        padding: Of each convolution: 0, and the result is 4 pixels smaller, or 1.
        batch_norm: Whether.
        dtype: Compute type.
    """

    features: int
    padding: int = 0
    batch_norm: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H', W', features]``."""
        for i in (1, 2):
            x = Conv(
                self.features,
                (3, 3),
                padding=self.padding,
                use_bias=not self.batch_norm,
                kernel_init=HE_IN,
                dtype=self.dtype,
                name=f"conv_{i}",
            )(x)
            if self.batch_norm:
                x = BatchNorm(dtype=self.dtype, name=f"norm_{i}")(x, train)
            x = nn.relu(x)
        return x


class UNet(ImageModel):
    """Down by pooling, up by transposed convolutions, and at every size what was found on the way down.

    With ``padding="valid"``, as published, every answer is made of real pixels only and is smaller than the image:
    572 x 572 gives 388 x 388. The sizes that fit are those that every pooling halves; the error names the nearest. With
    ``"same"`` the answer has the image's size, whatever that is.

    Named activations, in order: ``down_1`` to ``down_<depth - 1>``, ``bottom``, ``up_<depth - 1>`` to ``up_1``,
    ``logits``.
    Parameters: ``down_<i>``, ``bottom``, ``up_<i>`` of ``TwoConvolutions``; ``upconv_<i>``; ``head`` (1 x 1).

    Attributes:
        num_classes: C of every pixel; 0: no head, the answer is ``up_1``.
        depth: Sizes at which it looks, one more than poolings; 5 in the paper.
        width: Features at the full size; each size below has twice as many.
        padding: ``"valid"`` or ``"same"``.
        batch_norm: Whether convolutions are normalized.
        dropout: Probability of dropping an element at the end of the way down.
        dtype: Compute type; the head's results are float32 at least.
    """

    num_classes: int = 2
    depth: int = 5
    width: int = 64
    padding: str = "valid"
    batch_norm: bool = False
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    def activations(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Activations of images ``[B, H, W, C]``; the logits are ``[B, H', W', classes]``."""
        self._check(images)
        found = {}
        x = images
        for i in range(1, self.depth):
            found[f"down_{i}"] = self._two(i, f"down_{i}")(x, train)
            x = max_pool(found[f"down_{i}"], 2, 2)
        x = self._two(self.depth, "bottom")(x, train)
        found["bottom"] = x = Dropout(self.dropout, deterministic=not train)(x)
        for i in reversed(range(1, self.depth)):
            x = UpConvolution(self.width * 2 ** (i - 1), self.dtype, name=f"upconv_{i}")(x)
            found[f"up_{i}"] = x = self._two(i, f"up_{i}")(self._beside(found[f"down_{i}"], x), train)
        if self.num_classes:
            dtype = at_least_float32(self.dtype)
            found["logits"] = Conv(self.num_classes, (1, 1), kernel_init=HE_IN, dtype=dtype, name="head")(x)
        return found

    def _two(self, size: int, name: str) -> TwoConvolutions:
        padding = int(self.padding == "same")
        return TwoConvolutions(self.width * 2 ** (size - 1), padding, self.batch_norm, self.dtype, name=name)

    def _beside(self, skip: jax.Array, x: jax.Array) -> jax.Array:
        """What was found on the way down, and what comes up, as channels of one array."""
        height, width = (a - b for a, b in zip(skip.shape[1:3], x.shape[1:3], strict=True))
        if self.padding == "same":  # pooling cut an odd size
            x = jnp.pad(x, [(0, 0), (0, height), (0, width), (0, 0)])
        else:
            top, left = height // 2, width // 2
            skip = skip[:, top : top + x.shape[1], left : left + x.shape[2]]
        return jnp.concatenate([skip, x], axis=-1)

    def _check(self, images: jax.Array) -> None:
        check_choice("padding", self.padding, ("valid", "same"))
        check_integer("depth", self.depth)
        check_depth(depth=self.depth)
        step = 2 ** (self.depth - 1)
        first = ("down_1" if self.depth > 1 else "bottom", "conv_1")
        if self.padding == "same":
            check_images(self, images, step, first)
            return
        # The bottom's b pixels were step b + 8 step - 4 at the top, and become step b - 4 (step - 1), at least 1.
        smallest = step * math.ceil(4 - 3 / step) + 8 * step - 4
        check_images(self, images, smallest, first)
        for name, length in zip(("height", "width"), images.shape[1:3], strict=True):
            over = (length - smallest) % step
            if over:
                near = f"{length - over} or {length - over + step} ({smallest} + {step} k)"
                raise ValueError(f"UNet: {name} must be {near} with padding='valid', got {length}")


def unet(**options: Any) -> UNet:
    """The paper's, 31,030,658 parameters for one channel and two classes. Options: the attributes of ``UNet``."""
    return UNet(**options)
