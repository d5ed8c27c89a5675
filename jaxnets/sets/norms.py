"""Norms that see real elements only."""

import jax
import jax.numpy as jnp

from jaxnets.sets.members import Members, check_members, only_real, sizes, spread, total


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
    wide = only_real(xs, members).astype(jnp.promote_types(xs.dtype, jnp.float32))
    count = jnp.maximum(sizes(members), 1) * xs.shape[-1]
    mean = jnp.sum(total(wide, members), axis=-1, keepdims=True) / count
    centred = only_real(wide - spread(mean, members), members)
    variance = jnp.sum(total(centred**2, members), axis=-1, keepdims=True) / count
    return _scaled(centred * jax.lax.rsqrt(spread(variance, members) + 1e-5), scale, bias, members, xs.dtype)


def layer_norm(xs: jax.Array, scale: jax.Array, bias: jax.Array, members: Members = None) -> jax.Array:
    r"""The norm of every element's features (Ba et al. 2016, arXiv:1607.06450); otherwise ``set_norm``."""
    members = check_members(xs, members)
    wide = only_real(xs, members).astype(jnp.promote_types(xs.dtype, jnp.float32))
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    return _scaled(centred * jax.lax.rsqrt(variance + 1e-5), scale, bias, members, xs.dtype)


def _scaled(normal, scale, bias, members, dtype):
    return only_real(normal * scale + bias, members).astype(dtype)
