"""Which elements make up a set: all functions on sets are written on these few, for padded and for flat sets alike."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.tree_util.register_dataclass, data_fields=["ids"], meta_fields=["count"])
@dataclasses.dataclass(frozen=True)
class Segments:
    """Sets of any sizes one after the other, or mixed, without padding: elements are ``[M, ...]`` then.

    Attributes:
        ids: Integers ``[M]``, which set an element is of; one outside 0 to count - 1 is of none.
        count: How many sets there are, S: results are ``[S, ...]``. Static within ``jax.jit``.
    """

    ids: jax.Array
    count: int


# A bool mask [*batch, N] of the elements [*batch, N, ...] that are real, None (all are), or Segments.
Members = jax.Array | Segments | None


def check_members(xs: jax.Array, members: Members, name: str = "xs") -> Segments | jax.Array:
    """The members, a mask in full; a ``ValueError`` where they do not fit elements ``[*batch, N, D]``."""
    if xs.ndim < 2 or not jnp.issubdtype(xs.dtype, jnp.floating):
        raise ValueError(f"{name}: floating point [*batch, N, D] expected; given {xs.dtype} of shape {xs.shape}")
    if isinstance(members, Segments):
        ids = jnp.asarray(members.ids)
        if not jnp.issubdtype(ids.dtype, jnp.integer) or xs.ndim != 2 or ids.shape != xs.shape[:1]:
            raise ValueError(
                f"{name}: with segments, elements [M, D] and integer ids [M] expected; "
                f"given {xs.shape} and {ids.dtype} of shape {ids.shape}"
            )
        if members.count < 0:
            raise ValueError(f"segments: a count of sets, at least 0, expected; given {members.count}")
        return Segments(jnp.where((ids >= 0) & (ids < members.count), ids, members.count), members.count)
    if members is None:
        return jnp.ones(xs.shape[:-1], bool)
    mask: Any = jnp.asarray(members)
    if mask.dtype != jnp.bool_ or mask.shape != xs.shape[:-1]:
        raise ValueError(
            f"mask: bool of shape {xs.shape[:-1]}, True where an element is real, expected; "
            f"given {mask.dtype} of shape {mask.shape}"
        )
    return mask


def is_real(members: Segments | jax.Array) -> jax.Array:
    """bool, an element each."""
    return members.ids < members.count if isinstance(members, Segments) else members


def only_real(xs: jax.Array, members: Segments | jax.Array, other: float = 0.0) -> jax.Array:
    """Elements ``[..., N, D]`` with ``other`` in place of those that are not real, whatever was there."""
    return jnp.where(is_real(members)[..., None], xs, jnp.asarray(other, xs.dtype))


def total(xs: jax.Array, members: Segments | jax.Array) -> jax.Array:
    """The sum over each set: ``[*batch, D]`` or ``[S, D]``, float32 at least."""
    xs = only_real(xs, members).astype(jnp.promote_types(xs.dtype, jnp.float32))
    if isinstance(members, Segments):
        return jax.ops.segment_sum(xs, members.ids, members.count)
    return jnp.sum(xs, axis=-2)


def largest(xs: jax.Array, members: Segments | jax.Array) -> jax.Array:
    """The largest of each set, minus infinity for an empty one."""
    xs = only_real(xs, members, -np.inf)
    if isinstance(members, Segments):
        return jax.ops.segment_max(xs, members.ids, members.count)
    return jnp.max(xs, axis=-2, initial=-np.inf)


def sizes(members: Segments | jax.Array) -> jax.Array:
    """How many elements each set has: float32 ``[*batch, 1]`` or ``[S, 1]``."""
    return total(is_real(members)[..., None].astype(jnp.float32), members)


def spread(values: jax.Array, members: Segments | jax.Array) -> jax.Array:
    """What belongs to a set, ``[*batch, ...]`` or ``[S, ...]``, at each of its elements; broadcast where padded."""
    if isinstance(members, Segments):
        return jnp.take(values, members.ids, axis=0, mode="fill", fill_value=0)
    return jnp.expand_dims(values, members.ndim - 1)


def in_order(xs: jax.Array, members: Segments | jax.Array) -> tuple[jax.Array, Segments | jax.Array, jax.Array]:
    """Every feature of a set sorted by itself, from the smallest up.

    Returns:
        The elements, real ones first; the members of that order; and the rank of each element in its set
        ``[..., N, 1]``, float32 at least.
    """
    dtype = jnp.promote_types(xs.dtype, jnp.float32)
    if isinstance(members, Segments):
        columns = jax.vmap(lambda column: jnp.lexsort((column, members.ids)), in_axes=-1, out_axes=-1)(xs)
        ids = jnp.sort(members.ids)
        first = jnp.searchsorted(ids, ids)
        rank = (jnp.arange(len(ids)) - first)[:, None].astype(dtype)
        return jnp.take_along_axis(xs, columns, axis=0), Segments(ids, members.count), rank
    ordered = jnp.sort(only_real(xs, members, np.inf), axis=-2)
    rank = jnp.arange(xs.shape[-2], dtype=dtype)[:, None]
    real = rank[:, 0] < sizes(members)
    return ordered, real, jnp.broadcast_to(rank, (*xs.shape[:-1], 1))
