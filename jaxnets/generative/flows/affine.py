"""Affine bijectors of explicit parameters: shifts, scales, activation normalization, invertible 1 x 1 convolutions."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.convolution.normalization import batch_statistics
from jaxnets.generative.flows.bijector import Bijector, chain, sum_of_example, without_volume_change
from jaxnets.ops.array_types import Array, Float, Int, Key
from jaxnets.ops.checks import describe_value
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.products import linear

ACTNORM_FACTOR = 3.0  # multiplies the stored log scales, which therefore learn faster
CONSTANT_STD = 1e-6  # of a channel that is considered constant, absolute and relative to its mean


def shifting(shift: Float[Array, "..."]) -> Bijector:
    """Creates the bijector z = x + shift, with a ``shift`` of the shape of x, or of its last axes."""
    aligned = lambda xs: jnp.broadcast_to(shift.astype(xs.dtype), xs.shape)
    return without_volume_change(lambda xs: xs + aligned(xs), lambda zs: zs - aligned(zs))


def scaling(log_scale: Float[Array, "..."]) -> Bijector:
    """Creates the bijector z = x exp(log_scale), with a ``log_scale`` of the shape of x, or of its last axes."""

    def log_det(xs: jax.Array) -> jax.Array:
        dtype = at_least_float32(xs.dtype)
        if log_scale.ndim == xs.ndim:
            return sum_of_example(log_scale.astype(dtype))
        repeats = math.prod(xs.shape[1:]) // max(log_scale.size, 1)
        return jnp.broadcast_to(repeats * jnp.sum(log_scale, dtype=dtype), xs.shape[:1])

    aligned = lambda xs: jnp.broadcast_to(log_scale.astype(xs.dtype), xs.shape)
    return Bijector(
        lambda xs: (xs * jnp.exp(aligned(xs)), log_det(xs)),
        lambda zs: (zs * jnp.exp(-aligned(zs)), -log_det(zs)),
    )


def permuting(order: Int[Array, " C"]) -> Bijector:
    """Creates the bijector that reorders the last axis, such that ``z[..., c] = x[..., order[c]]``.

    Raises:
        ValueError: ``order`` is known outside of ``jax.jit``, and not a permutation of 0 ... C - 1.
    """
    if not isinstance(order, jax.core.Tracer) and sorted(np.asarray(order).tolist()) != list(range(len(order))):
        raise ValueError(f"`order` must be a permutation of 0 ... {len(order) - 1}, got {describe_value(order)}")
    back = jnp.argsort(order)
    return without_volume_change(lambda xs: xs[..., order], lambda zs: zs[..., back])


def reversing() -> Bijector:
    """Creates the bijector that reverses the last axis."""
    return without_volume_change(lambda xs: xs[..., ::-1], lambda zs: zs[..., ::-1])


def actnorm(bias: Float[Array, " C"], log_scale: Float[Array, " C"]) -> Bijector:
    r"""Creates the activation normalization of Glow (Kingma and Dhariwal 2018, arXiv:1807.03039).

    .. math:: z = (x + b)\, e^{3 l}

    The factor 3 is that of the authors' code.

    Args:
        bias: b, ``[C]``.
        log_scale: l, ``[C]``.
    """
    chex.assert_equal_shape([bias, log_scale])
    return chain(shifting(bias), scaling(ACTNORM_FACTOR * log_scale))


def actnorm_parameters(xs: Float[Array, "B ... C"]) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
    """Computes the parameters of ``actnorm`` with which a batch has zero mean and unit variance in each channel.

    Under ``jax.jit``, a batch sharded over several devices has the parameters of the whole batch. A channel whose
    values are equal, as in a batch of one row, keeps its scale.

    Args:
        xs: ``[B, ..., C]``.

    Returns:
        The bias and the log scale, ``[C]``, float32 at least.
    """
    stats = batch_statistics(xs.astype(at_least_float32(xs.dtype)))
    mean = stats.shift + stats.offset
    is_constant = stats.var <= (CONSTANT_STD * jnp.maximum(1, jnp.abs(mean))) ** 2
    log_std = 0.5 * jnp.log(jnp.where(is_constant, 1, stats.var))
    return -mean, -log_std / ACTNORM_FACTOR


def invertible_linear(lu: Float[Array, "C C"], permutation: Int[Array, " C"], signs: Float[Array, " C"]) -> Bijector:
    r"""Creates the invertible 1 x 1 convolution of Glow, a linear map of the last axis, by an LU decomposition.

    .. math:: z = W x, \quad W = P L (U + \mathrm{diag}(\sigma e^s)), \quad \log |\det W| = \sum_c s_c

    L is lower triangular with ones on its diagonal, and U is strictly upper triangular. The Jacobian of an image has
    H W times this log-determinant. See Kingma and Dhariwal 2018 (arXiv:1807.03039).

    Args:
        lu: L below the diagonal, s on it, U above, ``[C, C]``, the trained parameters.
        permutation: The row of W that is row i of L U, ``[C]``; it defines P.
        signs: :math:`\sigma`, signs of the diagonal, ``[C]``.
    """
    size = len(lu)
    chex.assert_shape([lu, permutation, signs], [(size, size), (size,), (size,)])
    dtype = at_least_float32(lu.dtype)
    lu, log_scale = lu.astype(dtype), jnp.diagonal(lu).astype(dtype)
    identity = jnp.eye(size, dtype=dtype)
    lower = jnp.tril(lu, -1) + identity
    upper = jnp.triu(lu, 1) + jnp.diag(signs.astype(dtype) * jnp.exp(log_scale))

    def apply(matrix: jax.Array, xs: jax.Array) -> jax.Array:
        return linear(xs, matrix.T.astype(xs.dtype), precision="highest")

    def inverse_matrix() -> jax.Array:
        solve = jax.scipy.linalg.solve_triangular
        return solve(upper, solve(lower, identity[permutation], lower=True, unit_diagonal=True))

    def matrix() -> jax.Array:
        return jnp.matmul(lower, upper, precision="highest")[jnp.argsort(permutation)]

    def log_det(xs: jax.Array) -> jax.Array:
        total = math.prod(xs.shape[1:-1]) * jnp.sum(log_scale, dtype=at_least_float32(xs.dtype))
        return jnp.broadcast_to(total, xs.shape[:1])

    return Bijector(
        lambda xs: (apply(matrix(), xs), log_det(xs)),
        lambda zs: (apply(inverse_matrix(), zs), -log_det(zs)),
    )


def orthogonal_lu(key: Key[Array, ""], size: int) -> tuple[Float[Array, "C C"], Int[Array, " C"], Float[Array, " C"]]:
    """Computes the arguments of ``invertible_linear`` for a random orthogonal matrix, whose log-determinant is 0."""
    packed, _, permutation = jax.lax.linalg.lu(jax.random.orthogonal(key, size, dtype=jnp.float32))
    diagonal = jnp.diagonal(packed)
    lu = packed - jnp.diag(diagonal) + jnp.diag(jnp.log(jnp.abs(diagonal)))
    return lu, permutation.astype(jnp.int32), jnp.sign(diagonal)
