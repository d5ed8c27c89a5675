"""Pooling of images: over windows, to a given size, and over all pixels."""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_integer
from jaxnets.ops.dtypes import at_least_float32


def adaptive_average_pool(images: Float[Array, "B H W C"], size: int) -> Float[Array, "B {size} {size} C"]:
    """Computes average pooling of images of any size to ``size x size`` windows.

    Output row i averages input rows ``floor(i H / size)`` to ``ceil((i + 1) H / size)``, and columns likewise, as in
    torch's ``AdaptiveAvgPool2d``. It is the identity if the images have the given size. An infinite or NaN pixel
    affects only the windows that contain it.

    Args:
        images: ``[B, H, W, C]``.
        size: Height and width S of the result.

    Returns:
        ``[B, S, S, C]``; zeros if H or W is 0.

    Raises:
        ValueError: If the images do not have four axes, or if ``size`` is below 1.
    """
    _check(images, size=size)
    if images.shape[1:3] == (size, size):
        return images
    pooled = images.astype(at_least_float32(images.dtype))
    for axis in (1, 2):
        pooled = _window_means(pooled, axis, size)
    return pooled.astype(images.dtype)


def _window_means(x: jax.Array, axis: int, size: int) -> jax.Array:
    """Returns the means of ``size`` windows that cover an axis of ``x``."""
    length = x.shape[axis]
    if length == 0:
        return jnp.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
    window = np.arange(size)
    start, end = window * length // size, -(-(window + 1) * length // size)
    indices = start[:, None] + np.arange(max(end - start))
    other_axes = [d for d in range(x.ndim + 1) if d not in (axis, axis + 1)]
    inside = np.expand_dims(indices < end[:, None], other_axes)
    values = jnp.take(x, np.minimum(indices, length - 1), axis, mode="clip")
    counts = np.expand_dims(end - start, [d for d in range(x.ndim) if d != axis])
    return jnp.sum(jnp.where(inside, values, 0), axis + 1) / jnp.asarray(counts, x.dtype)


def max_pool(
    images: Float[Array, "B H W C"], window: int, stride: int, padding: int = 0, ceil: bool = False
) -> Float[Array, "B out_height out_width C"]:
    """Computes max pooling over square windows, with symmetric padding.

    The maximum of a window with a NaN is NaN.

    Args:
        images: ``[B, H, W, C]``.
        window: Height and width of the window.
        stride: Stride between windows.
        padding: Padding with minus infinity on all sides; at most half of the window, as in torch.
        ceil: Whether to round the size of the result up, as in Caffe and torch's ``ceil_mode``.

    Returns:
        ``[B, H', W', C]``; zeros if H or W is 0.

    Raises:
        ValueError: If the images do not have four axes, or if an argument is out of range.
    """
    _check(images, window=window, stride=stride)
    if not 0 <= padding <= window // 2:
        raise ValueError(f"`padding` must be from 0 to {window // 2}, half of `window`, got {padding}")
    pads = []
    for length in images.shape[1:3]:
        extra = 0
        if ceil:
            remainder = (length + 2 * padding - window) % stride
            extra = stride - remainder if remainder else 0
            last_start = (length + 2 * padding - window + extra) // stride * stride
            if last_start >= length + padding:  # the last window would hold padding only
                extra = 0
        pads.append((padding, padding + extra))
    pooled = _reduce_windows(images, -jnp.inf, lax.max, window, stride, pads)
    return pooled if images.size else jnp.zeros_like(pooled)


def average_pool(images: Float[Array, "B H W C"], window: int, stride: int) -> Float[Array, "B out_height out_width C"]:
    """Computes average pooling of ``[B, H, W, C]`` over square windows, without padding."""
    _check(images, window=window, stride=stride)
    return _reduce_windows(images, 0.0, lax.add, window, stride, [(0, 0), (0, 0)]) / window**2


def global_average(x: Float[Array, "B H W C"]) -> Float[Array, "B C"]:
    """Computes the mean over all pixels, accumulated in at least float32; zeros if H or W is 0."""
    chex.assert_rank(x, 4)
    if 0 in x.shape[1:3]:
        return jnp.zeros((x.shape[0], x.shape[3]), x.dtype)
    return jnp.mean(x, axis=(1, 2), dtype=at_least_float32(x.dtype)).astype(x.dtype)


def _reduce_windows(
    images: jax.Array, init: float, reduce: Callable, window: int, stride: int, pads: Sequence[tuple[int, int]]
) -> jax.Array:
    """Reduces each window of ``images [B, H, W, C]`` to one value for each channel."""
    window_shape, strides = (1, window, window, 1), (1, stride, stride, 1)
    return lax.reduce_window(images, init, reduce, window_shape, strides, ((0, 0), *pads, (0, 0)))


def _check(images: jax.Array, **sizes: int) -> None:
    if jnp.ndim(images) != 4:
        raise ValueError(f"`images` must be [batch, height, width, channels], got shape {jnp.shape(images)}")
    for name, size in sizes.items():
        check_integer(name, size)
