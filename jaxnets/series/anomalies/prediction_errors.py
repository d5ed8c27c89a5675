"""Errors of predictions at every step (Malhotra et al. 2015)."""

import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_integer


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
