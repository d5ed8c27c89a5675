"""Layers of masked convolutions."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.generative.autoregressive.causal import Rows, causal_mask, convolve_rows
from jaxnets.ops.array_types import Array, Float


class MaskedConv(nn.Module):
    """A convolution whose outputs depend on the pixels above and before, see ``causal_mask``.

    Parameters: ``kernel [h, w, C, F]``, of which the mask uses a part; ``bias [F]``.

    Attributes:
        features: F.
        window: Height and width of the kernel.
        include_center: Mask B instead of A.
        groups: Groups of channels.
        dtype: Compute dtype.
    """

    features: int
    window: Sequence[int]
    include_center: bool = True
    groups: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B rows W C"], rows: Rows) -> Float[Array, "B rows W F"]:
        """Maps ``[B, R, W, C]`` to ``[B, R, W, F]``, with the rows above from ``rows``."""
        height, width = self.window
        mask = causal_mask(self.window, x.shape[-1], self.features, self.include_center, self.groups)
        kernel = self.param("kernel", _fan_in_uniform(mask.sum(axis=(0, 1, 2)).mean()), mask.shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        above = height // 2  # the rows of the kernel below its center are masked
        used = jnp.where(mask, kernel, 0)[: above + 1].astype(self.dtype)
        x = rows.extend(x.astype(self.dtype), above) if above else x.astype(self.dtype)
        y = convolve_rows(x, used, width // 2, width // 2)
        return y + bias.astype(self.dtype)[None, None, None]


def _fan_in_uniform(fan_in: float):
    """Initializes uniformly with the variance 1 / fan_in, of the weights that the mask uses."""
    bound = (3 / max(fan_in, 1)) ** 0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)
