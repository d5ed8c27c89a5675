"""Which elements make up a set: sums, extremes and orders over sets that are padded, with a mask, or flat."""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from jaxnets.ops.array_types import Array, Bool, Float, Inexact, Shaped
from jaxnets.ops.checks import check_floating, check_integer, described
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import masked_sum


@functools.partial(jax.tree_util.register_dataclass, data_fields=["ids"], meta_fields=["count"])
@dataclasses.dataclass(frozen=True)
class Segments:
    """Sets of any sizes one after the other, or mixed, without padding: elements are ``[M, ...]`` then.

    Attributes:
        ids: Integers ``[M]``, which set an element is of; one outside 0 to count - 1 is of none.
        count: How many sets there are, S: results are ``[S, ...]``. Static within ``jax.jit``.
    """

    ids: Shaped[Array, " M"]  # integers, but for derivatives by them
    count: int


Mask = Bool[Array, "*batch N"]
# A mask of the elements [*batch, N, ...] that are real, None (all are), or Segments.
Validity = Mask | Segments | None


def output_dtype(dtype: Any) -> Any:
    """The dtype of answers of a model that computes in ``dtype``; None as in flax: that of its inputs."""
    return None if dtype is None else at_least_float32(dtype)


def check_valid(xs: Any, valid: Any, name: str = "xs") -> Segments | Mask:
    """The valid, a mask in full; a ``ValueError`` where they do not fit elements ``[*batch, N, D]``."""
    check_floating(name, xs, "[*batch, N, D]", 2)
    if isinstance(valid, Segments):
        ids = jnp.asarray(valid.ids)
        if not jnp.issubdtype(ids.dtype, jnp.integer) or xs.ndim != 2 or ids.shape != xs.shape[:1]:
            raise ValueError(
                f"`{name}` must be [M, D] with segments, whose ids must be integers [M], "
                f"got shape {xs.shape} and ids of {described(ids)}"
            )
        check_integer("count", valid.count, least=0)
        return Segments(jnp.where((ids >= 0) & (ids < valid.count), ids, valid.count), valid.count)
    if valid is None:
        return jnp.ones(xs.shape[:-1], bool)
    mask: Any = jnp.asarray(valid)
    if mask.dtype != jnp.bool_ or mask.shape != xs.shape[:-1]:
        raise ValueError(
            f"`valid` must be a mask, bool of shape {xs.shape[:-1]}, True where an element is real, "
            f"got {described(mask)}; from lengths it is jnp.arange(N) < lengths[..., None]"
        )
    return mask


def is_valid(valid: Segments | Mask) -> Mask:
    """bool, an element each."""
    return valid.ids < valid.count if isinstance(valid, Segments) else valid


def where_valid(
    xs: Shaped[Array, "*batch N D"], valid: Segments | Mask, other: float = 0.0
) -> Shaped[Array, "*batch N D"]:
    """Elements ``[..., N, D]`` with ``other`` in place of those that are not real, whatever was there."""
    real = is_valid(valid)
    chex.assert_equal_shape_prefix([xs, real], real.ndim)
    return jnp.where(real[..., None], xs, jnp.asarray(other, xs.dtype))


def total(xs: Shaped[Array, "*batch N D"], valid: Segments | Mask) -> Inexact[Array, "*sets D"]:
    """The sum over each set: ``[*batch, D]`` or ``[S, D]``, float32 at least."""
    if isinstance(valid, Segments):
        return _segment_sum(where_valid(xs, valid).astype(at_least_float32(xs.dtype)), valid)
    return masked_sum(xs, valid[..., None], axis=-2)


def _segment_sum(xs: jax.Array, segments: Segments) -> jax.Array:
    return jax.ops.segment_sum(xs, segments.ids, segments.count + 1)[:-1]  # the last one: of what is of no set


def mean(xs: Shaped[Array, "*batch N D"], valid: Segments | Mask) -> Inexact[Array, "*sets D"]:
    """The mean over each set, zeros for an empty one; otherwise as ``total``."""
    sums = total(xs, valid)
    return sums / jnp.maximum(sizes(valid).astype(sums.dtype), 1)


@jax.custom_jvp
def largest(xs: Float[Array, "*batch N D"], valid: Segments | Mask) -> Float[Array, "*sets D"]:
    """The largest of each set, minus infinity for an empty one, NaN where an element is.

    Elements that are the largest, or NaN, share the gradient evenly.
    """
    xs = where_valid(xs, valid, -np.inf)
    if isinstance(valid, Segments):
        return jax.ops.segment_max(xs, valid.ids, valid.count + 1)[:-1]
    return jnp.max(xs, axis=-2, initial=-np.inf)


@largest.defjvp
def _largest_jvp(primals, tangents):
    # JAX's own rule divides by the number of the largest, 0 for an empty set, and counts padding where that is -inf.
    (xs, valid), (moves, _) = primals, tangents
    found = largest(xs, valid)
    xs = where_valid(xs, valid)
    chosen = is_valid(valid)[..., None] & ((xs == spread(found, valid)) | jnp.isnan(xs))
    count = jnp.maximum(total(chosen.astype(at_least_float32(xs.dtype)), valid), 1)
    return found, (total(jnp.where(chosen, moves, 0), valid) / count).astype(xs.dtype)


def smallest(xs: Float[Array, "*batch N D"], valid: Segments | Mask) -> Float[Array, "*sets D"]:
    """The smallest of each set, infinity for an empty one; otherwise as ``largest``."""
    return -largest(-where_valid(xs, valid), valid)


def sizes(valid: Segments | Mask) -> Float[Array, "*sets 1"]:
    """How many elements each set has: float32 ``[*batch, 1]`` or ``[S, 1]``."""
    # Counted in integers: a sum of ones in float32 may end at 2^24.
    ones = is_valid(valid)[..., None].astype(jnp.int32)
    count = _segment_sum(ones, valid) if isinstance(valid, Segments) else jnp.sum(ones, axis=-2)
    return count.astype(jnp.float32)


def spread(values: Shaped[Array, "..."], valid: Segments | Mask) -> Shaped[Array, "..."]:
    """What belongs to a set, ``[*batch, ...]`` or ``[S, ...]``, at each of its elements; broadcast where padded."""
    if isinstance(valid, Segments):
        rows = jnp.pad(values, [(0, 1)] + [(0, 0)] * (values.ndim - 1))  # the last one for what is of no set
        spec = jax.typeof(valid.ids).sharding.spec
        return rows.at[valid.ids].get(mode="clip", out_sharding=PartitionSpec(*spec) if any(spec) else None)
    return jnp.expand_dims(values, valid.ndim - 1)


def in_order(
    xs: Float[Array, "*batch N D"], valid: Segments | Mask
) -> tuple[Float[Array, "*batch N D"], Segments | Mask, Float[Array, "*batch N 1"]]:
    """Every feature of a set sorted by itself, from the smallest up; NaN comes last.

    Returns:
        The elements, real ones first; the valid of that order; and the rank of each element in its set
        ``[..., N, 1]``, float32 at least.
    """
    dtype, xs = at_least_float32(xs.dtype), where_valid(xs, valid)
    chex.assert_rank(xs, is_valid(valid).ndim + 1)
    if isinstance(valid, Segments):
        columns = jax.vmap(lambda column: jnp.lexsort((column, valid.ids)), in_axes=-1, out_axes=-1)(xs)
        ids = jnp.sort(valid.ids)
        first = jnp.searchsorted(ids, ids)
        rank = (jnp.arange(len(ids), dtype=first.dtype) - first)[:, None].astype(dtype)
        return jnp.take_along_axis(xs, columns, axis=0), Segments(ids, valid.count), rank
    # Two keys: padding comes after real infinities and NaN, which share its place otherwise.
    padding = jnp.broadcast_to(~is_valid(valid)[..., None], xs.shape)
    _, ordered = lax.sort((padding, xs), dimension=xs.ndim - 2, num_keys=2)
    rank = lax.broadcasted_iota(dtype, (*xs.shape[:-1], 1), xs.ndim - 2)
    return ordered, rank[..., 0] < sizes(valid).astype(dtype), rank
