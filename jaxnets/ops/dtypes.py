"""Types to compute in."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def at_least_float32(dtype: DTypeLike) -> jnp.dtype:
    """float32, or ``dtype`` where that is wider: the type of sums, statistics and answers."""
    with jax.numpy_dtype_promotion("standard"):  # "strict" has no promotion from one floating point type to another
        return jnp.promote_types(dtype, jnp.float32)
