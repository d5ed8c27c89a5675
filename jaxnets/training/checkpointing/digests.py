"""Digests of arrays, computed on the devices that hold the arrays."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.learning.parameters import leaves_by_path


def digests(tree: Any) -> dict[str, str]:
    """Returns ``{path: digest}`` for the arrays of a tree. A digest has 16 hexadecimal digits."""
    pairs = jax.device_get(jax.tree.map(_two_digests, leaves_by_path(tree)))
    return {path: "".join(f"{int(half):08x}" for half in pair) for path, pair in pairs.items()}


def check_digests(expected: dict[str, str], tree: Any) -> None:
    """Raises a ``ValueError`` if an array does not have the expected digest."""
    wrong = [path for path, digest in digests(tree).items() if expected.get(path) != digest]
    if wrong:
        raise ValueError(f"{wrong[0]} differs from what was saved")


@jax.jit  # compiled once per shape: one program for all arrays takes five times as long to compile
def _two_digests(leaf: jax.Array) -> jax.Array:
    return jnp.stack([digest(leaf, salt) for salt in (1, 2)])


def digest(leaf: jax.Array, salt: int) -> jax.Array:
    r"""Computes a 32-bit digest of an array:

    .. math::
        \sum_i f(b_i \oplus f(i + s)) \bmod 2^{32},

    where :math:`b_i` are the bits of element i, s is the salt and f is the finalizer of murmur3. As f is a bijection,
    a change of one element always changes the digest. A change of several elements is missed with probability
    :math:`2^{-32}`. The digest does not depend on the sharding of the array, and each device reads only its shard.

    Args:
        leaf: An array of any shape with a numeric or boolean dtype.
        salt: Selects one of several digests.

    Returns:
        The digest, a uint32 scalar.
    """
    words = _words(leaf)
    index = jnp.zeros(words.shape, jnp.uint32)
    for axis, size in enumerate(words.shape):
        index = index * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    return jnp.sum(_finalize(words ^ _finalize(index + jnp.uint32(salt))), dtype=jnp.uint32)


def _finalize(bits: jax.Array) -> jax.Array:
    """Applies the finalizer of murmur3 (Appleby 2011), which mixes all bits."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
    return bits ^ (bits >> 16)


def _words(leaf: jax.Array) -> jax.Array:
    """Returns the bits of an array as uint32, with a further last axis if an element has more than 32 bits."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return _words(jax.random.key_data(leaf))
    if leaf.dtype == jnp.bool_:
        return leaf.astype(jnp.uint32)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        return _words(jnp.stack([leaf.real, leaf.imag], axis=-1))
    bits = leaf.dtype.itemsize * 8
    if bits >= 32:
        return jax.lax.bitcast_convert_type(leaf, jnp.uint32)
    return jax.lax.bitcast_convert_type(leaf, {8: jnp.uint8, 16: jnp.uint16}[bits]).astype(jnp.uint32)
