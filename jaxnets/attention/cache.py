"""Keys and values of what came before, as a carry: a decoder with it is one more step function."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Cache(NamedTuple):
    """Attributes:
    key: ``[*batch, S, K, D]``, room for S keys.
    value: ``[*batch, S, K, E]``.
    length: int32 scalar, how many of them are there.
    """

    key: jax.Array
    value: jax.Array
    length: jax.Array


def empty_cache(batch: tuple[int, ...], size: int, heads: int, features: int, dtype: Any = jnp.float32) -> Cache:
    """A cache with room for ``size`` keys and values of ``heads`` times ``features``."""
    zeros = jnp.zeros((*batch, size, heads, features), dtype)
    return Cache(zeros, zeros, jnp.zeros((), jnp.int32))


def empty_caches(layers: int, *arguments: Any) -> Cache:
    """Those of ``layers`` layers, their axis first in every array; ``arguments`` as of ``empty_cache``."""
    return jax.tree.map(lambda leaf: jnp.zeros((layers, *leaf.shape), leaf.dtype), empty_cache(*arguments))


def known_length(cache: Cache) -> int:
    """How many keys are there, of caches of several layers in each; 0 within jit, where it is not known."""
    return 0 if isinstance(cache.length, jax.core.Tracer) else int(np.ravel(cache.length)[0])


def extend(cache: Cache, key: jax.Array, value: jax.Array) -> Cache:
    """The cache with more keys ``[*batch, T, K, D]`` and values ``[*batch, T, K, E]``.

    ``attention(query, cache.key, cache.value, causal=True, offset=length_before)`` then sees what is there and no more.

    Raises:
        ValueError: There is no room, or they do not fit. (Within jit, where the length is not known, only what is
            longer than the whole cache is seen; what does not fit replaces the last ones.)
    """
    axis = key.ndim - 3
    size, more = cache.key.shape[axis], key.shape[axis]
    for name, old, new in (("key", cache.key, key), ("value", cache.value, value)):
        if (*old.shape[:axis], *old.shape[axis + 1 :]) != (*new.shape[:axis], *new.shape[axis + 1 :]):
            raise ValueError(
                f"{name}: the cache has {old.shape}, all axes but the length must agree; given {new.shape}"
            )
    length = known_length(cache)
    if length + more > size:
        raise ValueError(f"cache: room for {size}, of which {length} are taken; given {more} more")
    put = lambda old, new: lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), cache.length, axis)
    return Cache(put(cache.key, key), put(cache.value, value), cache.length + more)
