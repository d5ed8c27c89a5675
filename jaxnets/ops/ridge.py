"""Ridge regression with the penalty chosen by leave-one-out errors."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Bool, Float
from jaxnets.ops.dtypes import at_least_float32


class Ridge(NamedTuple):
    """A fitted linear map, ``xs @ kernel + bias``.

    Attributes:
        kernel: ``[F, C]``.
        bias: ``[C]``.
        strength: The chosen penalty, a scalar.
        errors: The mean squared leave-one-out error of each penalty, ``[S]``.
    """

    kernel: Float[Array, "F C"]
    bias: Float[Array, " C"]
    strength: Float[Array, ""]
    errors: Float[Array, " S"]


def ridge(
    xs: Float[Array, "N F"],
    ys: Float[Array, "N C"],
    strengths: Float[Array, " S"],
    mask: Bool[Array, " N"] | None = None,
) -> Ridge:
    r"""Fits ridge regression with an intercept; leave-one-out errors choose the penalty.

    With centered rows X and targets Y, and :math:`G = X X^\top + \lambda I`:

    .. math::
        W = X^\top G^{-1} Y, \quad e_i = \frac{(G^{-1} Y)_i}{(G^{-1})_{ii}}

    where :math:`e_i` is the error at row i of a fit to all other rows. One eigendecomposition of the N x N matrix
    serves all penalties, and the number of features may be much larger than the number of rows. The result equals
    ``sklearn.linear_model.RidgeCV`` up to rounding. Sums are float32 at least; in float32, penalties below about
    :math:`10^{-7}` of the largest eigenvalue of :math:`X X^\top` have no effect.

    Args:
        xs: Features.
        ys: Targets.
        strengths: The penalties :math:`\lambda`, positive.
        mask: Rows that count; None: all rows. The others may have any value.

    References:
        Rifkin and Lippert, Notes on Regularized Least Squares, 2007, MIT-CSAIL-TR-2007-025.
    """
    wide = at_least_float32(xs.dtype)
    xs, ys, strengths = xs.astype(wide), ys.astype(wide), strengths.astype(wide)
    mask = jnp.ones(len(xs), bool) if mask is None else mask
    count = jnp.maximum(jnp.sum(mask), 1).astype(wide)
    mean_of = lambda rows: jnp.sum(jnp.where(mask[:, None], rows, 0), axis=0) / count
    mean_x, mean_y = mean_of(xs), mean_of(ys)
    centered = lambda rows, mean: jnp.where(mask[:, None], rows - jnp.broadcast_to(mean, rows.shape), 0)
    xs, ys = centered(xs, mean_x), centered(ys, mean_y)
    products = jnp.matmul(xs, xs.T, precision="highest")
    # The intercept is not penalized: its direction, which centering has set to 0, becomes the largest eigenvalue.
    ones = jnp.where(mask, 1 / jnp.sqrt(count), 0)
    values, vectors = jnp.linalg.eigh(products + jnp.maximum(jnp.trace(products), 1) * jnp.outer(ones, ones))
    values = jnp.maximum(values, 0).at[-1].set(jnp.inf)
    rotated = jnp.matmul(vectors.T, ys, precision="highest")

    def dual(strength):
        scale = 1 / (values + strength)
        return jnp.matmul(vectors, scale[:, None] * rotated, precision="highest"), vectors**2 @ scale

    def error(strength):
        coefficients, diagonal = dual(strength)
        errors = coefficients / jnp.where(mask, diagonal, 1)[:, None]
        return jnp.sum(jnp.where(mask[:, None], errors, 0) ** 2) / (count * ys.shape[1])

    errors = jax.lax.map(error, strengths)
    strength = strengths[jnp.argmin(errors)]
    kernel = jnp.matmul(xs.T, dual(strength)[0], precision="highest")
    return Ridge(kernel, mean_y - jnp.matmul(mean_x, kernel, precision="highest"), strength, errors)
