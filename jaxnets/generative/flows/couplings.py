"""Coupling bijectors, which transform some variables by functions of the others."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.generative.flows.affine import scaling, shifting
from jaxnets.generative.flows.bijector import Bijector, chain
from jaxnets.ops.array_types import Array, Bool, Float

Network = Callable[[Float[Array, "B ..."]], Float[Array, "B ..."]]


def coupling(transform: Callable[[Float[Array, "B ... half"]], Bijector]) -> Bijector:
    """Creates a coupling: the first half of the last axis is unchanged and determines how the second is transformed.

    Args:
        transform: The first ``C // 2`` channels to a bijector of the others, with any bijector as the result.

    Raises:
        ValueError: In a call, if the last axis is shorter than 2.
    """

    def halves(xs: jax.Array) -> tuple[jax.Array, jax.Array]:
        if xs.ndim < 2 or xs.shape[-1] < 2:
            raise ValueError(f"`xs` must have at least 2 channels for a coupling, got the shape {xs.shape}")
        first, second = jnp.split(xs, [xs.shape[-1] // 2], axis=-1)
        return first, second

    def forward(xs: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, second = halves(xs)
        second, log_det = transform(first).forward(second)
        return jnp.concatenate([first, second], axis=-1), log_det

    def inverse(zs: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, second = halves(zs)
        second, log_det = transform(first).inverse(second)
        return jnp.concatenate([first, second], axis=-1), log_det

    return Bijector(forward, inverse)


def additive_coupling(network: Network) -> Bijector:
    r"""Creates the additive coupling of NICE (Dinh et al. 2015, arXiv:1410.8516): :math:`z_2 = x_2 + f(x_1)`.

    Args:
        network: f, from the first half of the channels to values of the second one.
    """
    return coupling(lambda first: shifting(network(first)))


def affine_coupling(network: Network) -> Bijector:
    r"""Creates the affine coupling of Glow (Kingma and Dhariwal 2018, arXiv:1807.03039).

    .. math:: z_1 = x_1, \quad z_2 = (x_2 + t)\, \mathrm{sigmoid}(r + 2), \quad
        (t_1, r_1, t_2, r_2, \dots) = f(x_1)

    The order of the outputs and the constant 2 are those of the authors' code.

    Args:
        network: f, from the first half of the channels to twice as many values as the second half has.
    """

    def transform(first: jax.Array) -> Bijector:
        outputs = network(first)
        shift, raw = outputs[..., 0::2], outputs[..., 1::2]
        return chain(shifting(shift), scaling(jax.nn.log_sigmoid(raw + 2)))

    return coupling(transform)


def masked_affine_coupling(mask: Bool[np.ndarray, "..."], network: Network) -> Bijector:
    r"""Creates the masked coupling of RealNVP (Dinh et al. 2017, arXiv:1605.08803).

    .. math:: z = m \odot x + (1 - m) \odot (x \odot e^s + t), \quad (s, t) = f(m \odot x)

    Args:
        mask: m, True for the variables that are unchanged, of the shape of x without its batch axis.
        network: f, from x with zeros to s and t, concatenated along the last axis.
    """

    def transform(xs: jax.Array) -> Bijector:
        chex.assert_shape(xs, (None, *mask.shape))
        kept = jnp.broadcast_to(mask, xs.shape)
        log_scale, shift = jnp.split(network(jnp.where(kept, xs, 0)), 2, axis=-1)
        return chain(scaling(jnp.where(kept, 0, log_scale)), shifting(jnp.where(kept, 0, shift)))

    return Bijector(lambda xs: transform(xs).forward(xs), lambda zs: transform(zs).inverse(zs))


def checkerboard(height: int, width: int, channels: int) -> Bool[np.ndarray, "H W C"]:
    """Returns the checkerboard mask of RealNVP, True where the sum of row and column is even, ``[H, W, C]``."""
    rows, columns, _ = np.indices((height, width, channels))
    return (rows + columns) % 2 == 0
