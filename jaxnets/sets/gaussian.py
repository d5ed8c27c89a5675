r"""Gaussian-likelihood pooling (GMNet, arXiv:2501.13638): how dense a set is around each of K Gaussians.

.. math:: y_k = \frac{1}{n} \sum_i \mathcal{N}(x_i; \mu_k, \Sigma_k), \quad \Sigma_k^{-1} = P_k P_k^\top
"""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.meshes import auto_sharded, per_set
from jaxnets.ops.set_reductions import Validity, check_valid, set_mean, where_valid


def gaussians_init(key: jax.Array, features: int, num_components: int) -> dict[str, jax.Array]:
    """Parameters of ``gaussian_pool``: means ``[K, D]`` uniform from 0 to 1, logs ``[K, D]``, factors ``[K, D, D]``."""
    return {
        "means": jax.random.uniform(key, (num_components, features), jnp.float32),
        "logs": jnp.zeros((num_components, features), jnp.float32),
        "factors": jnp.zeros((num_components, features, features), jnp.float32),
    }


def log_likelihoods(params: dict[str, jax.Array], xs: jax.Array) -> jax.Array:
    r""":math:`\log \mathcal{N}(x; \mu_k, \Sigma_k)` of elements ``[..., D]``: ``[..., K]``.

    Minus infinity for an infinite element, NaN for one with a NaN.

    Args:
        params: As ``gaussians_init`` makes them: :math:`P_k` is lower triangular, ``exp(logs)`` on its diagonal and
            ``factors`` below, so that any numbers are a covariance.
        xs: ``[..., D]``.
    """
    features = xs.shape[-1]
    chex.assert_equal_shape([params["means"], params["logs"]])
    chex.assert_shape(params["factors"], (None, features, features))
    dtype = functools.reduce(np.promote_types, [array.dtype for array in params.values()], xs.dtype)
    xs, params = xs.astype(dtype), jax.tree.map(lambda array: array.astype(dtype), params)
    diagonal = jnp.exp(params["logs"])[..., None] * jnp.eye(features, dtype=dtype)[None]
    factors = jnp.tril(params["factors"], -1) + diagonal
    # (x - mu) P, as two products: nothing of [..., K, D, D].
    infinite = jnp.isinf(xs)
    turned = jnp.einsum("...d,kde->...ke", jnp.where(infinite, 0, xs), factors)
    turned -= _first_axes(jnp.einsum("kd,kde->ke", params["means"], factors), turned.ndim)
    constant = jnp.sum(params["logs"], axis=-1) - features / 2 * math.log(2 * math.pi)
    found = _first_axes(constant, xs.ndim) - jnp.sum(turned**2, axis=-1) / 2
    # No product of infinities: with the zeros of P they would be NaN.
    beyond = jnp.any(infinite, axis=-1, keepdims=True) & ~jnp.isnan(found)
    return jnp.where(beyond, -np.inf, found)


@auto_sharded(per_set)
def gaussian_pool(params: dict[str, jax.Array], xs: jax.Array, valid: Validity = None) -> jax.Array:
    """The mean likelihood of each Gaussian.

    Args:
        params: As ``gaussians_init`` makes them.
        xs, valid: As in ``pooling``.

    Returns:
        ``[*batch, K]`` or ``[S, K]``, float32, zeros for an empty set.
    """
    if params["means"].shape[-1] != xs.shape[-1]:
        raise ValueError(f"`xs` must have {params['means'].shape[-1]} features, got shape {xs.shape}")
    valid = check_valid(xs, valid)
    xs = where_valid(xs, valid).astype(at_least_float32(xs.dtype))
    return set_mean(jnp.exp(log_likelihoods(params, xs)), valid)


def _first_axes(array: jax.Array, rank: int) -> jax.Array:
    """An array with axes of size 1 in front, up to a rank."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape)
