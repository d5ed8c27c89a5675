"""Pooling that Linen does not have: to a given size, and with the last window cut short."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


def adaptive_average_pool(images: jax.Array, size: int) -> jax.Array:
    """Means over windows that cover the image in ``size x size``, for an image of any size.

    Output i averages rows ``floor(i H / size)`` to ``ceil((i + 1) H / size)``; so do columns, as in torch's
    ``AdaptiveAvgPool2d``: the identity where the image has that size.

    Args:
        images: ``[B, H, W, C]``.
        size: S.

    Returns:
        ``[B, S, S, C]``.
    """
    if images.shape[1:3] == (size, size):
        return images
    wide = jnp.promote_types(images.dtype, jnp.float32)
    rows, columns = (jnp.asarray(_windows(length, size), wide) for length in images.shape[1:3])
    pooled = jnp.einsum("ih,jw,bhwc->bijc", rows, columns, images, precision="highest", preferred_element_type=wide)
    return pooled.astype(images.dtype)


def _windows(length: int, size: int) -> np.ndarray:
    """A matrix ``[size, length]`` that averages."""
    at = np.arange(size)[:, None]
    begin, end = at * length // size, -(-(at + 1) * length // size)
    inside = (np.arange(length) >= begin) & (np.arange(length) < end)
    return inside / inside.sum(1, keepdims=True)


def max_pool(images: jax.Array, window: int, stride: int, padding: int = 0, ceil: bool = False) -> jax.Array:
    """The largest value of each window ``[B, H, W, C]``, with the same padding on all sides.

    Args:
        images: ``[B, H, W, C]``.
        window: Its side.
        stride: Between windows.
        padding: On every side, with what is smaller than anything.
        ceil: Whether a last window that is cut short counts too, as in Caffe and torch's ``ceil_mode``.
    """
    pads = []
    for length in images.shape[1:3]:
        more = 0
        if ceil:
            over = (length + 2 * padding - window) % stride
            more = stride - over if over else 0
            last = (length + 2 * padding - window + more) // stride * stride
            if last >= length + padding:  # it would begin in the padding
                more = 0
        pads.append((padding, padding + more))
    return nn.max_pool(images, (window, window), (stride, stride), pads)
