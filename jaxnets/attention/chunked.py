"""Exact attention in memory linear in the length: blocks of queries and keys, and a gradient that makes them again.

Rabe and Staats 2021 (arXiv:2112.05682); Dao et al. 2022 (FlashAttention, arXiv:2205.14135). Of the forward pass are
kept the outputs and, of each query, the logarithm of its softmax's sum. Blocks in which no query sees a key are not
computed.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.attention.masking import Limits, Pattern, dropped, part, product, rows, scores
from jaxnets.devices import padded
from jaxnets.ops.dtypes import at_least_float32


def in_blocks(
    run: Callable,
    pattern: Pattern,
    limits: Limits,
    bias: jax.Array | None,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    blocks: tuple[int, int] | None,
) -> jax.Array:
    """Runs ``chunked`` or its like on whole blocks: adds keys that are not real, and queries that are cut off after."""
    chex.assert_rank([query, key, value], [5, 4, 4])
    chex.assert_equal_shape_prefix([key, value], 3)
    t, s = query.shape[3], key.shape[2]
    wished = blocks or (256, 512)
    if len(wished) != 2 or min(wished) < 1:
        raise ValueError(f"`blocks` must be at least 1 query and 1 key, got {blocks}")
    size = (min(wished[0], t), min(wished[1], s))
    whole = {3: t + -t % size[0], 4: s + -s % size[1]}

    def widened(array):
        for axis, length in whole.items():
            array = array if array.shape[axis] == 1 else padded(array, axis, length)
        return array

    query, key, value = padded(query, 3, whole[3]), padded(key, 2, whole[4]), padded(value, 2, whole[4])
    bias, mask = (None if a is None else widened(a) for a in (bias, limits.mask))
    return run(pattern, size, query, key, value, bias, limits._replace(mask=mask))[:, :, :, :t]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def chunked(
    pattern: Pattern,
    blocks: tuple[int, int],
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    bias: jax.Array | None,
    limits: Limits,
) -> jax.Array:
    """Attention of ``query [B, K, G, T, D]`` on ``key [B, K, S, D]`` and ``value [B, K, S, E]``.

    Args:
        pattern, blocks: Static; blocks are the sizes of queries and keys, which divide T and S.
        query, key, value, bias: What is differentiated.
        limits: What is not.

    Returns:
        ``[B, K, G, T, E]``, float32 at least.
    """
    return forward(pattern, blocks, query, key, value, bias, limits)[0]


def forward(pattern, blocks, query, key, value, bias, limits):
    """Outputs, and logarithms of the sums ``[B, K, G, T]``, minus infinity where a query sees nothing."""
    t, s = blocks
    accumulate = at_least_float32(query.dtype)
    low, high = _bounds(pattern, limits)

    def row(_, i):
        here = lax.dynamic_slice_in_dim(query, i, t, 3)

        def block(number, state):
            highest, total, weighted = state
            j = number * s
            logits = scores(pattern, limits, bias, here, lax.dynamic_slice_in_dim(key, j, s, 2), i, j)
            higher = jnp.maximum(highest, jnp.max(logits, axis=-1))
            shift = finite(higher)
            weights = jnp.exp(logits - shift[..., None])
            shrink = jnp.exp(highest - shift)
            total = total * shrink + jnp.sum(weights, axis=-1)
            weights = dropped(pattern, limits, weights, i, j).astype(value.dtype)
            values = lax.dynamic_slice_in_dim(value, j, s, 2)
            return higher, total, weighted * shrink[..., None] + product("rs,se->re", weights, values)

        shape = rows(here).shape[:-1]
        state = (
            jnp.full(shape, -jnp.inf, accumulate),
            jnp.zeros(shape, accumulate),
            jnp.zeros((*shape, value.shape[-1]), accumulate),
        )
        first, last = low(i) // s, -(-high(i, t) // s)
        highest, total, weighted = lax.fori_loop(first, jnp.minimum(last, key.shape[2] // s), block, state)
        total = jnp.where(total > 0, total, 1)
        # A query that sees nothing gives zeros even where a value is not finite.
        outputs = jnp.where(jnp.isneginf(highest)[..., None], 0, weighted / total[..., None])
        return None, (outputs, highest + jnp.log(total))

    _, (outputs, sums) = lax.scan(row, None, jnp.arange(0, query.shape[3], t, dtype=jnp.int32))

    def join(blocks):
        """``[n, B, K, G t, ...]`` as ``[B, K, G, n t, ...]``."""
        apart = blocks.reshape(-1, *query.shape[:3], t, *blocks.shape[4:])
        return jnp.moveaxis(apart, 0, 3).reshape(*query.shape[:4], *blocks.shape[4:])

    return join(outputs), join(sums)


def _forward_rule(pattern, blocks, query, key, value, bias, limits):
    outputs, sums = forward(pattern, blocks, query, key, value, bias, limits)
    return outputs, (query, key, value, bias, limits, outputs, sums)


def backward(pattern, blocks, kept, gradient):
    """The gradients of query, key, value and bias, float32 at least.

    Args:
        pattern, blocks: As above.
        kept: ``(query, key, value, bias, limits, outputs, sums)``; outputs and sums may be of more keys than these.
        gradient: Of the outputs.
    """
    query, key, value, bias, limits, outputs, sums = kept
    chex.assert_equal_shape([outputs, gradient])
    chex.assert_shape(sums, query.shape[:4])
    t, s = blocks
    accumulate = outputs.dtype
    along, sums = jnp.sum(gradient * outputs, axis=-1), finite(sums)
    gradient = gradient.astype(value.dtype)
    low, high = _bounds(pattern, limits)

    def column(state, j):
        keys, values = lax.dynamic_slice_in_dim(key, j, s, 2), lax.dynamic_slice_in_dim(value, j, s, 2)

        def block(number, state):
            dquery, dbias, dkeys, dvalues = state
            i = number * t
            cut = lambda a: lax.dynamic_slice_in_dim(a, i, t, 3)
            here, arriving, total, inner = cut(query), rows(cut(gradient)), rows(cut(sums)), rows(cut(along))
            logits = scores(pattern, limits, bias, here, keys, i, j)
            weights = jnp.exp(logits - total[..., None])
            used = dropped(pattern, limits, weights, i, j).astype(value.dtype)
            dvalues += product("rs,re->se", used, arriving)
            dweights = dropped(pattern, limits, product("re,se->rs", arriving, values), i, j)
            dlogits = jnp.where(jnp.isneginf(logits), 0, weights * (dweights - inner[..., None]))
            dbias = _added(dbias, dlogits.reshape(*here.shape[:4], s), i, j)
            dlogits = (pattern.scale * dlogits).astype(query.dtype)
            dkeys += product("rs,rd->sd", dlogits, rows(here))
            dhere = product("rs,sd->rd", dlogits, keys).reshape(here.shape)
            return lax.dynamic_update_slice_in_dim(dquery, cut(dquery) + dhere, i, 3), dbias, dkeys, dvalues

        zeros = (jnp.zeros(a.shape, accumulate) for a in (keys, values))
        numbers = jnp.arange(query.shape[3] // t, dtype=jnp.int32)
        # The queries that see some key of this column are neighbors.
        seen = (low(numbers * t) < j + s) & (high(numbers * t, t) > j)
        place = lambda seen: jnp.argmax(seen).astype(jnp.int32)
        first, last = place(seen), len(numbers) - place(seen[::-1])
        last = jnp.where(jnp.any(seen), last, first)
        dquery, dbias, *made = lax.fori_loop(first, last, block, (*state, *zeros))
        return (dquery, dbias), tuple(made)

    state = (jnp.zeros(query.shape, accumulate), jax.tree.map(jnp.zeros_like, bias))
    (dquery, dbias), (dkey, dvalue) = lax.scan(column, state, jnp.arange(0, key.shape[2], s, dtype=jnp.int32))
    join = lambda blocks, like: jnp.moveaxis(blocks, 0, 2).reshape(like.shape)
    return dquery, join(dkey, key), join(dvalue, value), dbias


def _backward_rule(pattern, blocks, kept, gradient):
    *gradients, dbias = backward(pattern, blocks, kept, gradient)
    chex.assert_trees_all_equal_shapes(tuple(gradients), tuple(kept[:3]))
    return *(made.astype(of.dtype) for made, of in zip(gradients, kept, strict=False)), dbias, None


chunked.defvjp(_forward_rule, _backward_rule)


def _bounds(pattern: Pattern, limits: Limits) -> tuple[Any, Any]:
    """Functions of the first query of a block: the first key that one of the block sees, and the one after the last."""

    def low(i):
        if pattern.window is None:
            return jnp.zeros_like(i)
        return jnp.maximum(jnp.min(limits.offset) + i - pattern.window[0], 0)

    def high(i, t):
        after = min([0] * pattern.causal + ([] if pattern.window is None else [pattern.window[1]]), default=None)
        last = jnp.max(limits.lengths)
        return last + 0 * i if after is None else jnp.minimum(last, jnp.max(limits.offset) + i + t + after)

    return low, high


def finite(highest: jax.Array) -> jax.Array:
    """The largest logit, 0 where there is none, so that differences are no NaN."""
    return jnp.where(jnp.isneginf(highest), 0, highest)


def _added(total: jax.Array | None, block: jax.Array, i, j) -> jax.Array | None:
    """The gradient of a bias with that of one block added, summed over the axes along which the bias is the same."""
    if total is None:
        return None
    t, s = block.shape[-2:]
    for axis, size in enumerate(total.shape):
        if size == 1:
            block = jnp.sum(block, axis, keepdims=True)
    start = [0, 0, 0, i if total.shape[3] != 1 else 0, j if total.shape[4] != 1 else 0]
    return lax.dynamic_update_slice(total, part(total, i, j, t, s) + block.astype(total.dtype), start)
