"""Masks of ragged arrays."""

import jax
import jax.numpy as jnp


def valid_steps(lengths: jax.Array, size: int) -> jax.Array:
    """bool ``[*batch, size]``: True at the first n of ``size`` steps for each n of ``lengths [*batch]``, integers."""
    steps = jax.lax.broadcasted_iota(jnp.int32, (*lengths.shape, size), lengths.ndim)
    return steps < lengths.astype(jnp.int32)[..., None]
