"""Pooling over time: one vector per sequence from the outputs of all steps."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, ArrayLike, Float, Integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import valid_steps
from jaxnets.ops.pooling import max_pool, mean_pool
from jaxnets.recurrent.checking import as_arrays, checked_lengths, described


def pool(
    ys: Float[ArrayLike, "*batch T D"],
    pooling: str,
    lengths: Integer[ArrayLike, "*batch"] | Sequence[int] | None = None,
) -> Float[Array, "*batch D"]:
    """Pools the outputs of each sequence over its valid steps.

    Args:
        ys: Outputs ``[*batch, T, D]``. The padding has no effect, even if it is NaN.
        pooling: ``"last"`` (the last valid output), ``"max"`` or ``"mean"``.
        lengths: Integers ``[*batch]`` from 0 to T, the number of valid steps of each row; None means T.

    Returns:
        ``[*batch, D]`` in the dtype of ``ys``; zeros for an empty row.

    Raises:
        ValueError: ``pooling`` is unknown, or an array has the wrong shape or dtype.
    """
    if pooling not in ("last", "max", "mean"):
        raise ValueError(f"`pooling` must be last, max or mean, got {pooling!r}")
    outputs, num_valid = _checked(ys, lengths)
    *batch, length, features = outputs.shape
    if length == 0:
        return jnp.zeros((*batch, features), outputs.dtype)
    if pooling == "last":
        # The index of an empty row is out of range and gives zeros; its padding may be NaN.
        index = jnp.where(num_valid > 0, num_valid - 1, length)[..., None, None]
        return jnp.take_along_axis(outputs, index, axis=-2, mode="fill", fill_value=0)[..., 0, :]
    return (max_pool if pooling == "max" else mean_pool)(outputs, valid_steps(num_valid, length))


def pool_directions(
    ys: Float[ArrayLike, "*batch T D"], lengths: Integer[ArrayLike, "*batch"] | Sequence[int] | None = None
) -> Float[Array, "*batch D"]:
    """Concatenates the last output of the forward pass and of the backward pass of a bidirectional layer.

    Args:
        ys: Outputs ``[*batch, T, D]``, of the forward pass in the first half of the features.
        lengths: As in ``pool``.

    Returns:
        ``[*batch, D]``: the forward outputs of the last valid step, and the backward outputs of step 0; zeros for an
        empty row.
    """
    forward, backward = jnp.split(as_arrays("ys", ys), 2, axis=-1)
    first = backward[..., :1, :]  # the backward pass of every row ends at step 0
    return jnp.concatenate([pool(forward, "last", lengths), pool(first, "max")], axis=-1)


def attention_pool(
    ys: Float[ArrayLike, "*batch T D"],
    scores: Float[ArrayLike, "*batch T"],
    lengths: Integer[ArrayLike, "*batch"] | Sequence[int] | None = None,
) -> Float[Array, "*batch D"]:
    r"""Computes the mean of the outputs with attention weights (Bahdanau et al. 2014, arXiv:1409.0473).

    .. math:: \sum_t a_t y_t, \quad a = \mathrm{softmax}(s) \text{ over the valid steps}

    Args:
        ys: Outputs y, ``[*batch, T, D]``. The padding has no effect, even if it is NaN.
        scores: Attention scores s, ``[*batch, T]``; a step with a score of minus infinity has no weight.
        lengths: Integers ``[*batch]`` from 0 to T, the number of valid steps of each row; None means T.

    Returns:
        ``[*batch, D]`` in the dtype of ``ys``; zeros for a row in which no step has a weight.

    Raises:
        ValueError: An array has the wrong shape or dtype.
    """
    outputs, num_valid = _checked(ys, lengths)
    *batch, length, features = outputs.shape
    logits = as_arrays("scores", scores)
    if logits.shape != outputs.shape[:-1] or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(f"`scores` must be floating point of shape {outputs.shape[:-1]}, got {described(logits)}")
    if length == 0:
        return jnp.zeros((*batch, features), outputs.dtype)
    dtype = at_least_float32(outputs.dtype, logits.dtype)
    valid = valid_steps(num_valid, length)
    logits = jnp.where(valid, logits.astype(dtype), -jnp.inf)
    # The softmax of a row of minus infinities is NaN, also in its gradient; such a row gets logits of 0.
    has_weight = jnp.any(logits != -jnp.inf, axis=-1, keepdims=True)
    weights = jnp.where(valid & has_weight, jax.nn.softmax(jnp.where(has_weight, logits, 0), axis=-1), 0)
    # The padding may be NaN, which a weight of zero would not remove.
    valid_outputs = jnp.where(valid[..., None], outputs, 0).astype(dtype)
    return jnp.einsum("...t,...th->...h", weights, valid_outputs).astype(outputs.dtype)


def _checked(ys: Any, lengths: Any) -> tuple[jax.Array, jax.Array]:
    """Checks outputs and lengths; None becomes the full length."""
    ys = as_arrays("ys", ys)
    if not isinstance(ys, jax.Array) or ys.ndim < 2 or not jnp.issubdtype(ys.dtype, jnp.floating):
        raise ValueError(f"`ys` must be floating point of shape [*batch, T, D], got {described(ys)}")
    *batch, length, _ = ys.shape
    if lengths is None:
        return ys, jnp.full(batch, length, jnp.int32)
    return ys, checked_lengths(lengths, length, tuple(batch))
