"""Keys and values of what came before, as a carry: a decoder with it is one more step function."""

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
    """What one layer has seen; ``contents`` gives it as ``attention`` wants it.

    Heads come before the length, as the products of a step read them: nothing is transposed.

    Attributes:
        key: ``[*batch, K, S, D]``, room for S keys.
        value: ``[*batch, K, S, E]``.
        length: int32 scalar, how many of them are there.
    """

    key: jax.Array
    value: jax.Array
    length: jax.Array


def empty_cache(batch: tuple[int, ...], size: int, heads: int, features: int, dtype: Any = jnp.float32) -> Cache:
    """A cache with room for ``size`` keys and values of ``heads`` times ``features``.

    Raises:
        ValueError: ``batch`` is not a tuple of sizes.
    """
    if not isinstance(batch, tuple | list) or any(isinstance(n, float) or np.ndim(n) or n < 0 for n in batch):
        fix = f"; for {batch} rows give ({batch},)" if isinstance(batch, int) else ""
        raise ValueError(f"`batch` must be a tuple of sizes, such as (3,), got {batch!r}{fix}")
    zeros = jnp.zeros((*batch, heads, size, features), dtype)
    return Cache(zeros, zeros, jnp.zeros((), jnp.int32))


Caches = Cache | tuple[Cache, ...]  # of all layers: with an axis of layers first in every array, or one for each layer


def empty_caches(num_layers: int, scan_layers: bool, *arguments: Any) -> Caches:
    """Those of ``num_layers`` layers; ``arguments`` as of ``empty_cache``."""
    one = empty_cache(*arguments)
    if not scan_layers:
        return (one,) * num_layers
    return jax.tree.map(lambda leaf: jnp.zeros((num_layers, *leaf.shape), leaf.dtype), one)


def length_of(caches: Caches) -> jax.Array:
    """The number of keys in each layer, of the caches of all layers or of one."""
    if not isinstance(caches, Cache):
        if not isinstance(caches, tuple | list) or not caches or not isinstance(caches[0], Cache):
            raise ValueError(f"`cache` must be what `start` returns, or None, got {type(caches).__name__}")
        return caches[0].length
    return caches.length[0] if caches.length.ndim else caches.length


def cache_axes(carry: Any) -> Any:
    """The axis of rows in a carry with caches, for ``Stepwise``: all rows have the same number of keys.

    That is one number, or else each step would compute what only a full cache needs.
    """
    is_cache = lambda node: isinstance(node, Cache)
    of_cache = lambda node: node._replace(key=0, value=0, length=None)
    return jax.tree.map(lambda node: of_cache(node) if is_cache(node) else 0, carry, is_leaf=is_cache)


def known_length(length: jax.Array) -> int:
    """A length as a number; 0 within jit, where it is not known."""
    return 0 if isinstance(length, jax.core.Tracer) else int(length)


def extend(cache: Cache, key: jax.Array, value: jax.Array) -> Cache:
    """The cache with more keys ``[*batch, T, K, D]`` and values ``[*batch, T, K, E]``.

    ``attention(query, *contents(cache), causal=True, offset=length_before)`` then sees what is there and no more.

    Raises:
        ValueError: There is no room, or they do not fit. (Within jit, where the length is not known, only what is
            longer than the whole cache is seen; what does not fit replaces the last ones.)
    """
    axis = key.ndim - 3
    before = jax.eval_shape(contents, cache)
    size, more = before[0].shape[axis], key.shape[axis]
    for name, old, new in zip(("key", "value"), before, (key, value), strict=True):
        if (*old.shape[:axis], *old.shape[axis + 1 :]) != (*new.shape[:axis], *new.shape[axis + 1 :]):
            raise ValueError(
                f"`{name}` must agree with the cache, {old.shape}, in all axes but the length, got {new.shape}"
            )
    length = known_length(cache.length)
    if length + more > size:
        raise ValueError(f"`cache` must have room for {more} more, got {size}, of which {length} are taken")

    def put(old, new):
        new = jnp.swapaxes(new, -3, -2).astype(old.dtype)
        write = lambda old, new, start: lax.dynamic_update_slice_in_dim(old, new, start, axis + 1)
        divided = PartitionSpec(*spec_of(new)[:-2], None, spec_of(new)[-1])
        return call_auto_sharded(write, lambda _: divided, old, new, cache.length)

    return Cache(put(cache.key, key), put(cache.value, value), cache.length + more)


def contents(cache: Cache) -> tuple[jax.Array, jax.Array]:
    """Keys ``[*batch, S, K, D]`` and values ``[*batch, S, K, E]``, zeros from ``cache.length`` on."""
    chex.assert_equal_shape_prefix([cache.key, cache.value], cache.key.ndim - 1)
    # Chosen once more where zeros are anyway: without it XLA's CPU backend copies a cache four times in every step.
    there = valid_steps(cache.length, cache.key.shape[-2])[:, None]
    fit = lambda array: jnp.expand_dims(there, tuple(range(array.ndim - 2)))
    one = lambda array: jnp.swapaxes(jnp.where(fit(array), array, 0), -3, -2)
    return one(cache.key), one(cache.value)
