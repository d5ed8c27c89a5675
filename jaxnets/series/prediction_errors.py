"""Errors of predictions at every step, their running mean and covariance, and Mahalanobis distances."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Bool, Float
from jaxnets.ops.checks import check_integer

RIDGE = 1e-4  # added to the variance of each error, relative to it
MIN_VARIANCE = 1e-12  # of an error, in squared units of the series


class ErrorMoments(NamedTuple):
    """Weighted moments of error vectors of dimension D.

    Attributes:
        weight: The sum of the weights, a scalar; 0 before the first error.
        mean: ``[D]``.
        covariance: ``[D, D]``.
    """

    weight: Float[Array, ""]
    mean: Float[Array, " D"]
    covariance: Float[Array, "D D"]


def initial_moments(size: int) -> ErrorMoments:
    """Returns the moments before the first error: mean 0 and covariance I."""
    return ErrorMoments(jnp.zeros((), jnp.float32), jnp.zeros(size, jnp.float32), jnp.eye(size, dtype=jnp.float32))


def prediction_errors(
    xs: Float[Array, "B T C"], predictions: Float[Array, "B T l C"], steps: int
) -> Float[Array, "B {steps} l C"]:
    r"""Computes the errors of all l predictions of each of the last steps:

    .. math:: e_{tk} = x_t - \hat x_{t \mid t-k}, \quad k = 1, \dots, l

    where :math:`\hat x_{t \mid t-k}` was predicted at the step t - k (Malhotra et al. 2015).

    Args:
        xs: ``[B, T, C]``.
        predictions: ``[B, T, l, C]``; ``[:, t, k - 1]`` is the prediction of ``xs[:, t + k]``.
        steps: The number of last steps, at most T - l.

    Raises:
        ValueError: If there are fewer than ``steps + l`` steps.
    """
    check_integer("steps", steps)
    length, ahead = predictions.shape[1:3]
    first = length - steps
    if first < ahead:
        raise ValueError(
            f"`xs` must have at least {steps + ahead} steps, {ahead} before the last {steps}, got {length}"
        )
    of = [predictions[:, first - k : length - k, k - 1] for k in range(1, ahead + 1)]
    aligned = jnp.stack(of, axis=2)
    targets = xs[:, first:, None].astype(aligned.dtype)
    return jnp.broadcast_to(targets, aligned.shape) - aligned


def updated_moments(
    moments: ErrorMoments, errors: Float[Array, "N D"], mask: Bool[Array, " N"], decay: float
) -> ErrorMoments:
    r"""Adds errors to moments whose weight decays (Chan, Golub and LeVeque 1983).

    With n errors of mean m and covariance S, and the decayed weight v:

    .. math::
        w = v + n, \quad \mu' = \mu + \tfrac{n}{w} (m - \mu), \quad
        \Sigma' = \tfrac{v}{w} \Sigma + \tfrac{n}{w} S + \tfrac{v n}{w^2} (m - \mu)(m - \mu)^\top

    With a decay of 1 these are the moments of all errors.

    Args:
        moments: The moments so far.
        errors: ``[N, D]``.
        mask: bool ``[N]``, False for errors to ignore, NaN included. Without an error the moments stay as they are.
        decay: The factor of the weight, v = decay * weight.
    """
    dtype = moments.mean.dtype
    known = mask[:, None]
    values = jnp.where(known, errors, jnp.zeros((), errors.dtype)).astype(dtype)
    count = jnp.sum(mask, dtype=dtype)
    mean = jnp.sum(values, axis=0) / jnp.maximum(count, 1)
    centered = jnp.where(known, values - mean[None], 0)
    covariance = jnp.matmul(centered.T, centered, precision="highest") / jnp.maximum(count, 1)
    old = decay * moments.weight
    total = old + count
    share = count / jnp.where(total > 0, total, 1)
    delta = mean - moments.mean
    between = share * (1 - share) * delta[:, None] * delta[None, :]
    new = ErrorMoments(
        total,
        moments.mean + share * delta,
        (1 - share) * moments.covariance + share * covariance + between,
    )
    return jax.tree.map(lambda a, b: jnp.where(count > 0, a, b), new, moments)


def squared_mahalanobis(errors: Float[Array, "*batch D"], moments: ErrorMoments) -> Float[Array, "*batch"]:
    r"""Computes squared Mahalanobis distances, :math:`(e - \mu)^\top \tilde\Sigma^{-1} (e - \mu)`.

    :math:`\tilde\Sigma` is the covariance with a diagonal that is increased by the fraction ``RIDGE``, and by
    ``MIN_VARIANCE``, so that it is not singular.

    Args:
        errors: ``[*batch, D]``.
        moments: The moments of the errors of normal steps.
    """
    variances = jnp.diagonal(moments.covariance)
    scale = jnp.sqrt(variances + MIN_VARIANCE)
    correlation = moments.covariance / (scale[:, None] * scale[None, :])
    unit = jnp.eye(len(scale), dtype=scale.dtype)
    factor = jnp.linalg.cholesky(jnp.where(unit > 0, 1 + RIDGE, correlation))
    whitening = jax.scipy.linalg.solve_triangular(factor, unit, lower=True)
    center = jnp.broadcast_to(moments.mean, errors.shape)
    standardized = (errors.astype(scale.dtype) - center) / jnp.broadcast_to(scale, errors.shape)
    return jnp.sum(jnp.matmul(standardized, whitening.T, precision="highest") ** 2, axis=-1)
