"""Norms of features."""

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.dtypes import at_least_float32


def standardized(x: Float[Array, "*batch D"], epsilon: float) -> Float[Array, "*batch D"]:
    r""":math:`(x - \mu) / \sqrt{\sigma^2 + \epsilon}` over the last axis, as layer norms have it before their scale.

    Args:
        x: ``[..., D]``.
        epsilon: As above.

    Returns:
        ``[..., D]``, float32 at least.
    """
    x = x.astype(at_least_float32(x.dtype))
    count = max(x.shape[-1], 1)
    centered = x - jnp.sum(x, axis=-1, keepdims=True) / count
    variance = jnp.sum(centered**2, axis=-1, keepdims=True) / count
    return centered * jax.lax.rsqrt(variance + epsilon)
