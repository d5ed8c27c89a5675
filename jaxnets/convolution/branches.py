"""Branches of blocks: shortcuts without parameters, gates, and branches that are dropped at random."""

import chex
import jax
import jax.numpy as jnp

from jaxnets.ops.checks import check_probability


def padded_shortcut(x: jax.Array, features: int, stride: int) -> jax.Array:
    """The shortcut without parameters ("option A"): every stride-th pixel, and channels of zeros after its own.

    Args:
        x: ``[B, H, W, C]``.
        features: Of the result, at least C.
        stride: Between the pixels that are kept.

    Returns:
        ``[B, ceil(H / stride), ceil(W / stride), features]``.
    """
    chex.assert_rank(x, 4)
    return jnp.pad(x[:, ::stride, ::stride], [(0, 0)] * 3 + [(0, features - x.shape[-1])])


def highway_gate(x: jax.Array, transformed: jax.Array, gate: jax.Array) -> jax.Array:
    r"""Mixes a layer's input with what the layer makes of it (equation 3 of the paper):

    .. math::
        t = \sigma(\mathrm{gate}), \quad y = t \odot H + (1 - t) \odot x

    Args:
        x: What is carried, of any shape.
        transformed: H, of that shape.
        gate: Before the sigmoid, of that shape, or one that is broadcast to it. Where it is very negative y is x.
    """
    t = jnp.broadcast_to(jax.nn.sigmoid(gate), x.shape)
    return t * transformed + (1 - t) * x


def attention_gate(mask: jax.Array, trunk: jax.Array) -> jax.Array:
    r"""Attention residual learning (equation 3 of the paper): :math:`(1 + \sigma(\mathrm{mask})) \odot \mathrm{trunk}`.

    A mask can make an activation up to twice as large; one of very negative numbers leaves the trunk as it is.

    Args:
        mask: Before the sigmoid, of any shape.
        trunk: T(x), of that shape.

    Raises:
        ValueError: The shapes differ.
    """
    if mask.shape != trunk.shape:
        raise ValueError(f"`mask` must be of the trunk's shape {trunk.shape}, got {mask.shape}")
    return (1 + jax.nn.sigmoid(mask)) * trunk


def stochastic_depth(key: jax.Array, branch: jax.Array, rate: float) -> jax.Array:
    """Drops the branch of a residual block for whole examples (Huang et al. 2016, arXiv:1603.09382).

    Args:
        key: Of the draw.
        branch: ``[B, ...]``, what is to be added to the block's input.
        rate: Probability of dropping, below 1.

    Returns:
        ``branch / (1 - rate)`` with probability 1 - rate, else zeros, for each example.

    Raises:
        ValueError: The rate is out of range.
    """
    check_probability("rate", rate)
    kept = jax.random.bernoulli(key, 1 - rate, (branch.shape[0], *(1,) * (branch.ndim - 1)))
    return jnp.where(kept, branch / (1 - rate), 0).astype(branch.dtype)
