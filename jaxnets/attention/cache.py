"""Key-value caches for decoding step by step."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from jaxnets.ops.masks import valid_steps
from jaxnets.ops.meshes import call_auto_sharded, spec_of


class Cache(NamedTuple):
    """Keys and values of one layer; ``cache_contents`` returns them in the layout of ``attention``.

    The axis of heads comes before the axis of steps, so that a decoding step needs no transposition.

    Attributes:
        key: ``[*batch, K, S, D]``, with capacity for S keys.
        value: ``[*batch, K, S, E]``.
        length: int32 scalar, the number of keys that are filled.
    """

    key: jax.Array
    value: jax.Array
    length: jax.Array


def init_cache(batch: tuple[int, ...], size: int, num_kv_heads: int, head_dim: int, dtype: Any = jnp.float32) -> Cache:
    """Makes an empty cache for ``size`` keys and values.

    Args:
        batch: Sizes of the batch axes.
        size: S, the capacity.
        num_kv_heads: K.
        head_dim: D.
        dtype: Dtype of keys and values.

    Raises:
        ValueError: ``batch`` is not a tuple of nonnegative integers.
    """
    if not isinstance(batch, tuple | list) or any(isinstance(n, float) or np.ndim(n) or n < 0 for n in batch):
        hint = f"; use ({batch},) for a batch of {batch}" if isinstance(batch, int) else ""
        raise ValueError(f"`batch` must be a tuple of sizes, such as (3,), got {batch!r}{hint}")
    zeros = jnp.zeros((*batch, num_kv_heads, size, head_dim), dtype)
    return Cache(zeros, zeros, jnp.zeros((), jnp.int32))


# The caches of all layers: one cache whose arrays have a leading axis of layers, or one cache per layer.
Caches = Cache | tuple[Cache, ...]


def init_caches(num_layers: int, scan_layers: bool, *arguments: Any) -> Caches:
    """Makes empty caches of all layers, stacked if ``scan_layers``; other arguments as in ``init_cache``."""
    cache = init_cache(*arguments)
    if not scan_layers:
        return (cache,) * num_layers
    return jax.tree.map(lambda leaf: jnp.zeros((num_layers, *leaf.shape), leaf.dtype), cache)


def cache_length(caches: Caches) -> jax.Array:
    """Returns the number of filled keys in a cache or in the caches of all layers."""
    if not isinstance(caches, Cache):
        if not isinstance(caches, tuple | list) or not caches or not isinstance(caches[0], Cache):
            raise ValueError(f"`cache` must be a cache from `start`, or None, got {type(caches).__name__}")
        return caches[0].length
    return caches.length[0] if caches.length.ndim else caches.length


def cache_axes(carry: Any) -> Any:
    """Returns the ``carry_axes`` of ``Stepwise`` for a carry with caches.

    The length of a cache is shared by the batch. Otherwise ``jax.vmap`` would turn the branch for a full cache into a
    select, and compute it in each step.
    """
    is_cache = lambda node: isinstance(node, Cache)
    axes_of = lambda node: node._replace(key=0, value=0, length=None)
    return jax.tree.map(lambda node: axes_of(node) if is_cache(node) else 0, carry, is_leaf=is_cache)


def static_length(length: jax.Array) -> int:
    """Returns a length as a Python integer; 0 within jit, where its value is unknown."""
    return 0 if isinstance(length, jax.core.Tracer) else int(length)


def extend_cache(cache: Cache, key: jax.Array, value: jax.Array) -> Cache:
    """Appends keys and values to a cache.

    ``attention(query, *cache_contents(cache), causal=True, offset=old_length)`` then attends to the filled part only.

    Args:
        cache: The cache.
        key: ``[*batch, T, K, D]``.
        value: ``[*batch, T, K, E]``.

    Raises:
        ValueError: The shapes do not match, or the capacity is exceeded. Within jit, where the length of the cache is
            unknown, the new keys overwrite the last ones instead, unless T exceeds the total capacity.
    """
    axis = key.ndim - 3
    old_shapes = jax.eval_shape(cache_contents, cache)
    size, more = old_shapes[0].shape[axis], key.shape[axis]
    for name, old, new in zip(("key", "value"), old_shapes, (key, value), strict=True):
        if (*old.shape[:axis], *old.shape[axis + 1 :]) != (*new.shape[:axis], *new.shape[axis + 1 :]):
            raise ValueError(f"`{name}` must match the cache, {old.shape}, in all axes but the length, got {new.shape}")
    length = static_length(cache.length)
    if length + more > size:
        raise ValueError(f"`cache` must have space for {more} more keys, got {length} of {size} filled")

    def append(old, new):
        new = jnp.swapaxes(new, -3, -2).astype(old.dtype)
        write = lambda old, new, start: lax.dynamic_update_slice_in_dim(old, new, start, axis + 1)
        spec = PartitionSpec(*spec_of(new)[:-2], None, spec_of(new)[-1])
        return call_auto_sharded(write, lambda _: spec, old, new, cache.length)

    return Cache(append(cache.key, key), append(cache.value, value), cache.length + more)


def cache_contents(cache: Cache) -> tuple[jax.Array, jax.Array]:
    """Returns keys ``[*batch, S, K, D]`` and values ``[*batch, S, K, E]``, zeros from ``cache.length`` on."""
    chex.assert_equal_shape_prefix([cache.key, cache.value], cache.key.ndim - 1)
    # The rest is zero already. Without this mask, XLA's CPU backend copies the cache four times in each step.
    filled = valid_steps(cache.length, cache.key.shape[-2])[:, None]
    mask_for = lambda array: jnp.expand_dims(filled, tuple(range(array.ndim - 2)))
    transposed = lambda array: jnp.swapaxes(jnp.where(mask_for(array), array, 0), -3, -2)
    return transposed(cache.key), transposed(cache.value)
