"""Norms that see real elements only."""

import jax
import jax.numpy as jnp

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.members import Members, check_members, only_real, sizes, spread, total
from jaxnets.ops.meshes import auto_sharded, per_element
from jaxnets.ops.norms import standardized


@auto_sharded(per_element)
def set_norm(xs: jax.Array, scale: jax.Array, bias: jax.Array, members: Members = None) -> jax.Array:
    r"""Set norm (Zhang et al. 2022, arXiv:2206.11925): mean and variance of all numbers of a set, scale by feature.

    .. math:: \gamma_d \frac{x_{id} - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta_d, \quad
        \mu = \frac{1}{n D} \sum_{id} x_{id}, \quad \sigma^2 = \frac{1}{n D} \sum_{id} (x_{id} - \mu)^2

    Unlike the layer norm of every element it keeps how large an element is beside the others of its set.

    Args:
        xs, members: As in ``pooling``.
        scale, bias: ``[D]``.

    Returns:
        Elements like ``xs``, zeros where not real.
    """
    members = check_members(xs, members)
    elements = only_real(xs, members).astype(at_least_float32(xs.dtype))
    count = jnp.maximum(sizes(members).astype(elements.dtype), 1) * max(xs.shape[-1], 1)
    middle = jnp.sum(total(elements, members), axis=-1, keepdims=True) / count
    centered = only_real(elements - spread(middle, members), members)
    variance = jnp.sum(total(centered**2, members), axis=-1, keepdims=True) / count
    return _scaled(centered * jax.lax.rsqrt(spread(variance, members) + 1e-5), scale, bias, members, xs.dtype)


@auto_sharded(per_element)
def layer_norm(xs: jax.Array, scale: jax.Array, bias: jax.Array, members: Members = None) -> jax.Array:
    r"""The norm of every element's features (Ba et al. 2016, arXiv:1607.06450); otherwise ``set_norm``."""
    members = check_members(xs, members)
    return _scaled(standardized(only_real(xs, members), 1e-5), scale, bias, members, xs.dtype)


def _scaled(normal, scale, bias, members, dtype):
    for name, array in (("scale", scale), ("bias", bias)):
        if array.shape not in ((), normal.shape[-1:]):
            raise ValueError(
                f"`{name}` must have shape {normal.shape[-1:]}, a number for each feature, got {array.shape}"
            )
    exact = at_least_float32(normal.dtype, scale.dtype, bias.dtype)
    scale, bias = (array.astype(exact).reshape((1,) * (normal.ndim - 1) + (-1,)) for array in (scale, bias))
    return only_real(normal.astype(exact) * scale + bias, members).astype(dtype)
