"""Who may attend to whom: what attention has of masks, in one place, for any block of queries and keys."""

import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.dtypes import at_least_float32

# Of positions of queries [*batch, T] and of keys [S]: [*batch, heads, T, S], or what broadcasts to it.
Bias = Callable[[jax.Array, jax.Array], jax.Array]


class Pattern(NamedTuple):
    """The static part.

    Attributes:
        causal: Whether a query sees no key after its own position.
        window: How many keys before and after its own position a query sees; None: all.
        bias: A bias as a function of positions, or None.
        scale: Of the products.
        dropout: Probability of dropping a weight.
    """

    causal: bool
    window: tuple[int, int] | None
    bias: Bias | None
    scale: float
    dropout: float


class Limits(NamedTuple):
    """What is not differentiated.

    Attributes:
        mask: bool ``[B or 1, K or 1, G or 1, T or 1, S or 1]``, or None.
        lengths: int32 ``[B]``, how many keys are real.
        offset: int32 ``[B]``, the position of the first query.
        key: Of dropout, or None.
    """

    mask: jax.Array | None
    lengths: jax.Array
    offset: jax.Array
    key: jax.Array | None


def scores(
    pattern: Pattern, limits: Limits, bias: jax.Array | None, query: jax.Array, key: jax.Array, i, j
) -> jax.Array:
    """The logits of a block, minus infinity where a query may not see a key.

    Args:
        pattern, limits: For all queries and keys.
        bias: As ``limits.mask``, floating point.
        query: ``[B, K, G, t, D]``, the queries from number i on.
        key: ``[B, K, s, D]``, the keys from number j on.
        i, j: Integers.

    Returns:
        ``[B, K, G t, s]``, float32 at least.
    """
    chex.assert_rank([query, key], [5, 4])
    chex.assert_equal_shape_prefix([query, key], 2)
    groups, heads, t, s = query.shape[1], query.shape[2], query.shape[3], key.shape[-2]
    logits = pattern.scale * product("rd,sd->rs", rows(query), key)
    at = limits.offset[:, None] + i + jnp.arange(t, dtype=jnp.int32)[None]
    of = j + jnp.arange(s, dtype=jnp.int32)
    if pattern.bias is not None:
        found = pattern.bias(at, of)
        found = found.reshape(*(1,) * (4 - found.ndim), *found.shape)
        found = found.reshape(found.shape[0], *_heads(found.shape[1], groups), *found.shape[2:])
        logits += _by_row(found, heads, t).astype(logits.dtype)
    if bias is not None:
        logits += _by_row(part(bias, i, j, t, s), heads, t).astype(logits.dtype)
    seen = (of[None] < limits.lengths[:, None])[:, None, None]
    distance = (of[None, None] - jnp.tile(at, (1, heads))[..., None])[:, None]
    if pattern.causal:
        seen &= distance <= 0
    if pattern.window is not None:
        before, after = pattern.window
        seen &= (distance >= -before) & (distance <= after)
    if limits.mask is not None:
        seen &= _by_row(part(limits.mask, i, j, t, s), heads, t)
    return jnp.where(seen, logits, -jnp.inf)


def rows(array: jax.Array) -> jax.Array:
    """``[B, K, G, t, ...]`` as ``[B, K, G t, ...]``: what a key head serves is one axis of rows.

    On a CPU, XLA is several times slower with products of two such axes, and where their results are reshaped.
    """
    return array.reshape(*array.shape[:2], array.shape[2] * array.shape[3], *array.shape[4:])


def _by_row(array: jax.Array, heads: int, t: int) -> jax.Array:
    """``[B or 1, K or 1, G or 1, t or 1, s or 1]`` as what broadcasts to ``[B, K, G t, s]``."""
    chex.assert_rank(array, 5)
    if array.shape[2] == array.shape[3] == 1:
        return array[:, :, 0]
    return rows(jnp.broadcast_to(array, (*array.shape[:2], heads, t, array.shape[-1])))


def product(subscripts: str, left: jax.Array, right: jax.Array) -> jax.Array:
    """A product for each batch row and key head, accumulated in float32 at least."""
    left_axes, right_axes, result = subscripts.replace("->", ",").split(",")
    chex.assert_rank([left, right], [2 + len(left_axes), 2 + len(right_axes)])
    chex.assert_equal_shape_prefix([left, right], 2)
    accumulate = at_least_float32(left.dtype)
    full = f"bk{left_axes},bk{right_axes}->bk{result}"
    return jnp.einsum(full, left, right, preferred_element_type=accumulate)


def _heads(count: int, groups: int) -> tuple[int, int]:
    """A number of heads as (key heads, query heads of each), 1 for all of them."""
    return (1, 1) if count == 1 else (groups, count // groups)


def grouped(array: jax.Array, batch: tuple[int, ...], groups: int) -> jax.Array:
    """What broadcasts to ``[*batch, N, T, S]`` as ``[B or 1, K or 1, G or 1, T or 1, S or 1]``."""
    array = array.reshape(*(1,) * (len(batch) + 3 - array.ndim), *array.shape)
    heads, t, s = array.shape[-3:]
    rows = 1
    if any(size != 1 for size in array.shape[:-3]):
        array, rows = jnp.broadcast_to(array, (*batch, heads, t, s)), math.prod(batch)
    return array.reshape(rows, *_heads(heads, groups), t, s)


def part(array: jax.Array, i, j, t: int, s: int) -> jax.Array:
    """The block of t queries from i on and s keys from j on; axes of one stay so."""
    if array.shape[-2] != 1:
        array = lax.dynamic_slice_in_dim(array, i, t, -2)
    return array if array.shape[-1] == 1 else lax.dynamic_slice_in_dim(array, j, s, -1)


def dropped(pattern: Pattern, limits: Limits, weights: jax.Array, i, j) -> jax.Array:
    """Weights of a block, or their gradients, with dropout: the same weights are dropped whenever a block is made."""
    if pattern.dropout == 0 or limits.key is None:
        return weights
    key = jax.random.fold_in(jax.random.fold_in(limits.key, i), j)
    kept = jax.random.bernoulli(key, 1 - pattern.dropout, weights.shape)
    return jnp.where(kept, weights / (1 - pattern.dropout), 0)


def softmax(logits: jax.Array) -> jax.Array:
    """Over the last axis; zeros where all are minus infinity."""
    highest = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True, initial=-jnp.inf))
    weights = jnp.exp(logits - jnp.where(jnp.isneginf(highest), 0, highest))
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1)
