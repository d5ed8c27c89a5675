"""Normalization of features."""

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.dtypes import at_least_float32


def standardize(x: Float[Array, "*batch D"], epsilon: float) -> Float[Array, "*batch D"]:
    r"""Computes :math:`(x - \mu) / \sqrt{\sigma^2 + \epsilon}` over the last axis: a layer norm without its scale.

    Args:
        x: ``[..., D]``.
        epsilon: Added to the variance.

    Returns:
        ``[..., D]``, float32 at least.
    """
    x = x.astype(at_least_float32(x.dtype))
    count = max(x.shape[-1], 1)
    centered = x - jnp.sum(x, axis=-1, keepdims=True) / count
    variance = jnp.sum(centered**2, axis=-1, keepdims=True) / count
    return centered * jax.lax.rsqrt(variance + epsilon)
