"""Causal convolutions in raster order: masks of kernels, and rows that continue earlier rows."""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.convolution import convolve
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_divisor

AXES = ("NHWC", "HWIO", "NHWC")


def causal_mask(
    window: Sequence[int], in_channels: int, out_channels: int, include_center: bool, groups: int = 1
) -> np.ndarray:
    """Returns the mask of a kernel that sees the rows above its center, and the pixels before it in its row.

    Channels are divided into equal groups in order, such as red, green and blue. At the center, an output of group g
    sees inputs of groups before g (mask A), and with ``include_center`` also those of group g (mask B). See van den
    Oord et al. 2016 (arXiv:1601.06759).

    Args:
        window: Height and width of the kernel, both odd.
        in_channels, out_channels: C and F, multiples of ``groups``.
        include_center: Mask B instead of A.
        groups: Groups of channels.

    Returns:
        bool ``[h, w, C, F]``; True: the weight is used.

    Raises:
        ValueError: The window is even, or ``groups`` is not a divisor of the channels.
    """
    height, width = window
    if not height % 2 or not width % 2:
        raise ValueError(f"`window` must have an odd height and width, got {height} x {width}")
    check_divisor("groups", groups, "in_channels", in_channels)
    check_divisor("groups", groups, "out_channels", out_channels)
    mask = np.zeros((height, width, in_channels, out_channels), bool)
    mask[: height // 2] = True
    mask[height // 2, : width // 2] = True
    group_in, group_out = (np.arange(count) * groups // count for count in (in_channels, out_channels))
    before = group_in[:, None] < group_out[None, :]
    mask[height // 2, width // 2] = before | (group_in[:, None] == group_out[None, :]) if include_center else before
    return mask


class Rows:
    """The last rows of all inputs of a network's layers, so that the next rows of images continue the earlier ones.

    A network calls ``extend`` in each layer that sees rows above, always in the same order. Without earlier rows there
    is padding with zeros: whole images are one block of rows. The results for all rows of an image, in blocks, equal
    those of the whole image.

    Attributes:
        last: The rows to begin the next block with, ``[B, count, W, C]`` for each layer so far.
    """

    def __init__(self, before: Iterable[jax.Array] | None = None):
        """Begins with ``last`` of the previous block, or with zeros."""
        self._before = None if before is None else iter(before)
        self.last: list[jax.Array] = []

    def extend(self, x: Float[Array, "B rows W C"], count: int) -> Float[Array, "B more_rows W C"]:
        """Prepends the last ``count`` rows of the previous block: ``[B, R, W, C]`` to ``[B, count + R, W, C]``."""
        if self._before is None:
            above = jnp.zeros_like(x[:, :1], shape=(len(x), count, *x.shape[2:]))
        else:
            above = next(self._before).astype(x.dtype)
        extended = jnp.concatenate([above, x], axis=1)
        self.last.append(extended[:, extended.shape[1] - count :])
        return extended

    def shift_down(self, x: Float[Array, "B rows W C"]) -> Float[Array, "B rows W C"]:
        """Shifts an image down by one row."""
        return self.extend(x, 1)[:, :-1]


def convolve_rows(
    x: Float[Array, "B rows W C"],
    kernel: Float[Array, "h w C F"],
    left: int,
    right: int,
    stride: int = 1,
) -> Float[Array, "B out_rows out_width F"]:
    """Convolves rows without padding in height, and with zeros to the left and to the right.

    Args:
        x: ``[B, R, W, C]``, such as the result of ``Rows.extend``.
        kernel: ``[h, w, C, F]``, in the dtype of ``x``.
        left, right: Columns of padding.
        stride: Stride along both axes.

    Returns:
        ``[B, (R - h) // stride + 1, (W + left + right - w) // stride + 1, F]``.
    """
    return convolve(x, kernel, (stride, stride), [(0, 0), (left, right)], rhs_dilation=(1, 1), dimension_numbers=AXES)


def shift_right(x: Float[Array, "B rows W C"]) -> Float[Array, "B rows W C"]:
    """Shifts an image to the right by one column."""
    return jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
