"""Pooling of images: over windows, to a given size, and over all of space."""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.ops.checks import check_integer
from jaxnets.ops.dtypes import at_least_float32


def adaptive_average_pool(images: jax.Array, size: int) -> jax.Array:
    """Means over windows that cover the image in ``size x size``, for an image of any size.

    Output i averages rows ``floor(i H / size)`` to ``ceil((i + 1) H / size)``; so do columns, as in torch's
    ``AdaptiveAvgPool2d``: the identity where the image has that size. A pixel that is infinite or NaN has no part in
    windows that do not hold it.

    Args:
        images: ``[B, H, W, C]``.
        size: S.

    Returns:
        ``[B, S, S, C]``, zeros where there is no pixel.

    Raises:
        ValueError: The images have other axes, or ``size`` is below 1.
    """
    _check(images, size=size)
    if images.shape[1:3] == (size, size):
        return images
    pooled = images.astype(at_least_float32(images.dtype))
    for axis in (1, 2):
        pooled = _window_means(pooled, axis, size)
    return pooled.astype(images.dtype)


def _window_means(x: jax.Array, axis: int, size: int) -> jax.Array:
    """Means over ``size`` windows that cover an axis of ``x``."""
    length = x.shape[axis]
    if length == 0:
        return jnp.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
    at = np.arange(size)
    begin, end = at * length // size, -(-(at + 1) * length // size)
    places = begin[:, None] + np.arange(max(end - begin))
    around = [d for d in range(x.ndim + 1) if d not in (axis, axis + 1)]
    inside = np.expand_dims(places < end[:, None], around)
    parts = jnp.take(x, np.minimum(places, length - 1), axis, mode="clip")
    counts = np.expand_dims(end - begin, [d for d in range(x.ndim) if d != axis])
    return jnp.sum(jnp.where(inside, parts, 0), axis + 1) / jnp.asarray(counts, x.dtype)


def max_pool(images: jax.Array, window: int, stride: int, padding: int = 0, ceil: bool = False) -> jax.Array:
    """The largest value of each window ``[B, H, W, C]``, with the same padding on all sides.

    A window that holds a NaN gives NaN.

    Args:
        images: ``[B, H, W, C]``.
        window: Its side.
        stride: Between windows.
        padding: On every side, with what is smaller than anything; at most half of the window, as in torch.
        ceil: Whether a last window that is cut short counts too, as in Caffe and torch's ``ceil_mode``.

    Returns:
        ``[B, H', W', C]``, zeros where there is no pixel.

    Raises:
        ValueError: The images have other axes, or an argument is out of range.
    """
    _check(images, window=window, stride=stride)
    if not 0 <= padding <= window // 2:
        raise ValueError(f"`padding` must be in 0 ... {window // 2}, half of `window`, got {padding}")
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
    pooled = _windows(images, -jnp.inf, lax.max, window, stride, pads)
    return pooled if images.size else jnp.zeros_like(pooled)


def average_pool(images: jax.Array, window: int, stride: int) -> jax.Array:
    """The mean of each window ``[B, H, W, C]``; what is left over at the far sides is not read."""
    _check(images, window=window, stride=stride)
    return _windows(images, 0.0, lax.add, window, stride, [(0, 0), (0, 0)]) / window**2


def global_average(x: jax.Array) -> jax.Array:
    """The mean over space, ``[B, H, W, C]`` to ``[B, C]``, accumulated in float32 at least; zeros without a pixel."""
    chex.assert_rank(x, 4)
    if 0 in x.shape[1:3]:
        return jnp.zeros((x.shape[0], x.shape[3]), x.dtype)
    return jnp.mean(x, axis=(1, 2), dtype=at_least_float32(x.dtype)).astype(x.dtype)


def _windows(
    images: jax.Array, start: float, reduce: Callable, window: int, stride: int, pads: Sequence[tuple[int, int]]
) -> jax.Array:
    """Each window of ``images [B, H, W, C]`` reduced to one number for each channel."""
    sides, steps = (1, window, window, 1), (1, stride, stride, 1)
    return lax.reduce_window(images, start, reduce, sides, steps, ((0, 0), *pads, (0, 0)))


def _check(images: jax.Array, **sizes: int) -> None:
    if jnp.ndim(images) != 4:
        raise ValueError(f"`images` must be [batch, height, width, channels], got shape {jnp.shape(images)}")
    for name, size in sizes.items():
        check_integer(name, size)
