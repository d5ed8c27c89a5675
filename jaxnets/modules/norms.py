"""Normalization layers of Linen that also run under strict dtype promotion.

Linen promotes bfloat16 to float32 internally, which ``jax_numpy_dtype_promotion="strict"`` refuses. Parameters,
statistics and results equal Linen's.
"""

from typing import Any

import jax
from flax import linen as nn

from jaxnets.ops.array_types import Array, Float


class LayerNorm(nn.LayerNorm):
    """``flax.linen.LayerNorm`` under any dtype promotion mode."""

    def __call__(self, x: Float[Array, "*shape"], **options: Any) -> Float[Array, "*shape"]:
        with jax.numpy_dtype_promotion("standard"):
            return super().__call__(x, **options)


class RMSNorm(nn.RMSNorm):
    """``flax.linen.RMSNorm`` under any dtype promotion mode."""

    def __call__(self, x: Float[Array, "*shape"], **options: Any) -> Float[Array, "*shape"]:
        with jax.numpy_dtype_promotion("standard"):
            return super().__call__(x, **options)


class GroupNorm(nn.GroupNorm):
    """``flax.linen.GroupNorm`` under any dtype promotion mode."""

    def __call__(self, x: Float[Array, "*shape"], **options: Any) -> Float[Array, "*shape"]:
        with jax.numpy_dtype_promotion("standard"):
            return super().__call__(x, **options)
