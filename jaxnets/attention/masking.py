"""Attention masks, biases and dropout for any block of queries and keys."""

import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.dtypes import at_least_float32

# From positions of queries [*batch, T] and of keys [S] to a bias that broadcasts to [*batch, heads, T, S].
Bias = Callable[[jax.Array, jax.Array], jax.Array]


class AttentionConfig(NamedTuple):
    """Static options of attention.

    Attributes:
        causal: Whether a query attends only to keys up to its own position.
        window: Number of keys before and after its own position to which a query attends; None: unlimited.
        bias: A bias as a function of positions, or None.
        scale: Factor of the dot products.
        dropout: Dropout probability of weights.
    """

    causal: bool
    window: tuple[int, int] | None
    bias: Bias | None
    scale: float
    dropout: float


class MaskArrays(NamedTuple):
    """Arrays that mask attention. They have no gradient.

    Attributes:
        mask: bool ``[B or 1, K or 1, G or 1, T or 1, S or 1]``, or None.
        lengths: int32 ``[B]``, the number of valid keys.
        offset: int32 ``[B]``, the position of the first query.
        key: Random key of dropout, or None.
    """

    mask: jax.Array | None
    lengths: jax.Array
    offset: jax.Array
    key: jax.Array | None


def scores(
    config: AttentionConfig, masks: MaskArrays, bias: jax.Array | None, query: jax.Array, key: jax.Array, i, j
) -> jax.Array:
    """Computes the logits of a block, minus infinity where a query must not attend to a key.

    Args:
        config, masks: Options and masks of all queries and keys.
        bias: Like ``masks.mask``, floating point, or None.
        query: ``[B, K, G, t, D]``, the queries from index i on.
        key: ``[B, K, s, D]``, the keys from index j on.
        i, j: Integers.

    Returns:
        ``[B, K, G t, s]``, float32 at least.
    """
    chex.assert_rank([query, key], [5, 4])
    chex.assert_equal_shape_prefix([query, key], 2)
    groups, heads, t, s = query.shape[1], query.shape[2], query.shape[3], key.shape[-2]
    logits = config.scale * product("rd,sd->rs", rows(query), key)
    query_positions = masks.offset[:, None] + i + jnp.arange(t, dtype=jnp.int32)[None]
    key_positions = j + jnp.arange(s, dtype=jnp.int32)
    if config.bias is not None:
        values = config.bias(query_positions, key_positions)
        values = values.reshape(*(1,) * (4 - values.ndim), *values.shape)
        values = values.reshape(values.shape[0], *_split_heads(values.shape[1], groups), *values.shape[2:])
        logits += _by_row(values, heads, t).astype(logits.dtype)
    if bias is not None:
        logits += _by_row(slice_block(bias, i, j, t, s), heads, t).astype(logits.dtype)
    allowed = (key_positions[None] < masks.lengths[:, None])[:, None, None]
    distance = (key_positions[None, None] - jnp.tile(query_positions, (1, heads))[..., None])[:, None]
    if config.causal:
        allowed &= distance <= 0
    if config.window is not None:
        before, after = config.window
        allowed &= (distance >= -before) & (distance <= after)
    if masks.mask is not None:
        allowed &= _by_row(slice_block(masks.mask, i, j, t, s), heads, t)
    return jnp.where(allowed, logits, -jnp.inf)


def rows(array: jax.Array) -> jax.Array:
    """Reshapes ``[B, K, G, t, ...]`` to ``[B, K, G t, ...]``: all queries that share a key head become one axis.

    On a CPU, XLA's products over two such axes, and reshapes of their results, are several times slower.
    """
    return array.reshape(*array.shape[:2], array.shape[2] * array.shape[3], *array.shape[4:])


def _by_row(array: jax.Array, heads: int, t: int) -> jax.Array:
    """Reshapes ``[B or 1, K or 1, G or 1, t or 1, s or 1]`` such that it broadcasts to ``[B, K, G t, s]``."""
    chex.assert_rank(array, 5)
    if array.shape[2] == array.shape[3] == 1:
        return array[:, :, 0]
    return rows(jnp.broadcast_to(array, (*array.shape[:2], heads, t, array.shape[-1])))


def product(subscripts: str, left: jax.Array, right: jax.Array) -> jax.Array:
    """Computes an einsum for each example and key head, accumulated in float32 at least."""
    left_axes, right_axes, result = subscripts.replace("->", ",").split(",")
    chex.assert_rank([left, right], [2 + len(left_axes), 2 + len(right_axes)])
    chex.assert_equal_shape_prefix([left, right], 2)
    accumulate = at_least_float32(left.dtype)
    full = f"bk{left_axes},bk{right_axes}->bk{result}"
    return jnp.einsum(full, left, right, preferred_element_type=accumulate)


def _split_heads(count: int, groups: int) -> tuple[int, int]:
    """Splits a head count into key heads and query heads per key head; a count of 1 broadcasts over all heads."""
    return (1, 1) if count == 1 else (groups, count // groups)


def grouped(array: jax.Array, batch: tuple[int, ...], groups: int) -> jax.Array:
    """Reshapes an array that broadcasts to ``[*batch, N, T, S]`` to ``[B or 1, K or 1, G or 1, T or 1, S or 1]``."""
    array = array.reshape(*(1,) * (len(batch) + 3 - array.ndim), *array.shape)
    heads, t, s = array.shape[-3:]
    num_rows = 1
    if any(size != 1 for size in array.shape[:-3]):
        array, num_rows = jnp.broadcast_to(array, (*batch, heads, t, s)), math.prod(batch)
    return array.reshape(num_rows, *_split_heads(heads, groups), t, s)


def slice_block(array: jax.Array, i, j, t: int, s: int) -> jax.Array:
    """Slices the block of t queries from i on and s keys from j on; axes of size 1 are unchanged."""
    if array.shape[-2] != 1:
        array = lax.dynamic_slice_in_dim(array, i, t, -2)
    return array if array.shape[-1] == 1 else lax.dynamic_slice_in_dim(array, j, s, -1)


def apply_dropout(config: AttentionConfig, masks: MaskArrays, weights: jax.Array, i, j) -> jax.Array:
    """Applies dropout to the weights of a block or to their gradients, with the same mask in each call."""
    if config.dropout == 0 or masks.key is None:
        return weights
    key = jax.random.fold_in(jax.random.fold_in(masks.key, i), j)
    keep = jax.random.bernoulli(key, 1 - config.dropout, weights.shape)
    return jnp.where(keep, weights / (1 - config.dropout), 0)


def softmax(logits: jax.Array) -> jax.Array:
    """Computes the softmax over the last axis; zeros if all logits are minus infinity."""
    maximum = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True, initial=-jnp.inf))
    weights = jnp.exp(logits - jnp.where(jnp.isneginf(maximum), 0, maximum))
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1)
