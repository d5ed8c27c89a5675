"""Norms that see real elements only."""

import jax
import jax.numpy as jnp

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.meshes import auto_sharded, per_element
from jaxnets.ops.norms import standardize
from jaxnets.ops.set_reductions import Validity, broadcast_to_elements, check_valid, set_sizes, set_sum, where_valid


@auto_sharded(per_element)
def set_norm(xs: jax.Array, scale: jax.Array, bias: jax.Array, valid: Validity = None) -> jax.Array:
    r"""Set norm (Zhang et al. 2022, arXiv:2206.11925): mean and variance of all numbers of a set, scale by feature.

    .. math:: \gamma_d \frac{x_{id} - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta_d, \quad
        \mu = \frac{1}{n D} \sum_{id} x_{id}, \quad \sigma^2 = \frac{1}{n D} \sum_{id} (x_{id} - \mu)^2

    Unlike the layer norm of every element it keeps how large an element is beside the others of its set.

    Args:
        xs, valid: As in ``pooling``.
        scale, bias: ``[D]``.

    Returns:
        Elements like ``xs``, zeros where not real.
    """
    valid = check_valid(xs, valid)
    elements = where_valid(xs, valid).astype(at_least_float32(xs.dtype))
    count = jnp.maximum(set_sizes(valid).astype(elements.dtype), 1) * max(xs.shape[-1], 1)
    middle = jnp.sum(set_sum(elements, valid), axis=-1, keepdims=True) / count
    centered = where_valid(elements - broadcast_to_elements(middle, valid), valid)
    variance = jnp.sum(set_sum(centered**2, valid), axis=-1, keepdims=True) / count
    return _scaled(
        centered * jax.lax.rsqrt(broadcast_to_elements(variance, valid) + 1e-5), scale, bias, valid, xs.dtype
    )


@auto_sharded(per_element)
def layer_norm(xs: jax.Array, scale: jax.Array, bias: jax.Array, valid: Validity = None) -> jax.Array:
    r"""The norm of every element's features (Ba et al. 2016, arXiv:1607.06450); otherwise ``set_norm``."""
    valid = check_valid(xs, valid)
    return _scaled(standardize(where_valid(xs, valid), 1e-5), scale, bias, valid, xs.dtype)


def _scaled(normal, scale, bias, valid, dtype):
    for name, array in (("scale", scale), ("bias", bias)):
        if array.shape not in ((), normal.shape[-1:]):
            raise ValueError(
                f"`{name}` must have shape {normal.shape[-1:]}, a number for each feature, got {array.shape}"
            )
    exact = at_least_float32(normal.dtype, scale.dtype, bias.dtype)
    scale, bias = (array.astype(exact).reshape((1,) * (normal.ndim - 1) + (-1,)) for array in (scale, bias))
    return where_valid(normal.astype(exact) * scale + bias, valid).astype(dtype)
