"""Bijectors with their log-determinants, and the densities and samples that they define."""

import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxnets.generative.variational.likelihoods import gaussian_log_prob
from jaxnets.ops.array_types import Array, Float, Key
from jaxnets.ops.dtypes import at_least_float32

Transform = Callable[[Float[Array, "B ..."]], tuple[Float[Array, "B ..."], Float[Array, " B"]]]


class Bijector(NamedTuple):
    r"""An invertible function of examples ``[B, ...]``, as a pair of pure functions.

    .. math:: z = f(x), \quad \log p(x) = \log p(z) + \log \left| \det \frac{\partial f}{\partial x} \right|

    The forward direction is from data to latent codes, as for training. Both directions also return the
    log-determinant of their own Jacobian, so that nothing is computed twice; one is minus the other.

    Attributes:
        forward: x, ``[B, ...]``, to z, ``[B, ...]``, and the log-determinant, ``[B]``, float32 at least.
        inverse: z to x, and minus the log-determinant at x.
    """

    forward: Transform
    inverse: Transform


def chain(*bijectors: Bijector) -> Bijector:
    """Composes bijectors. The first is applied first in the forward direction; without any, it is the identity."""
    return Bijector(
        _composed([bijector.forward for bijector in bijectors]),
        _composed([bijector.inverse for bijector in reversed(bijectors)]),
    )


def standard_normal_log_prob(zs: Float[Array, "B ..."]) -> Float[Array, " B"]:
    """Computes the log-density of the standard normal distribution of all axes but the first, in nats.

    Args:
        zs: ``[B, ...]``.

    Returns:
        ``[B]``, float32 at least.
    """
    flat = zs.astype(at_least_float32(zs.dtype)).reshape(len(zs), math.prod(zs.shape[1:]))
    zero = jnp.zeros((1, 1), flat.dtype)
    return gaussian_log_prob(flat, zero, zero)


def flow_log_prob(bijector: Bijector, xs: Float[Array, "B ..."]) -> Float[Array, " B"]:
    """Computes the log-density of a flow whose codes have a standard normal distribution, in nats.

    Args:
        bijector: The flow, from data to codes.
        xs: ``[B, ...]``.

    Returns:
        ``[B]``, float32 at least.
    """
    zs, log_det = bijector.forward(xs)
    return standard_normal_log_prob(zs) + log_det


def flow_sample(
    bijector: Bijector, key: Key[Array, ""], shape: tuple[int, ...], temperature: float = 1.0
) -> Float[Array, "..."]:
    """Samples a flow whose codes have a standard normal distribution.

    Args:
        bijector: The flow, from data to codes.
        key: A random key.
        shape: Shape of the codes, ``(B, ...)``.
        temperature: Standard deviation of the codes; samples below 1 are more typical and less diverse.

    Returns:
        Examples, float32.
    """
    return bijector.inverse(temperature * jax.random.normal(key, shape, jnp.float32))[0]


def sum_of_example(values: Float[Array, "B ..."]) -> Float[Array, " B"]:
    """Sums all axes but the first in float32 at least."""
    return jnp.sum(values, axis=tuple(range(1, values.ndim)), dtype=at_least_float32(values.dtype))


def without_volume_change(
    forward: Callable[[jax.Array], jax.Array], inverse: Callable[[jax.Array], jax.Array]
) -> Bijector:
    """Creates a bijector whose log-determinant is 0, such as a permutation, from functions without one."""
    zero = lambda xs: jnp.zeros(xs.shape[:1], at_least_float32(xs.dtype))
    return Bijector(lambda xs: (forward(xs), zero(xs)), lambda zs: (inverse(zs), zero(zs)))


def _composed(transforms: list[Transform]) -> Transform:
    def apply(xs: jax.Array) -> tuple[jax.Array, jax.Array]:
        total = jnp.zeros(xs.shape[:1], at_least_float32(xs.dtype))
        for transform in transforms:
            xs, log_det = transform(xs)
            chex.assert_shape(log_det, total.shape)
            total += log_det
        return xs, total

    return apply
