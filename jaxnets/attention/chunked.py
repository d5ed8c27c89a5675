"""Exact attention in memory linear in the length, computed block by block, with a gradient that recomputes blocks.

Rabe and Staats 2021 (arXiv:2112.05682); Dao et al. 2022 (FlashAttention, arXiv:2205.14135). The forward pass saves the
outputs and the log-sum-exp of each query's logits. Blocks that are masked completely are skipped.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.attention.masking import AttentionConfig, MaskArrays, apply_dropout, product, rows, scores, slice_block
from jaxnets.devices import pad_axis
from jaxnets.ops.dtypes import at_least_float32


def in_blocks(
    run: Callable,
    config: AttentionConfig,
    masks: MaskArrays,
    bias: jax.Array | None,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    blocks: tuple[int, int] | None,
) -> jax.Array:
    """Pads queries and keys to whole blocks, calls ``run``, such as ``chunked``, and removes the padding."""
    chex.assert_rank([query, key, value], [5, 4, 4])
    chex.assert_equal_shape_prefix([key, value], 3)
    t, s = query.shape[3], key.shape[2]
    requested = blocks or (256, 512)
    if len(requested) != 2 or min(requested) < 1:
        raise ValueError(f"`blocks` must be two sizes of at least 1, of queries and keys, got {blocks}")
    size = (min(requested[0], t), min(requested[1], s))
    padded_sizes = {3: t + -t % size[0], 4: s + -s % size[1]}

    def pad_mask(array):
        for axis, length in padded_sizes.items():
            array = array if array.shape[axis] == 1 else pad_axis(array, axis, length)
        return array

    query, key, value = (
        pad_axis(query, 3, padded_sizes[3]),
        pad_axis(key, 2, padded_sizes[4]),
        pad_axis(value, 2, padded_sizes[4]),
    )
    bias, mask = (None if a is None else pad_mask(a) for a in (bias, masks.mask))
    return run(config, size, query, key, value, bias, masks._replace(mask=mask))[:, :, :, :t]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def chunked(
    config: AttentionConfig,
    blocks: tuple[int, int],
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    bias: jax.Array | None,
    masks: MaskArrays,
) -> jax.Array:
    """Computes attention block by block.

    Args:
        config: Static options.
        blocks: Sizes of blocks of queries and keys, divisors of T and S; static.
        query: ``[B, K, G, T, D]``, for G query heads per key head.
        key: ``[B, K, S, D]``.
        value: ``[B, K, S, E]``.
        bias: Like ``masks.mask``, floating point, or None.
        masks: Masks, without gradients.

    Returns:
        ``[B, K, G, T, E]``, float32 at least.
    """
    return forward(config, blocks, query, key, value, bias, masks)[0]


def forward(config, blocks, query, key, value, bias, masks):
    """Returns the outputs and the log-sum-exp of logits ``[B, K, G, T]``, minus infinity for a masked query."""
    t, s = blocks
    accumulate = at_least_float32(query.dtype)
    low, high = _bounds(config, masks)

    def row(_, i):
        queries = lax.dynamic_slice_in_dim(query, i, t, 3)

        def block(index, state):
            maximum, total, weighted = state
            j = index * s
            logits = scores(config, masks, bias, queries, lax.dynamic_slice_in_dim(key, j, s, 2), i, j)
            new_maximum = jnp.maximum(maximum, jnp.max(logits, axis=-1))
            shift = finite_max(new_maximum)
            weights = jnp.exp(logits - shift[..., None])
            rescale = jnp.exp(maximum - shift)
            total = total * rescale + jnp.sum(weights, axis=-1)
            weights = apply_dropout(config, masks, weights, i, j).astype(value.dtype)
            values = lax.dynamic_slice_in_dim(value, j, s, 2)
            return new_maximum, total, weighted * rescale[..., None] + product("rs,se->re", weights, values)

        shape = rows(queries).shape[:-1]
        state = (
            jnp.full(shape, -jnp.inf, accumulate),
            jnp.zeros(shape, accumulate),
            jnp.zeros((*shape, value.shape[-1]), accumulate),
        )
        first, last = low(i) // s, -(-high(i, t) // s)
        maximum, total, weighted = lax.fori_loop(first, jnp.minimum(last, key.shape[2] // s), block, state)
        total = jnp.where(total > 0, total, 1)
        # A masked query yields zeros even if a value is not finite.
        outputs = jnp.where(jnp.isneginf(maximum)[..., None], 0, weighted / total[..., None])
        return None, (outputs, maximum + jnp.log(total))

    _, (outputs, sums) = lax.scan(row, None, jnp.arange(0, query.shape[3], t, dtype=jnp.int32))

    def join(blocks):
        """Reshapes ``[n, B, K, G t, ...]`` to ``[B, K, G, n t, ...]``."""
        split = blocks.reshape(-1, *query.shape[:3], t, *blocks.shape[4:])
        return jnp.moveaxis(split, 0, 3).reshape(*query.shape[:4], *blocks.shape[4:])

    return join(outputs), join(sums)


def _forward_rule(config, blocks, query, key, value, bias, masks):
    outputs, sums = forward(config, blocks, query, key, value, bias, masks)
    return outputs, (query, key, value, bias, masks, outputs, sums)


def backward(config, blocks, residuals, gradient):
    """Returns the gradients of query, key, value and bias, float32 at least.

    Args:
        config, blocks: As in ``chunked``.
        residuals: ``(query, key, value, bias, masks, outputs, logsumexps)``; the last two may include further keys.
        gradient: Gradient of the outputs.
    """
    query, key, value, bias, masks, outputs, sums = residuals
    chex.assert_equal_shape([outputs, gradient])
    chex.assert_shape(sums, query.shape[:4])
    t, s = blocks
    accumulate = outputs.dtype
    inner_products, sums = jnp.sum(gradient * outputs, axis=-1), finite_max(sums)
    gradient = gradient.astype(value.dtype)
    low, high = _bounds(config, masks)

    def column(state, j):
        keys, values = lax.dynamic_slice_in_dim(key, j, s, 2), lax.dynamic_slice_in_dim(value, j, s, 2)

        def block(index, state):
            dquery, dbias, dkeys, dvalues = state
            i = index * t
            cut = lambda a: lax.dynamic_slice_in_dim(a, i, t, 3)
            queries, doutputs, total, inner = (
                cut(query),
                rows(cut(gradient)),
                rows(cut(sums)),
                rows(cut(inner_products)),
            )
            logits = scores(config, masks, bias, queries, keys, i, j)
            weights = jnp.exp(logits - total[..., None])
            used = apply_dropout(config, masks, weights, i, j).astype(value.dtype)
            dvalues += product("rs,re->se", used, doutputs)
            dweights = apply_dropout(config, masks, product("re,se->rs", doutputs, values), i, j)
            dlogits = jnp.where(jnp.isneginf(logits), 0, weights * (dweights - inner[..., None]))
            dbias = _add_block(dbias, dlogits.reshape(*queries.shape[:4], s), i, j)
            dlogits = (config.scale * dlogits).astype(query.dtype)
            dkeys += product("rs,rd->sd", dlogits, rows(queries))
            dqueries = product("rs,sd->rd", dlogits, keys).reshape(queries.shape)
            return lax.dynamic_update_slice_in_dim(dquery, cut(dquery) + dqueries, i, 3), dbias, dkeys, dvalues

        zeros = (jnp.zeros(a.shape, accumulate) for a in (keys, values))
        indices = jnp.arange(query.shape[3] // t, dtype=jnp.int32)
        # The blocks of queries that attend to a key of this column are adjacent.
        is_needed = (low(indices * t) < j + s) & (high(indices * t, t) > j)
        first_true = lambda mask: jnp.argmax(mask).astype(jnp.int32)
        first, last = first_true(is_needed), len(indices) - first_true(is_needed[::-1])
        last = jnp.where(jnp.any(is_needed), last, first)
        dquery, dbias, *gradients = lax.fori_loop(first, last, block, (*state, *zeros))
        return (dquery, dbias), tuple(gradients)

    state = (jnp.zeros(query.shape, accumulate), jax.tree.map(jnp.zeros_like, bias))
    (dquery, dbias), (dkey, dvalue) = lax.scan(column, state, jnp.arange(0, key.shape[2], s, dtype=jnp.int32))
    join = lambda blocks, like: jnp.moveaxis(blocks, 0, 2).reshape(like.shape)
    return dquery, join(dkey, key), join(dvalue, value), dbias


def _backward_rule(config, blocks, residuals, gradient):
    *gradients, dbias = backward(config, blocks, residuals, gradient)
    chex.assert_trees_all_equal_shapes(tuple(gradients), tuple(residuals[:3]))
    return *(gradient.astype(array.dtype) for gradient, array in zip(gradients, residuals, strict=False)), dbias, None


chunked.defvjp(_forward_rule, _backward_rule)


def _bounds(config: AttentionConfig, masks: MaskArrays) -> tuple[Any, Any]:
    """Returns functions from a block's first query to the start and the end of the range of keys it attends to."""

    def low(i):
        if config.window is None:
            return jnp.zeros_like(i)
        return jnp.maximum(jnp.min(masks.offset) + i - config.window[0], 0)

    def high(i, t):
        reach = min([0] * config.causal + ([] if config.window is None else [config.window[1]]), default=None)
        last = jnp.max(masks.lengths)
        return last + 0 * i if reach is None else jnp.minimum(last, jnp.max(masks.offset) + i + t + reach)

    return low, high


def finite_max(maximum: jax.Array) -> jax.Array:
    """Replaces a maximum of minus infinity by 0, so that differences from it are not NaN."""
    return jnp.where(jnp.isneginf(maximum), 0, maximum)


def _add_block(total: jax.Array | None, block: jax.Array, i, j) -> jax.Array | None:
    """Adds the gradient of one block to the gradient of a bias, summed over the axes along which it broadcasts."""
    if total is None:
        return None
    t, s = block.shape[-2:]
    for axis, size in enumerate(total.shape):
        if size == 1:
            block = jnp.sum(block, axis, keepdims=True)
    start = [0, 0, 0, i if total.shape[3] != 1 else 0, j if total.shape[4] != 1 else 0]
    return lax.dynamic_update_slice(total, slice_block(total, i, j, t, s) + block.astype(total.dtype), start)
