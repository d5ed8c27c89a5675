"""Normalization of channels: by statistics of the batch, and by neighboring channels."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.checks import check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import masked_sum


class Statistics(NamedTuple):
    r"""Statistics of every channel of a batch, with :math:`x - c` squared in place of x.

    Attributes:
        near: c, a value near the mean.
        offset: The mean less c.
        var: The biased variance.
        number: How many values a channel has, a scalar.
    """

    near: jax.Array
    offset: jax.Array
    var: jax.Array
    number: jax.Array


def batch_statistics(x: jax.Array, mask: jax.Array | None = None, axis_name: str | None = None) -> Statistics:
    """Statistics of every channel over batch and space.

    Args:
        x: ``[B, ..., C]``, float32 at least.
        mask: bool ``[B, ...]``, False where padding is; None: all is real.
        axis_name: Of the devices to average over inside ``jax.shard_map``; None elsewhere.
    """
    if mask is not None:
        chex.assert_shape(mask, x.shape[:-1])
    valid = None if mask is None else mask[..., None]
    near = lax.stop_gradient(_near(x, valid))
    axes = tuple(range(x.ndim - 1))
    count = jnp.asarray(math.prod(x.shape[:-1]) if mask is None else jnp.sum(mask), x.dtype)
    if axis_name is not None:
        near = lax.psum(near * count, axis_name) / jnp.maximum(lax.psum(count, axis_name), 1)
    shifted = x - jnp.expand_dims(near, axes)
    if valid is not None:
        shifted = jnp.where(valid, shifted, 0)
    sums = jnp.sum(shifted, axes), jnp.sum(shifted**2, axes)
    if axis_name is not None:
        *sums, count = lax.psum((*sums, count), axis_name)
    offset, second = (total / jnp.maximum(count, 1) for total in sums)
    chex.assert_shape([near, offset, second], x.shape[-1:])
    return Statistics(near, offset, jnp.maximum(second - offset**2, 0), count)


def normalize(
    x: jax.Array,
    means: Sequence[jax.Array],
    var: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    *,
    epsilon: float,
    dtype: Any,
) -> jax.Array:
    r""":math:`\gamma (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta` of every channel, computed in float32 at least.

    Args:
        x: ``[B, ..., C]``.
        means: What is subtracted, ``[C]`` each, one after the other: the sum of a large and a small number, rounded, is
            up to half a unit in its last place away from the mean.
        var: ``[C]``.
        scale, bias: Gamma and beta, ``[C]``.
        epsilon: As above.
        dtype: Of the result.
    """
    chex.assert_shape([*means, var, scale, bias], x.shape[-1:])
    wide = at_least_float32(x.dtype)
    aligned = lambda vector: jnp.expand_dims(vector.astype(wide), tuple(range(x.ndim - 1)))
    centered = x.astype(wide)
    for mean in means:
        centered = centered - aligned(mean)
    factor = lax.rsqrt(var.astype(wide) + epsilon) * scale.astype(wide)
    return (centered * aligned(factor) + aligned(bias)).astype(dtype)


def _near(x: jax.Array, valid: jax.Array | None) -> jax.Array:
    """A value for each channel that is near the mean, from an eighth of the rows ``x [B, H, ..., C]``.

    The mean of an eighth is at most sqrt(7) standard deviations from the mean of all, whatever the values are, so that
    the variance of ``x - near`` loses no more than a factor of 8 to cancellation. Where a mask leaves out values, an
    eighth may be without any, and all are read. A mean of many values far from zero is itself inexact: what is added up
    are differences from one of them.
    """
    if x.size == 0:
        return jnp.zeros(x.shape[-1:], x.dtype)
    axes = tuple(range(x.ndim - 1))
    if valid is None:
        some = x[:, ::8] if x.ndim > 2 else x
        # The largest of a few is one of them, and reducing divides no axis that is sharded.
        start = jnp.max(some[:, :1] if x.ndim > 2 else some, axes)
        return start + jnp.mean(some - jnp.expand_dims(start, axes), axes)
    count = jnp.sum(valid, dtype=jnp.int32).astype(x.dtype)
    start = jnp.where(count > 0, jnp.max(jnp.where(valid, x, -jnp.inf), axes), 0)
    return start + masked_sum(x - jnp.expand_dims(start, axes), valid, axes) / jnp.maximum(count, 1)


def local_response_norm(
    x: jax.Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> jax.Array:
    r"""Local response normalization across channels, section 3.3 of the paper:

    .. math::
        b_i = a_i \Big/ \Big(k + \alpha \sum_{j=\max(0, i-n/2)}^{\min(C-1, i+n/2)} a_j^2\Big)^\beta

    The alpha of torch and Caffe is n times as large, since they divide it by n.

    Args:
        x: ``[..., C]``.
        size: n, channels in a sum; of an even number, the one more is on the lower side, as in torch.
        alpha, beta, k: As above.

    Returns:
        ``[..., C]``; the sums are float32 at least.

    Raises:
        ValueError: ``size`` is below 1.
    """
    check_integer("size", size)
    wide = x.astype(at_least_float32(x.dtype))
    around = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    squares = jnp.pad(wide**2, around)
    # Slices are summed as they are read; a window over the minor axis is slow, and slower in the gradient.
    sums = sum(squares[..., i : i + x.shape[-1]] for i in range(size))
    return (wide * (k + alpha * sums) ** -beta).astype(x.dtype)
