"""Resizing of images: bilinear interpolation, and the transposed convolution of U-Net."""

import functools

import chex
import jax.numpy as jnp
import numpy as np

from jaxnets.convolution.convolve import on_any_mesh
from jaxnets.ops.array_types import Array, Float


def bilinear(images: Float[Array, "B H W C"], height: int, width: int) -> Float[Array, "B {height} {width} C"]:
    """Resizes images by bilinear interpolation with fixed corners, as Caffe and torch's ``align_corners=True`` do.

    Args:
        images: ``[B, H, W, C]``.
        height: Height of the result.
        width: Width of the result.

    Returns:
        ``[B, height, width, C]``.
    """
    chex.assert_rank(images, 4)
    rows, columns = (jnp.asarray(_weights(*sizes)) for sizes in zip(images.shape[1:3], (height, width), strict=True))
    einsum = functools.partial(jnp.einsum, precision="highest", preferred_element_type=jnp.float32)
    resized = einsum("ih,jw,bhwc->bijc", rows, columns, images)
    return resized.astype(images.dtype)


def _weights(length: int, size: int) -> np.ndarray:
    """Returns the interpolation matrix ``[size, length]``."""
    positions = np.arange(size) * (length - 1) / max(size - 1, 1)
    return np.maximum(1 - abs(positions[:, None] - np.arange(length)), 0).astype(np.float32)


def upsample(x: Float[Array, "B H W C"], kernel: Float[Array, "2 2 F C"]) -> Float[Array, "B out_height out_width F"]:
    r"""Computes a transposed 2 x 2 convolution with stride 2, :math:`y_{2i + a, 2j + b} = W_{ab}\, x_{ij}`.

    Args:
        x: ``[B, H, W, C]``.
        kernel: W, ``[2, 2, features, C]``, in the dtype of ``x``.

    Returns:
        ``[B, 2 H, 2 W, features]``.
    """
    batch, height, width, channels = x.shape
    features = kernel.shape[2]
    chex.assert_shape(kernel, (2, 2, features, channels))

    def upsampled(x, kernel):
        y = jnp.einsum("bhwc,yxfc->bhywxf", x, kernel)
        return y.reshape(batch, 2 * height, 2 * width, features)

    return on_any_mesh(upsampled, x, kernel)
