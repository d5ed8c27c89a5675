"""Shortcuts without parameters, gates, and stochastic depth."""

import chex
import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float, Key
from jaxnets.ops.checks import check_probability


def padded_shortcut(
    x: Float[Array, "B H W C"], features: int, stride: int
) -> Float[Array, "B out_height out_width features"]:
    """Computes the shortcut without parameters ("option A"): subsamples pixels and appends channels of zeros.

    Args:
        x: ``[B, H, W, C]``.
        features: Output channels, at least C.
        stride: Stride of the subsampling.

    Returns:
        ``[B, ceil(H / stride), ceil(W / stride), features]``.
    """
    chex.assert_rank(x, 4)
    return jnp.pad(x[:, ::stride, ::stride], [(0, 0)] * 3 + [(0, features - x.shape[-1])])


def highway_gate(
    x: Float[Array, "*shape"], transformed: Float[Array, "*shape"], gate: Float[Array, "..."]
) -> Float[Array, "*shape"]:
    r"""Computes a gated mixture of the input and the output of a layer (equation 3 of the highway paper).

    .. math::
        t = \sigma(\mathrm{gate}), \quad y = t \odot H + (1 - t) \odot x

    Args:
        x: The layer's input, of any shape.
        transformed: The layer's output H, of the shape of ``x``.
        gate: The gate before the sigmoid, broadcastable to the shape of ``x``. Where it is very negative, y is x.

    Returns:
        y, of the shape of ``x``.
    """
    t = jnp.broadcast_to(jax.nn.sigmoid(gate), x.shape)
    return t * transformed + (1 - t) * x


def attention_gate(mask: Float[Array, "*shape"], trunk: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Computes attention residual learning, :math:`(1 + \sigma(\mathrm{mask})) \odot \mathrm{trunk}`.

    This is equation 3 of Wang et al. (2017, arXiv:1704.06904). The mask scales an activation by a factor between 1
    and 2. Where the mask is very negative, the output is the trunk.

    Args:
        mask: The soft mask before the sigmoid, of any shape.
        trunk: The output T(x) of the trunk branch, of the shape of ``mask``.

    Returns:
        The gated trunk, of the same shape.

    Raises:
        ValueError: If the shapes differ.
    """
    if mask.shape != trunk.shape:
        raise ValueError(f"`mask` must have the shape of `trunk`, {trunk.shape}, got {mask.shape}")
    return (1 + jax.nn.sigmoid(mask)) * trunk


def stochastic_depth(key: Key[Array, ""], branch: Float[Array, "*shape"], rate: float) -> Float[Array, "*shape"]:
    """Drops the residual branch of random examples (Huang et al. 2016, arXiv:1603.09382).

    Args:
        key: Key of the sampling.
        branch: The output of the residual branch, ``[B, ...]``.
        rate: Probability of dropping the branch of an example, below 1.

    Returns:
        For each example, ``branch / (1 - rate)`` with probability ``1 - rate``, and zeros otherwise.

    Raises:
        ValueError: If ``rate`` is out of range.
    """
    check_probability("rate", rate)
    keep = jax.random.bernoulli(key, 1 - rate, (branch.shape[0], *(1,) * (branch.ndim - 1)))
    return jnp.where(keep, branch / (1 - rate), 0).astype(branch.dtype)
