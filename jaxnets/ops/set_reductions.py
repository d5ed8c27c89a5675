"""Reductions over sets, which are either padded with a mask or concatenated with segment ids."""

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
from jaxnets.ops.checks import check_floating, check_integer, describe_value
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import masked_sum


@functools.partial(jax.tree_util.register_dataclass, data_fields=["ids"], meta_fields=["num_segments"])
@dataclasses.dataclass(frozen=True)
class Segments:
    """Sets of different sizes as elements ``[M, ...]`` without padding, in any order.

    Attributes:
        ids: Integers ``[M]``, the set of each element. Elements with an id outside 0 ... num_segments - 1 are ignored.
        num_segments: S, the number of sets; results are ``[S, ...]``. Static within ``jax.jit``.
    """

    ids: Shaped[Array, " M"]  # integers, except in derivatives
    num_segments: int


Mask = Bool[Array, "*batch N"]
# The mask of elements [*batch, N, ...], True where valid; None (all elements are valid); or Segments.
Validity = Mask | Segments | None


def output_dtype(dtype: Any) -> Any:
    """Returns the dtype of the outputs of a model with compute type ``dtype``; None, as in flax: that of its inputs."""
    return None if dtype is None else at_least_float32(dtype)


def check_valid(xs: Any, valid: Any, name: str = "xs") -> Segments | Mask:
    """Checks elements ``[*batch, N, D]`` and their mask or segments.

    Args:
        xs: The elements.
        valid: bool ``[*batch, N]``, ``Segments`` or None.
        name: Name of ``xs`` for messages.

    Returns:
        A mask of shape ``[*batch, N]``, or segments in which all ids out of range are ``num_segments``.

    Raises:
        ValueError: The dtype or shape of an argument is wrong.
    """
    check_floating(name, xs, "[*batch, N, D]", 2)
    if isinstance(valid, Segments):
        ids, count = jnp.asarray(valid.ids), valid.num_segments
        if not jnp.issubdtype(ids.dtype, jnp.integer) or xs.ndim != 2 or ids.shape != xs.shape[:1]:
            raise ValueError(
                f"`{name}` must be [M, D] with segments, whose ids must be integers [M], "
                f"got shape {xs.shape} and ids of {describe_value(ids)}"
            )
        check_integer("num_segments", count, minimum=0)
        return Segments(jnp.where((ids >= 0) & (ids < count), ids, count), count)
    if valid is None:
        return jnp.ones(xs.shape[:-1], bool)
    mask: Any = jnp.asarray(valid)
    if mask.dtype != jnp.bool_ or mask.shape != xs.shape[:-1]:
        raise ValueError(
            f"`valid` must be bool of shape {xs.shape[:-1]}, True at valid elements, got {describe_value(mask)}; "
            "for lengths, use jnp.arange(N) < lengths[..., None]"
        )
    return mask


def valid_mask(valid: Segments | Mask) -> Mask:
    """Returns the mask of valid elements, ``[*batch, N]`` or ``[M]``."""
    return valid.ids < valid.num_segments if isinstance(valid, Segments) else valid


def where_valid(
    xs: Shaped[Array, "*batch N D"], valid: Segments | Mask, fill_value: float = 0.0
) -> Shaped[Array, "*batch N D"]:
    """Replaces elements of ``xs [..., N, D]`` that are not valid, NaN included, by ``fill_value``."""
    mask = valid_mask(valid)
    chex.assert_equal_shape_prefix([xs, mask], mask.ndim)
    return jnp.where(mask[..., None], xs, jnp.asarray(fill_value, xs.dtype))


def set_sum(xs: Shaped[Array, "*batch N D"], valid: Segments | Mask) -> Inexact[Array, "*sets D"]:
    """Computes the sum over each set: ``[*batch, D]`` or ``[S, D]``, float32 at least."""
    if isinstance(valid, Segments):
        return _segment_sum(where_valid(xs, valid).astype(at_least_float32(xs.dtype)), valid)
    return masked_sum(xs, valid[..., None], axis=-2)


def _segment_sum(xs: jax.Array, segments: Segments) -> jax.Array:
    # The last segment collects the elements that are not valid.
    return jax.ops.segment_sum(xs, segments.ids, segments.num_segments + 1)[:-1]


def set_mean(xs: Shaped[Array, "*batch N D"], valid: Segments | Mask) -> Inexact[Array, "*sets D"]:
    """Computes the mean over each set: shape and dtype as in ``set_sum``, zeros for an empty set."""
    sums = set_sum(xs, valid)
    return sums / jnp.maximum(set_sizes(valid).astype(sums.dtype), 1)


@jax.custom_jvp
def set_max(xs: Float[Array, "*batch N D"], valid: Segments | Mask) -> Float[Array, "*sets D"]:
    """Computes the maximum over each set: minus infinity for an empty set, NaN if an element is NaN.

    Elements that attain the maximum, and elements that are NaN, share the gradient evenly.
    """
    xs = where_valid(xs, valid, -np.inf)
    if isinstance(valid, Segments):
        return jax.ops.segment_max(xs, valid.ids, valid.num_segments + 1)[:-1]
    return jnp.max(xs, axis=-2, initial=-np.inf)


@set_max.defjvp
def _set_max_jvp(primals, tangents):
    # JAX's default rule divides by the count of maxima, which is 0 for an empty set, and includes padding if the
    # maximum is -inf.
    (xs, valid), (dxs, _) = primals, tangents
    maximum = set_max(xs, valid)
    xs = where_valid(xs, valid)
    is_max = valid_mask(valid)[..., None] & ((xs == broadcast_to_elements(maximum, valid)) | jnp.isnan(xs))
    count = jnp.maximum(set_sum(is_max.astype(at_least_float32(xs.dtype)), valid), 1)
    return maximum, (set_sum(jnp.where(is_max, dxs, 0), valid) / count).astype(xs.dtype)


def set_min(xs: Float[Array, "*batch N D"], valid: Segments | Mask) -> Float[Array, "*sets D"]:
    """Computes the minimum over each set: infinity for an empty set, otherwise as ``set_max``."""
    return -set_max(-where_valid(xs, valid), valid)


def set_sizes(valid: Segments | Mask) -> Float[Array, "*sets 1"]:
    """Returns the number of elements of each set: float32 ``[*batch, 1]`` or ``[S, 1]``."""
    # Counted in integers, because a float32 sum of ones stops at 2^24.
    ones = valid_mask(valid)[..., None].astype(jnp.int32)
    count = _segment_sum(ones, valid) if isinstance(valid, Segments) else jnp.sum(ones, axis=-2)
    return count.astype(jnp.float32)


def broadcast_to_elements(values: Shaped[Array, "..."], valid: Segments | Mask) -> Shaped[Array, "..."]:
    """Returns the value of its set at each element.

    Args:
        values: One value per set, ``[*batch, ...]`` or ``[S, ...]``.
        valid: A mask or segments.

    Returns:
        ``[*batch, 1, ...]``, which broadcasts over elements, or ``[M, ...]``, zeros where not valid.
    """
    if isinstance(valid, Segments):
        rows = jnp.pad(values, [(0, 1)] + [(0, 0)] * (values.ndim - 1))  # the last row is for elements of no set
        spec = jax.typeof(valid.ids).sharding.spec
        return rows.at[valid.ids].get(mode="clip", out_sharding=PartitionSpec(*spec) if any(spec) else None)
    return jnp.expand_dims(values, valid.ndim - 1)


def sort_elements(
    xs: Float[Array, "*batch N D"], valid: Segments | Mask
) -> tuple[Float[Array, "*batch N D"], Segments | Mask, Float[Array, "*batch N 1"]]:
    """Sorts each feature of each set independently in ascending order, NaN last.

    Returns:
        The sorted elements, valid ones first; their mask or segments; and the rank of each element in its set,
        ``[..., N, 1]``, float32 at least.
    """
    dtype, xs = at_least_float32(xs.dtype), where_valid(xs, valid)
    chex.assert_rank(xs, valid_mask(valid).ndim + 1)
    if isinstance(valid, Segments):
        columns = jax.vmap(lambda column: jnp.lexsort((column, valid.ids)), in_axes=-1, out_axes=-1)(xs)
        ids = jnp.sort(valid.ids)
        first = jnp.searchsorted(ids, ids)
        rank = (jnp.arange(len(ids), dtype=first.dtype) - first)[:, None].astype(dtype)
        return jnp.take_along_axis(xs, columns, axis=0), Segments(ids, valid.num_segments), rank
    # Two keys, so that padding comes after valid infinities and NaN.
    padding = jnp.broadcast_to(~valid_mask(valid)[..., None], xs.shape)
    _, ordered = lax.sort((padding, xs), dimension=xs.ndim - 2, num_keys=2)
    rank = lax.broadcasted_iota(dtype, (*xs.shape[:-1], 1), xs.ndim - 2)
    return ordered, rank[..., 0] < set_sizes(valid).astype(dtype), rank
