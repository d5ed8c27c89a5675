"""Compute and accumulation dtypes."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def at_least_float32(*dtypes: DTypeLike) -> jnp.dtype:
    """Returns float64 if one of the dtypes is float64, else float32: the dtype of sums, statistics and outputs."""
    with jax.numpy_dtype_promotion("standard"):  # "strict" does not promote between floating point dtypes
        return jnp.dtype(functools.reduce(jnp.promote_types, dtypes, jnp.float32))
