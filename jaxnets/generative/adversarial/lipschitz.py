"""Lipschitz constraints of discriminators: gradient penalty and spectral norm."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.dtypes import at_least_float32


def gradient_penalty(
    critic: Callable[[Float[Array, "B ..."]], Float[Array, " B"]],
    real: Float[Array, "B ..."],
    fake: Float[Array, "B ..."],
    weights: Float[Array, " B"],
) -> Float[Array, ""]:
    r"""Computes the gradient penalty of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028).

    .. math:: E\,(|\nabla D(\hat x)| - 1)^2, \quad \hat x_b = a_b x_b + (1 - a_b) G(z_b)

    The loss of the critic is usually that of ``wasserstein_losses`` plus 10 times the penalty. The critic must treat
    examples independently, without batch normalization. One that packs m consecutive examples (``pack_examples``) has
    one gradient norm per pack.

    Args:
        critic: D, ``[B, ...] -> [B]``, or ``[B / m]`` for packs.
        real, fake: Examples, ``[B, ...]``.
        weights: a, uniform in [0, 1], one for each example, ``[B]``.

    Returns:
        A scalar, float32 at least. The gradient of the norm is 0 where the norm is 0.
    """
    chex.assert_equal_shape([real, fake])
    chex.assert_shape(weights, real.shape[:1])
    aligned = jnp.broadcast_to(jnp.expand_dims(weights, tuple(range(1, real.ndim))), real.shape).astype(real.dtype)
    values, pullback = jax.vjp(critic, aligned * real + (1 - aligned) * fake)
    chex.assert_rank(values, 1)
    gradients = pullback(jnp.ones_like(values))[0].reshape(len(values), -1)
    squares = jnp.sum(gradients.astype(at_least_float32(gradients.dtype)) ** 2, axis=-1)
    norms = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return jnp.mean((norms - 1) ** 2)


def spectral_norm(
    kernel: Float[Array, "*window F"], u: Float[Array, " F"], steps: int = 1, epsilon: float = 1e-12
) -> tuple[Float[Array, ""], Float[Array, " F"]]:
    r"""Estimates the largest singular value of a kernel by power iteration (Miyato et al. 2018, arXiv:1802.05957).

    .. math:: v \leftarrow \frac{W u}{|W u|}, \quad u \leftarrow \frac{W^T v}{|W^T v|}, \quad \sigma = v^T W u

    W is the kernel as a matrix ``[..., F]``. The kernel divided by :math:`\sigma` is that of a layer with spectral
    normalization. The gradient of :math:`\sigma` in W is :math:`v u^T`; none passes through the iteration.

    Args:
        kernel: ``[..., F]``, of a dense layer or a convolution.
        u: The estimate of the right singular vector, ``[F]``, any vector that is not zero at first.
        steps: Steps of the iteration; 0 in evaluation.
        epsilon: The minimum of norms that are divided by.

    Returns:
        :math:`\sigma`, a scalar, and the next u, both float32 at least.
    """
    dtype = at_least_float32(kernel.dtype)
    matrix = kernel.reshape(-1, kernel.shape[-1]).astype(dtype)
    fixed, u = jax.lax.stop_gradient((matrix, u.astype(dtype)))
    chex.assert_shape(u, matrix.shape[1:])
    unit = lambda vector: vector / jnp.maximum(jnp.linalg.norm(vector), epsilon)
    u, v = unit(u), unit(fixed @ unit(u))
    for _ in range(steps):
        u = unit(v @ fixed)
        v = unit(fixed @ u)
    return v @ matrix @ u, u
