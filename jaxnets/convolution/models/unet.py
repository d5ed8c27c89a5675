"""U-Net (Ronneberger, Fischer and Brox 2015, arXiv:1505.04597) for semantic segmentation."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.blocks import HE_IN  # as in the paper: standard deviation sqrt(2 / fan_in)
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import max_pool
from jaxnets.convolution.resizing import upsample
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_choice, check_depth, check_integer
from jaxnets.ops.dtypes import at_least_float32


class UpConvolution(nn.Module):
    r"""A transposed 2 x 2 convolution with stride 2, which doubles height and width.

    .. math::
        y_{2i + a, 2j + b} = W_{ab}\, x_{ij} + \mathrm{bias}

    Parameters: ``kernel [2, 2, features, C]``, which is the kernel of torch with its axes reversed like those of other
    convolutions, and ``bias [features]``.

    Attributes:
        features: Output channels.
        dtype: Compute dtype.
    """

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B out_height out_width features"]:
        """Maps ``[B, H, W, C]`` to ``[B, 2 H, 2 W, features]``."""
        init = nn.initializers.variance_scaling(2.0, "fan_in", "normal", in_axis=3, out_axis=2, batch_axis=(0, 1))
        kernel = self.param("kernel", init, (2, 2, self.features, x.shape[-1]), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        return upsample(x, kernel) + bias[None, None, None]


class TwoConvolutions(nn.Module):
    """Two 3 x 3 convolutions, each with ReLU, and optionally with batch normalization instead of a bias.

    Parameters: ``conv_1``, ``conv_2``; ``norm_1``, ``norm_2``.

    Attributes:
        features: Output channels.
        padding: Padding of each convolution; with 0, the output is 4 pixels smaller than the input.
        batch_norm: Whether to use batch normalization.
        dtype: Compute dtype.
    """

    features: int
    padding: int = 0
    batch_norm: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], train: bool = False
    ) -> Float[Array, "B out_height out_width features"]:
        """Maps ``[B, H, W, C]`` to ``[B, H', W', features]``."""
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
    """U-Net: a contracting path with max pooling, and an expanding path with transposed convolutions.

    Skip connections concatenate the features of the contracting path to those of the expanding path, at each
    resolution.

    With ``padding="valid"``, as in the paper, the logits do not depend on padding and cover a smaller area than the
    image: 572 x 572 gives 388 x 388. Each pooling must have an even input; for any other image size, the error states
    the nearest valid ones. With ``padding="same"``, the logits have the size of the image, and any size is valid.

    Activations, in order: ``down_1`` to ``down_<depth - 1>``, ``bottom``, ``up_<depth - 1>`` to ``up_1``,
    ``logits``.
    Parameters: ``down_<i>``, ``bottom``, ``up_<i>`` of ``TwoConvolutions``; ``upconv_<i>``; ``head`` (1 x 1).

    Attributes:
        num_classes: Classes of a pixel; 0: no head, the output is ``up_1``.
        depth: Resolutions, one more than poolings; 5 in the paper.
        width: Channels at the full resolution; each lower resolution has twice as many.
        padding: ``"valid"`` or ``"same"``.
        batch_norm: Whether to use batch normalization.
        dropout: Dropout rate at the lowest resolution.
        dtype: Compute dtype; logits are at least float32.
    """

    num_classes: int = 2
    depth: int = 5
    width: int = 64
    padding: str = "valid"
    batch_norm: bool = False
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    def activations(self, images: Float[Array, "B H W C"], train: bool) -> dict[str, Float[Array, "B ..."]]:
        """Returns the activations for images ``[B, H, W, C]``; the logits are ``[B, H', W', num_classes]``."""
        self._check(images)
        activations = {}
        x = images
        for i in range(1, self.depth):
            activations[f"down_{i}"] = self._two_convolutions(i, f"down_{i}")(x, train)
            x = max_pool(activations[f"down_{i}"], 2, 2)
        x = self._two_convolutions(self.depth, "bottom")(x, train)
        activations["bottom"] = x = Dropout(self.dropout, deterministic=not train)(x)
        for i in reversed(range(1, self.depth)):
            x = UpConvolution(self.width * 2 ** (i - 1), self.dtype, name=f"upconv_{i}")(x)
            x = self._concatenate(activations[f"down_{i}"], x)
            activations[f"up_{i}"] = x = self._two_convolutions(i, f"up_{i}")(x, train)
        if self.num_classes:
            dtype = at_least_float32(self.dtype)
            activations["logits"] = Conv(self.num_classes, (1, 1), kernel_init=HE_IN, dtype=dtype, name="head")(x)
        return activations

    def _two_convolutions(self, level: int, name: str) -> TwoConvolutions:
        padding = int(self.padding == "same")
        return TwoConvolutions(self.width * 2 ** (level - 1), padding, self.batch_norm, self.dtype, name=name)

    def _concatenate(self, skip: jax.Array, x: jax.Array) -> jax.Array:
        """Concatenates a skip connection and upsampled features, cropped or padded to the same size."""
        height, width = (a - b for a, b in zip(skip.shape[1:3], x.shape[1:3], strict=True))
        if self.padding == "same":  # pooling rounds an odd size down
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
        first_layer = ("down_1" if self.depth > 1 else "bottom", "conv_1")
        if self.padding == "same":
            check_images(self, images, step, first_layer)
            return
        # b pixels at the lowest resolution need step b + 8 step - 4 pixels of the image and give step b - 4 (step - 1)
        # pixels of the output, which must be at least 1.
        min_size = step * math.ceil(4 - 3 / step) + 8 * step - 4
        check_images(self, images, min_size, first_layer)
        for name, length in zip(("height", "width"), images.shape[1:3], strict=True):
            remainder = (length - min_size) % step
            if remainder:
                nearest = f"{length - remainder} or {length - remainder + step} ({min_size} + {step} k)"
                raise ValueError(f"UNet: the {name} of `images` must be {nearest} with padding='valid', got {length}")


def unet(**options: Any) -> UNet:
    """U-Net of the paper, 31,030,658 parameters for one channel and two classes. Options: attributes of ``UNet``."""
    return UNet(**options)
