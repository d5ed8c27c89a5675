"""Linen's norms over features, which also run under strict dtype promotion.

Linen promotes bfloat16 to float32 inside, which ``jax_numpy_dtype_promotion="strict"`` refuses. Parameters, statistics
and results are Linen's.
"""

from typing import Any

import jax
from flax import linen as nn


class LayerNorm(nn.LayerNorm):
    """``flax.linen.LayerNorm`` under any mode of promotion."""

    def __call__(self, x: jax.Array, **options: Any) -> jax.Array:
        with jax.numpy_dtype_promotion("standard"):
            return super().__call__(x, **options)


class RMSNorm(nn.RMSNorm):
    """``flax.linen.RMSNorm`` under any mode of promotion."""

    def __call__(self, x: jax.Array, **options: Any) -> jax.Array:
        with jax.numpy_dtype_promotion("standard"):
            return super().__call__(x, **options)
