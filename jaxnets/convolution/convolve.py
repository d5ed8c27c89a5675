"""Convolutions as Linen's, computed in the way that is fast where they run.

XLA's CPU backend has one fast path, for the outputs of dense convolutions: a depthwise one takes twenty times as long
as its arithmetic, and the gradient of a 1 x 1 kernel ten times. Here a 1 x 1 convolution is a matrix product
everywhere, and a depthwise one on a CPU a sum of shifted images.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    rhs_dilation: Sequence[int],
    feature_group_count: int = 1,
    **options: Any,
) -> jax.Array:
    """``lax.conv_general_dilated`` of ``x [B, H, W, C]`` and ``kernel [h, w, C / groups, F]``, as Linen calls it."""
    groups, features = feature_group_count, kernel.shape[-1]
    plain: Callable = functools.partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        rhs_dilation=rhs_dilation,
        feature_group_count=groups,
        **options,
    )
    if kernel.ndim != 4 or set(options.get("lhs_dilation") or (1,)) != {1}:
        return plain(x, kernel)
    if isinstance(padding, str):
        window = [step * (side - 1) + 1 for step, side in zip(rhs_dilation, kernel.shape[:2], strict=True)]
        padding = lax.padtype_to_pads(x.shape[1:3], window, strides, padding)
    if kernel.shape[:2] == (1, 1) and groups == 1 and all(tuple(pads) == (0, 0) for pads in padding):
        x = x[:, :: strides[0], :: strides[1]]
        return jnp.matmul(x, kernel[0, 0], precision=options.get("precision"))
    if groups == x.shape[-1] == features:
        shifted = functools.partial(_depthwise, strides=strides, padding=padding, dilation=rhs_dilation)
        return lax.platform_dependent(x, kernel, cpu=shifted, default=plain)
    return plain(x, kernel)


def _depthwise(x: jax.Array, kernel: jax.Array, *, strides, padding, dilation) -> jax.Array:
    """A sum over the places of the kernel: the image shifted there, times one number for each channel."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    reach = [step * (side - 1) for step, side in zip(dilation, kernel.shape[:2], strict=True)]
    sizes = [length - far for length, far in zip(padded.shape[1:3], reach, strict=True)]  # of the unstrided output
    total = jnp.zeros((), wide)
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            top, left = row * dilation[0], column * dilation[1]
            piece = padded[:, top : top + sizes[0] : strides[0], left : left + sizes[1] : strides[1]]
            total += piece.astype(wide) * kernel[row, column, 0].astype(wide)
    return total.astype(x.dtype)


Conv = functools.partial(nn.Conv, conv_general_dilated=convolve)
