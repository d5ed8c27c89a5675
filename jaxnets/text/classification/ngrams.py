"""Hashed n-grams of tokens, and the classifier of fastText (Joulin et al. 2017, arXiv:1607.01759)."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.array_types import Array, Int, Integer

OFFSET, PRIME = np.uint32(2166136261), np.uint32(16777619)  # of FNV-1a with 32 bits


def ngram_buckets(tokens: Integer[Array, "*batch T"], n: int, num_buckets: int) -> Int[Array, "*batch T"]:
    """Returns the bucket of each n-gram: the 32-bit FNV-1a hash of its token ids, modulo the number of buckets.

    The hash reads each id as four bytes, the lowest first (http://www.isthe.com/chongo/tech/comp/fnv).

    Args:
        tokens: Integers ``[*batch, T]``.
        n: Tokens of an n-gram.
        num_buckets: Number of buckets.

    Returns:
        int32 ``[*batch, T]`` in 0 ... num_buckets - 1. Entry t belongs to the n-gram of the tokens t ... t + n - 1;
        tokens after the last one count as 0.
    """
    ids = jnp.asarray(tokens).astype(jnp.uint32)
    padded = jnp.pad(ids, [(0, 0)] * (ids.ndim - 1) + [(0, n - 1)])
    hashes = jnp.full(ids.shape, OFFSET, jnp.uint32)
    for offset in range(n):
        word = jax.lax.slice_in_dim(padded, offset, offset + ids.shape[-1], axis=-1)
        for byte in range(4):
            hashes = (hashes ^ ((word >> np.uint32(8 * byte)) & np.uint32(0xFF))) * PRIME
    return (hashes % np.uint32(num_buckets)).astype(jnp.int32)
