"""Digests of arrays, computed where the arrays are: what a checkpoint must give back."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.learning.parameters import named


def digests(tree: Any) -> dict[str, str]:
    """``{path: digest}`` of the arrays of a tree, 16 hexadecimal digits each."""
    found = jax.device_get(jax.tree.map(_halves, named(tree)))
    return {path: "".join(f"{int(half):08x}" for half in pair) for path, pair in found.items()}


def check_digests(noted: dict[str, str], tree: Any) -> None:
    """A ``ValueError`` where an array's digest is not the one ``noted``."""
    wrong = [path for path, digest in digests(tree).items() if noted.get(path) != digest]
    if wrong:
        raise ValueError(f"{wrong[0]} is not what was saved")


@jax.jit  # of one array: there are few shapes, and a program of all arrays takes five times as long to compile
def _halves(leaf: jax.Array) -> jax.Array:
    return jnp.stack([digest(leaf, salt) for salt in (1, 2)])


def digest(leaf: jax.Array, salt: int) -> jax.Array:
    r"""The bits of an array as one number:

    .. math::
        \sum_i f(b_i \oplus f(i + s)) \bmod 2^{32}

    with the bits ``b_i`` of element i, the salt s and the finaliser f of murmur3, which is one to one: damage to one
    element changes its term, and so the sum, always; damage to several does but for one case in 2^32. The order of the
    terms does not matter: however an array lies on devices, its digest is the same, and each device reads only what it
    has.

    Args:
        leaf: Any shape and type of numbers or truth values.
        salt: Makes another digest.

    Returns:
        ``[]``, uint32.
    """
    words = _words(leaf)
    index = jnp.zeros(words.shape, jnp.uint32)
    for axis, length in enumerate(words.shape):
        index = index * jnp.uint32(length) + jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    return jnp.sum(_finalised(words ^ _finalised(index + jnp.uint32(salt))), dtype=jnp.uint32)


def _finalised(bits: jax.Array) -> jax.Array:
    """The finaliser of murmur3 (Appleby 2011): every bit put in changes half of those that come out."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
    return bits ^ (bits >> 16)


def _words(leaf: jax.Array) -> jax.Array:
    """The bits of an array as uint32: one for each element, or several on a last axis of their own."""
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
