"""Masks of ragged arrays."""

import chex
import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Bool, Inexact, Integer, Shaped
from jaxnets.ops.dtypes import at_least_float32

Axes = int | tuple[int, ...] | None


def valid_steps(lengths: Integer[Array, "*batch"], size: int) -> Bool[Array, "*batch T"]:
    """bool ``[*batch, size]``: True at the first n of ``size`` steps for each n of ``lengths [*batch]``, integers."""
    steps = jax.lax.broadcasted_iota(jnp.int32, (*lengths.shape, size), lengths.ndim)
    return steps < lengths.astype(jnp.int32)[..., None]


def masked_sum(values: Shaped[Array, "..."], mask: Bool[Array, "..."], axis: Axes = None) -> Inexact[Array, "..."]:
    """The sum of the values where ``mask`` is True, float32 at least; truth values count as 0 and 1.

    Args:
        values: ``[...]``, whatever they are where the mask is False.
        mask: bool, of a shape that broadcasts to that of ``values``.
        axis: What is summed over; None: all axes.
    """
    # Before the cast: jax_debug_nans stops where NaN of the padding is computed with.
    kept = jnp.where(mask, values, jnp.zeros((), values.dtype))
    return jnp.sum(kept.astype(at_least_float32(values.dtype)), axis)


def masked_mean(
    values: Shaped[Array, "*shape"], mask: Bool[Array, "*shape"], axis: Axes = None
) -> Inexact[Array, "..."]:
    """The mean of the values where ``mask`` is True, 0 where it is True nowhere; ``mask`` has the values' shape."""
    chex.assert_equal_shape([values, mask])
    total = masked_sum(values, mask, axis)
    return total / jnp.maximum(jnp.sum(mask, axis), 1).astype(total.dtype)
