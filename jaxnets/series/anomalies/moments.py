"""Running moments of vectors, and Mahalanobis distances."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Bool, Float

RIDGE = 1e-4  # added to the variance of each number, relative to it
MIN_VARIANCE = 1e-12


class Moments(NamedTuple):
    """Weighted moments of vectors of dimension D.

    Attributes:
        weight: The sum of the weights, a scalar; 0 before the first vector.
        mean: ``[D]``.
        covariance: ``[D, D]``.
    """

    weight: Float[Array, ""]
    mean: Float[Array, " D"]
    covariance: Float[Array, "D D"]


def initial_moments(size: int) -> Moments:
    """Returns the moments before the first vector: mean 0 and covariance I."""
    return Moments(jnp.zeros((), jnp.float32), jnp.zeros(size, jnp.float32), jnp.eye(size, dtype=jnp.float32))


def updated_moments(moments: Moments, rows: Float[Array, "N D"], mask: Bool[Array, " N"], decay: float) -> Moments:
    r"""Adds vectors to moments whose weight decays (Chan, Golub and LeVeque 1983).

    With n vectors of mean m and covariance S, and the decayed weight v:

    .. math::
        w = v + n, \quad \mu' = \mu + \tfrac{n}{w} (m - \mu), \quad
        \Sigma' = \tfrac{v}{w} \Sigma + \tfrac{n}{w} S + \tfrac{v n}{w^2} (m - \mu)(m - \mu)^\top

    With a decay of 1 these are the moments of all vectors.

    Args:
        moments: The moments so far.
        rows: ``[N, D]``.
        mask: bool ``[N]``, False for rows to ignore, NaN included. Without a row the moments stay as they are.
        decay: The factor of the weight, v = decay * weight.
    """
    dtype = moments.mean.dtype
    known = mask[:, None]
    values = jnp.where(known, rows, jnp.zeros((), rows.dtype)).astype(dtype)
    count = jnp.sum(mask, dtype=dtype)
    mean = jnp.sum(values, axis=0) / jnp.maximum(count, 1)
    centered = jnp.where(known, values - mean[None], 0)
    covariance = jnp.matmul(centered.T, centered, precision="highest") / jnp.maximum(count, 1)
    old = decay * moments.weight
    total = old + count
    share = count / jnp.where(total > 0, total, 1)
    delta = mean - moments.mean
    between = share * (1 - share) * delta[:, None] * delta[None, :]
    new = Moments(
        total,
        moments.mean + share * delta,
        (1 - share) * moments.covariance + share * covariance + between,
    )
    return jax.tree.map(lambda a, b: jnp.where(count > 0, a, b), new, moments)


def squared_mahalanobis(
    rows: Float[Array, "*batch D"], moments: Moments, ridge: float = RIDGE
) -> Float[Array, "*batch"]:
    r"""Computes squared Mahalanobis distances, :math:`(z - \mu)^\top \tilde\Sigma^{-1} (z - \mu)`.

    :math:`\tilde\Sigma` is the covariance with a diagonal that is increased by the fraction ``ridge``, and by
    ``MIN_VARIANCE``, so that it is not singular.

    Args:
        rows: z, ``[*batch, D]``.
        moments: The moments.
        ridge: The fraction; more for a covariance of few rows.
    """
    variances = jnp.diagonal(moments.covariance)
    scale = jnp.sqrt(variances + MIN_VARIANCE)
    correlation = moments.covariance / (scale[:, None] * scale[None, :])
    unit = jnp.eye(len(scale), dtype=scale.dtype)
    factor = jnp.linalg.cholesky(jnp.where(unit > 0, 1 + ridge, correlation))
    whitening = jax.scipy.linalg.solve_triangular(factor, unit, lower=True)
    center = jnp.broadcast_to(moments.mean, rows.shape)
    standardized = (rows.astype(scale.dtype) - center) / jnp.broadcast_to(scale, rows.shape)
    return jnp.sum(jnp.matmul(standardized, whitening.T, precision="highest") ** 2, axis=-1)
