r"""Gaussian-likelihood pooling (GMNet, arXiv:2501.13638): how dense a set is around each of K Gaussians.

.. math:: y_k = \frac{1}{n} \sum_i \mathcal{N}(x_i; \mu_k, \Sigma_k), \quad \Sigma_k^{-1} = P_k P_k^\top
"""

import math

import jax
import jax.numpy as jnp

from jaxnets.sets.members import Members, check_members, only_real, sizes, total


def gaussians_init(key: jax.Array, features: int, count: int) -> dict[str, jax.Array]:
    """Parameters of ``gaussian_pool``: means ``[K, D]`` uniform from 0 to 1, logs ``[K, D]``, factors ``[K, D, D]``."""
    return {
        "means": jax.random.uniform(key, (count, features)),
        "logs": jnp.zeros((count, features)),
        "factors": jnp.zeros((count, features, features)),
    }


def log_likelihoods(params: dict[str, jax.Array], xs: jax.Array) -> jax.Array:
    r""":math:`\log \mathcal{N}(x; \mu_k, \Sigma_k)` of elements ``[..., D]``: ``[..., K]``.

    Args:
        params: As ``gaussians_init`` makes them: :math:`P_k` is lower triangular, ``exp(logs)`` on its diagonal and
            ``factors`` below, so that any numbers are a covariance.
        xs: ``[..., D]``.
    """
    features = xs.shape[-1]
    factors = jnp.tril(params["factors"], -1) + jnp.exp(params["logs"])[..., None] * jnp.eye(features)
    # (x - mu) P, as two products: nothing of [..., K, D, D].
    turned = jnp.einsum("...d,kde->...ke", xs, factors) - jnp.einsum("kd,kde->ke", params["means"], factors)
    constant = jnp.sum(params["logs"], axis=-1) - features / 2 * math.log(2 * math.pi)
    return constant - jnp.sum(turned**2, axis=-1) / 2


def gaussian_pool(params: dict[str, jax.Array], xs: jax.Array, members: Members = None) -> jax.Array:
    """The mean likelihood of each Gaussian.

    Args:
        params: As ``gaussians_init`` makes them.
        xs, members: As in ``pooling``.

    Returns:
        ``[*batch, K]`` or ``[S, K]``, float32, zeros for an empty set.
    """
    if params["means"].shape[-1] != xs.shape[-1]:
        raise ValueError(f"xs: {params['means'].shape[-1]} features expected; given {xs.shape}")
    members = check_members(xs, members)
    xs = only_real(xs, members).astype(jnp.promote_types(xs.dtype, jnp.float32))
    return total(jnp.exp(log_likelihoods(params, xs)), members) / jnp.maximum(sizes(members), 1)
