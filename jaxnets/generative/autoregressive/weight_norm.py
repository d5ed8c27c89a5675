"""Layers with weight normalization and data-dependent initialization (Salimans and Kingma 2016, arXiv:1602.07868)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.generative.autoregressive.causal import convolve_rows
from jaxnets.ops.array_types import Array, Float

MIN_VARIANCE = 1e-8


class WeightNormConv(nn.Module):
    r"""A convolution with the kernel :math:`g\, V / |V|`, over rows without padding in height.

    At initialization, g and b give outputs of mean 0 and standard deviation ``init_scale`` for the batch at hand.

    Parameters: ``direction`` V, ``[h, w, C, F]``; ``scale`` g and ``bias`` b, ``[F]``.

    Attributes:
        features: F.
        window: Height and width of the kernel.
        left, right: Columns of padding with zeros.
        stride: Stride along both axes.
        transposed: Whether the convolution is transposed, with stride 2: twice the rows and columns.
        init_scale: Standard deviation of the first outputs.
        dtype: Compute dtype.
    """

    features: int
    window: Sequence[int] = (1, 1)
    left: int = 0
    right: int = 0
    stride: int = 1
    transposed: bool = False
    init_scale: float = 1.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B rows W C"]) -> Float[Array, "B out_rows out_width F"]:
        """Maps ``[B, R, W, C]`` to ``[B, R', W', F]``."""
        shape = (*self.window, x.shape[-1], self.features)
        direction = self.param("direction", nn.initializers.normal(0.05), shape, jnp.float32)
        norm = jnp.sqrt(jnp.sum(direction**2, axis=(0, 1, 2)))
        kernel = (direction / norm[None, None, None]).astype(self.dtype)
        x = x.astype(self.dtype)
        convolve = lambda x: convolve_rows(x, kernel, self.left, self.right, self.stride)
        y = double_size(x, kernel) if self.transposed else convolve(x)
        scale = self.param("scale", lambda _: _standardizing(y, self.init_scale)[0])
        bias = self.param("bias", lambda _: _standardizing(y, self.init_scale)[1])
        return y * scale.astype(self.dtype)[None, None, None] + bias.astype(self.dtype)[None, None, None]


def _standardizing(y: jax.Array, std: float) -> tuple[Float[Array, " F"], Float[Array, " F"]]:
    """Returns the scale and the bias, float32, with which features have the mean 0 and a standard deviation."""
    wide = y.astype(jnp.float32)
    scale = std / jnp.sqrt(jnp.var(wide, axis=(0, 1, 2)) + MIN_VARIANCE)
    return scale, -jnp.mean(wide, axis=(0, 1, 2)) * scale


def double_size(x: Float[Array, "B rows W C"], kernel: Float[Array, "2 w C F"]) -> Float[Array, "B more_rows more W F"]:
    """Computes a transposed convolution with stride 2 that doubles height and width.

    Two output rows depend on one input row. With a width of 2, two output columns depend on one input column; with 3,
    odd output columns also depend on the next input column.

    Args:
        x: ``[B, R, W, C]``.
        kernel: ``[2, w, C, F]``, w 2 or 3.

    Returns:
        ``[B, 2 R, 2 W, F]``.
    """
    y = jnp.einsum("brwc,ijcf->briwjf", x, kernel)
    if kernel.shape[1] == 3:  # columns 2 c - 1, 2 c and 2 c + 1 of the output, by the kernel's columns
        following = jnp.pad(y[:, :, :, 1:, 0], ((0, 0), (0, 0), (0, 0), (0, 1), (0, 0)))
        y = jnp.stack([y[..., 1, :], y[..., 2, :] + following], axis=4)
    batch, rows, height, columns, width, features = y.shape
    return y.reshape(batch, rows * height, columns * width, features)
