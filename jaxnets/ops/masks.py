"""Masks of padded arrays, and masked sums and means."""

import chex
import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Bool, Inexact, Integer, Shaped
from jaxnets.ops.dtypes import at_least_float32

Axes = int | tuple[int, ...] | None


def valid_steps(lengths: Integer[Array, "*batch"], size: int) -> Bool[Array, "*batch T"]:
    """Returns the mask of padded sequences, True at the first ``lengths`` steps.

    Args:
        lengths: Integers ``[*batch]``.
        size: T, the padded length.

    Returns:
        bool ``[*batch, T]``.
    """
    steps = jax.lax.broadcasted_iota(jnp.int32, (*lengths.shape, size), lengths.ndim)
    return steps < lengths.astype(jnp.int32)[..., None]


def masked_sum(values: Shaped[Array, "..."], mask: Bool[Array, "..."], axis: Axes = None) -> Inexact[Array, "..."]:
    """Computes the sum of values where ``mask`` is True, in float32 at least; bools count as 0 and 1.

    Args:
        values: ``[...]``, ignored where the mask is False, NaN included.
        mask: bool, broadcastable to the shape of ``values``.
        axis: Axes to sum over; None: all axes.
    """
    # Select before the cast: under jax_debug_nans, a cast of NaN in the padding is an error.
    selected = jnp.where(mask, values, jnp.zeros((), values.dtype))
    return jnp.sum(selected.astype(at_least_float32(values.dtype)), axis)


def masked_mean(
    values: Shaped[Array, "*shape"], mask: Bool[Array, "*shape"], axis: Axes = None
) -> Inexact[Array, "..."]:
    """Computes the mean of values where ``mask``, of the same shape, is True; 0 if it is True nowhere."""
    chex.assert_equal_shape([values, mask])
    total = masked_sum(values, mask, axis)
    return total / jnp.maximum(jnp.sum(mask, axis), 1).astype(total.dtype)
