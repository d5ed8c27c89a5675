"""Functions for batch normalization and local response normalization."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.array_types import Array, Bool, Float
from jaxnets.ops.checks import check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import masked_sum


class Statistics(NamedTuple):
    """Statistics of each channel of a batch; the mean is the sum of ``shift`` and ``offset``.

    Attributes:
        shift: ``[C]``, a value near the mean.
        offset: ``[C]``, the mean of ``x - shift``.
        var: ``[C]``, the biased variance.
        num_values: Scalar, the count of values of one channel.
    """

    shift: Float[Array, " C"]
    offset: Float[Array, " C"]
    var: Float[Array, " C"]
    num_values: Float[Array, ""]


def batch_statistics(
    x: Float[Array, "*batch C"], mask: Bool[Array, "*batch"] | None = None, axis_name: str | None = None
) -> Statistics:
    """Computes the statistics of each channel over the batch and all spatial axes.

    Args:
        x: ``[B, ..., C]``, at least float32.
        mask: bool ``[B, ...]``, True = valid; None: all positions are valid.
        axis_name: Name of the device axis to average over inside ``jax.shard_map``; None elsewhere.

    Returns:
        The statistics, in the dtype of ``x``.
    """
    if mask is not None:
        chex.assert_shape(mask, x.shape[:-1])
    valid = None if mask is None else mask[..., None]
    shift = lax.stop_gradient(_value_near_mean(x, valid))
    axes = tuple(range(x.ndim - 1))
    count = jnp.asarray(math.prod(x.shape[:-1]) if mask is None else jnp.sum(mask), x.dtype)
    if axis_name is not None:
        shift = lax.psum(shift * count, axis_name) / jnp.maximum(lax.psum(count, axis_name), 1)
    shifted = x - jnp.expand_dims(shift, axes)
    if valid is not None:
        shifted = jnp.where(valid, shifted, 0)
    sums = jnp.sum(shifted, axes), jnp.sum(shifted**2, axes)
    if axis_name is not None:
        *sums, count = lax.psum((*sums, count), axis_name)
    offset, second_moment = (total / jnp.maximum(count, 1) for total in sums)
    chex.assert_shape([shift, offset, second_moment], x.shape[-1:])
    return Statistics(shift, offset, jnp.maximum(second_moment - offset**2, 0), count)


def normalize(
    x: Float[Array, "*batch C"],
    means: Sequence[Float[Array, " C"]],
    var: Float[Array, " C"],
    scale: Float[Array, " C"],
    bias: Float[Array, " C"],
    *,
    epsilon: float,
    dtype: Any,
) -> Float[Array, "*batch C"]:
    r"""Computes :math:`\gamma (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta` for each channel in at least float32.

    Args:
        x: ``[B, ..., C]``.
        means: Summands of the mean, ``[C]`` each, subtracted one after another. Their rounded sum would be less
            accurate.
        var: Variances, ``[C]``.
        scale: :math:`\gamma`, ``[C]``.
        bias: :math:`\beta`, ``[C]``.
        epsilon: The constant added to the variance.
        dtype: Dtype of the result.

    Returns:
        ``[B, ..., C]``.
    """
    chex.assert_shape([*means, var, scale, bias], x.shape[-1:])
    compute_dtype = at_least_float32(x.dtype)
    aligned = lambda vector: jnp.expand_dims(vector.astype(compute_dtype), tuple(range(x.ndim - 1)))
    centered = x.astype(compute_dtype)
    for mean in means:
        centered = centered - aligned(mean)
    factor = lax.rsqrt(var.astype(compute_dtype) + epsilon) * scale.astype(compute_dtype)
    return (centered * aligned(factor) + aligned(bias)).astype(dtype)


def _value_near_mean(x: jax.Array, valid: jax.Array | None) -> jax.Array:
    """Returns a value near the mean of each channel, computed from an eighth of the rows of ``x [B, H, ..., C]``.

    The mean of an eighth of the values is at most sqrt(7) standard deviations from the mean of all values. Cancellation
    in the variance of ``x - shift`` therefore costs at most a factor of 8 in accuracy. With a mask, an eighth of the
    rows may have no valid value, so all rows are used. The mean of many values far from zero is inexact; the sum is
    therefore over differences from one of the values.
    """
    if x.size == 0:
        return jnp.zeros(x.shape[-1:], x.dtype)
    axes = tuple(range(x.ndim - 1))
    if valid is None:
        rows = x[:, ::8] if x.ndim > 2 else x
        # The maximum is one of the values. Unlike indexing, it works along sharded axes.
        reference = jnp.max(rows[:, :1] if x.ndim > 2 else rows, axes)
        return reference + jnp.mean(rows - jnp.expand_dims(reference, axes), axes)
    count = jnp.sum(valid, dtype=jnp.int32).astype(x.dtype)
    reference = jnp.where(count > 0, jnp.max(jnp.where(valid, x, -jnp.inf), axes), 0)
    return reference + masked_sum(x - jnp.expand_dims(reference, axes), valid, axes) / jnp.maximum(count, 1)


def local_response_norm(
    x: Float[Array, "*batch C"], size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> Float[Array, "*batch C"]:
    r"""Computes local response normalization across channels (Krizhevsky et al. 2012, section 3.3).

    .. math::
        b_i = a_i \Big/ \Big(k + \alpha \sum_{j=\max(0, i-n/2)}^{\min(C-1, i+n/2)} a_j^2\Big)^\beta

    The ``alpha`` of torch and Caffe is n times as large, since they divide it by n.

    Args:
        x: ``[..., C]``.
        size: Channels n of a sum. If n is even, the window extends one channel further to the lower side, as in torch.
        alpha, beta, k: Constants of the equation.

    Returns:
        ``[..., C]``; the sums are accumulated in at least float32.

    Raises:
        ValueError: If ``size`` is below 1.
    """
    check_integer("size", size)
    activations = x.astype(at_least_float32(x.dtype))
    pads = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    squares = jnp.pad(activations**2, pads)
    # XLA fuses the slices into the sum. A reduce_window over the minor axis is slow, and its gradient is slower.
    sums = sum(squares[..., i : i + x.shape[-1]] for i in range(size))
    return (activations * (k + alpha * sums) ** -beta).astype(x.dtype)
