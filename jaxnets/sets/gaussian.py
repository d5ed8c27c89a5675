r"""Pooling by Gaussian likelihoods (GMNet, arXiv:2501.13638): the mean density of K Gaussians over a set.

.. math:: y_k = \frac{1}{n} \sum_i \mathcal{N}(x_i; \mu_k, \Sigma_k), \quad \Sigma_k^{-1} = P_k P_k^\top
"""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.array_types import Array, Float, Key
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.meshes import auto_sharded, per_set
from jaxnets.ops.set_reductions import Validity, check_valid, set_mean, where_valid


def gaussians_init(key: Key[Array, ""], features: int, num_components: int) -> dict[str, jax.Array]:
    """Initializes the parameters of ``gaussian_pool``.

    Returns:
        ``means [K, D]``, uniform in [0, 1]; ``logs [K, D]`` and ``factors [K, D, D]``, zeros (unit covariances).
    """
    return {
        "means": jax.random.uniform(key, (num_components, features), jnp.float32),
        "logs": jnp.zeros((num_components, features), jnp.float32),
        "factors": jnp.zeros((num_components, features, features), jnp.float32),
    }


def log_likelihoods(params: dict[str, jax.Array], xs: Float[Array, "*batch D"]) -> Float[Array, "*batch K"]:
    r"""Computes :math:`\log \mathcal{N}(x; \mu_k, \Sigma_k)`.

    Args:
        params: As from ``gaussians_init``. :math:`P_k` is lower triangular with ``exp(logs)`` on its diagonal and
            ``factors`` below it, so any parameters define a covariance.
        xs: Elements ``[..., D]``.

    Returns:
        ``[..., K]``; minus infinity for an infinite element, NaN for an element with a NaN.
    """
    features = xs.shape[-1]
    chex.assert_equal_shape([params["means"], params["logs"]])
    chex.assert_shape(params["factors"], (None, features, features))
    dtype = functools.reduce(np.promote_types, [array.dtype for array in params.values()], xs.dtype)
    xs, params = xs.astype(dtype), jax.tree.map(lambda array: array.astype(dtype), params)
    diagonal = jnp.exp(params["logs"])[..., None] * jnp.eye(features, dtype=dtype)[None]
    factors = jnp.tril(params["factors"], -1) + diagonal
    # (x - mu) P as two products, which avoids an array [..., K, D, D].
    infinite = jnp.isinf(xs)
    projected = jnp.einsum("...d,kde->...ke", jnp.where(infinite, 0, xs), factors)
    projected -= _prepend_axes(jnp.einsum("kd,kde->ke", params["means"], factors), projected.ndim)
    constant = jnp.sum(params["logs"], axis=-1) - features / 2 * math.log(2 * math.pi)
    logs = _prepend_axes(constant, xs.ndim) - jnp.sum(projected**2, axis=-1) / 2
    # Infinities are excluded above, because their products with the zeros of P are NaN.
    is_infinite = jnp.any(infinite, axis=-1, keepdims=True) & ~jnp.isnan(logs)
    return jnp.where(is_infinite, -np.inf, logs)


@auto_sharded(per_set)
def gaussian_pool(
    params: dict[str, jax.Array], xs: Float[Array, "*batch N D"], valid: Validity = None
) -> Float[Array, "*sets K"]:
    """Computes the mean likelihood of each Gaussian over a set.

    Args:
        params: As from ``gaussians_init``.
        xs, valid: As in ``pooling``.

    Returns:
        ``[*batch, K]`` or ``[S, K]``, float32, zeros for an empty set.
    """
    if params["means"].shape[-1] != xs.shape[-1]:
        raise ValueError(f"`xs` must have {params['means'].shape[-1]} features, got shape {xs.shape}")
    valid = check_valid(xs, valid)
    xs = where_valid(xs, valid).astype(at_least_float32(xs.dtype))
    return set_mean(jnp.exp(log_likelihoods(params, xs)), valid)


def _prepend_axes(array: jax.Array, rank: int) -> jax.Array:
    """Prepends axes of size 1 up to a rank."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape)
