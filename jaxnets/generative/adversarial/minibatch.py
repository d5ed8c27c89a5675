"""Inputs of a discriminator that show several examples at once, against mode collapse."""

import chex
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_divisor
from jaxnets.ops.dtypes import at_least_float32


def pack_examples(xs: Float[Array, "B *space C"], pack: int) -> Float[Array, "packs *space channels"]:
    """Concatenates each ``pack`` consecutive examples along the last axis (PacGAN; Lin et al. 2018, arXiv:1712.04086).

    Args:
        xs: ``[B, ..., C]``: vectors, images, series.
        pack: m, examples per pack, a divisor of B.

    Returns:
        ``[B / m, ..., m * C]``.

    Raises:
        ValueError: ``pack`` is not a divisor of B.
    """
    check_divisor("pack", pack, "B", len(xs))
    groups = jnp.moveaxis(xs.reshape(len(xs) // pack, pack, *xs.shape[1:]), 1, -2)
    return groups.reshape(len(xs) // pack, *xs.shape[1:-1], pack * xs.shape[-1])


def minibatch_std(xs: Float[Array, "B *space C"], group_size: int = 4) -> Float[Array, "B *space channels"]:
    r"""Appends the mean standard deviation over groups of examples as a channel (Karras et al. 2018).

    See arXiv:1710.10196. The standard deviation is over the examples of a group, for each position and channel,
    :math:`\sqrt{\mathrm{var} + 10^{-8}}`, and is averaged to one number per group. As in the authors' code, a group are
    the examples i, i + B / group_size, ...

    Args:
        xs: ``[B, ..., C]``.
        group_size: Examples of a group, a divisor of B; B if B is smaller.

    Returns:
        ``[B, ..., C + 1]``.

    Raises:
        ValueError: B is not divisible by ``group_size``.
    """
    group_size = min(group_size, len(xs))
    check_divisor("group_size", group_size, "B", len(xs))
    groups = xs.reshape(group_size, len(xs) // group_size, -1).astype(at_least_float32(xs.dtype))
    std = jnp.mean(jnp.sqrt(jnp.var(groups, axis=0) + 1e-8), axis=-1)
    channel = jnp.expand_dims(jnp.tile(std, group_size), tuple(range(1, xs.ndim)))
    return jnp.concatenate([xs, jnp.broadcast_to(channel, (*xs.shape[:-1], 1)).astype(xs.dtype)], axis=-1)


def minibatch_closeness(projected: Float[Array, "B K E"]) -> Float[Array, "B K"]:
    r"""Computes the closeness of each example to the batch: minibatch discrimination (Salimans et al. 2016).

    .. math:: o_{ik} = \sum_j \exp(-|M_{ik} - M_{jk}|_1)

    See arXiv:1606.03498. The discriminator appends o to the features from which M was computed by a linear layer.

    Args:
        projected: M, ``[B, K, E]``.

    Returns:
        o, ``[B, K]``; 1 for a batch of one example.
    """
    chex.assert_rank(projected, 3)
    distances = jnp.sum(jnp.abs(projected[:, None] - projected[None]), axis=-1)
    return jnp.sum(jnp.exp(-distances), axis=1)
