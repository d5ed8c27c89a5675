"""Types to compute in."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def at_least_float32(*dtypes: DTypeLike) -> jnp.dtype:
    """float32, or float64 where one of the types is that: the type of sums, statistics, carries and answers."""
    with jax.numpy_dtype_promotion("standard"):  # "strict" has no promotion from one floating point type to another
        return jnp.dtype(functools.reduce(jnp.promote_types, dtypes, jnp.float32))
