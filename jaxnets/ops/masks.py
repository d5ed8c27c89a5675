"""Masks of ragged arrays."""

import jax
import jax.numpy as jnp


def valid_steps(lengths: jax.Array, size: int) -> jax.Array:
    """bool ``[*batch, size]``: True at the first n of ``size`` steps for each n of ``lengths [*batch]``, integers."""
    steps = jax.lax.broadcasted_iota(jnp.int32, (*lengths.shape, size), lengths.ndim)
    return steps < lengths.astype(jnp.int32)[..., None]


def masked_sum(values: jax.Array, mask: jax.Array) -> jax.Array:
    """The sum of the values where ``mask`` is True, ``[]``; truth values count as 0 and 1, float32."""
    values = values.astype(jnp.float32) if values.dtype == jnp.bool_ else values
    return jnp.sum(jnp.where(mask, values, 0))


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """The mean of the values where ``mask`` is True, ``[]``; 0 where it is True nowhere."""
    total = masked_sum(values, mask)
    return total / jnp.maximum(jnp.sum(mask), 1).astype(total.dtype)
