"""Embedding lookup and one-hot encoding with a check of the range of ids.

JAX wraps negative indices and clamps or fills others, and ``jax.nn.one_hot`` returns zeros, all without a message. Here
an id of a token or class outside 0 ... size - 1 raises a ``ValueError`` if its value is concrete. Within ``jax.jit``,
where it is not, the result is NaN.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from jaxnets.ops.array_types import Array, ArrayLike, Bool, Float, Integer


def check_ids(name: str, ids: Any, size: int, valid: Any = None) -> None:
    """Checks that ids of tokens or classes are integers in range.

    Values that are unknown, within ``jax.jit`` or on the devices of other processes, are not checked.

    Args:
        name: Name of the argument.
        ids: Integers ``[...]``.
        size: Number of tokens or classes.
        valid: bool, broadcastable to ``[...]``, False at padding, where any id is allowed; None: no padding.

    Raises:
        ValueError: ``ids`` are not integers, or an id is not in 0 ... size - 1.
    """
    if not jnp.issubdtype(getattr(ids, "dtype", type(ids)), jnp.integer):
        given = getattr(ids, "dtype", type(ids).__name__)
        raise ValueError(f"`{name}` must be an array of integers, got {given}")
    if not (_is_concrete(ids) and (valid is None or _is_concrete(valid))):
        return
    values = np.asarray(ids)
    wrong = (values < 0) | (values > size - 1)
    if valid is not None:
        wrong &= np.asarray(valid)
    if wrong.any():
        first = tuple(int(axis[0]) for axis in np.nonzero(np.atleast_1d(wrong)))
        place = f" at position {first}" if values.ndim else ""
        bounds = f"in 0 ... {size - 1}" if size else "empty because the vocabulary is empty"
        raise ValueError(f"`{name}` must be {bounds}, got {values[first] if values.ndim else values}{place}")


def in_range(ids: Integer[Array, "*shape"], size: int) -> Bool[Array, "*shape"]:
    """Returns a mask ``[...]`` of the ids that are in 0 ... size - 1."""
    wide = ids.astype(jnp.int32) if ids.dtype.itemsize < 4 else ids
    return (wide >= 0) & (wide < size)


def embed(
    table: Float[ArrayLike, "V D"],
    ids: Integer[ArrayLike, "*shape"],
    *,
    name: str = "tokens",
    valid: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "*shape D"]:
    """Looks up the rows ``table[ids]``.

    Args:
        table: Floating point ``[V, D]``.
        ids: Integers ``[...]`` in 0 ... V - 1.
        name: Name of ``ids`` for messages.
        valid: bool, broadcastable to ``[...]``, False at padding, where an id out of range is replaced by 0; None: no
            padding.

    Returns:
        ``[..., D]``. Within ``jax.jit`` an id out of range yields a row of NaN and no gradient for ``table``.

    Raises:
        ValueError: As in ``check_ids``.
    """
    table = jnp.asarray(table)  # parameters may be NumPy arrays
    chex.assert_rank(table, 2)
    size = table.shape[0]
    check_ids(name, ids, size, valid)
    ids = fill_padding(ids, size, valid)
    if ids.dtype.itemsize > 4:  # JAX uses the lower 32 bits of an index into a small table
        ids = jnp.where(in_range(ids, size), ids, size).astype(jnp.int32)
    return table.at[ids].get(
        mode="fill", fill_value=jnp.nan, wrap_negative_indices=False, out_sharding=_row_sharding(table, ids)
    )


def one_hot(
    ids: Integer[ArrayLike, "*shape"],
    size: int,
    *,
    name: str = "tokens",
    valid: Bool[ArrayLike, "..."] | None = None,
    dtype: Any = jnp.float32,
) -> Float[Array, "*shape V"]:
    """Returns one-hot vectors ``[..., size]`` of ``ids [...]``; arguments, NaN and errors as in ``embed``."""
    check_ids(name, ids, size, valid)
    ids = fill_padding(ids, size, valid)
    return jnp.where(in_range(ids, size)[..., None], jax.nn.one_hot(ids, size, dtype=dtype), jnp.nan)


def fill_padding(
    ids: Integer[ArrayLike, "*shape"], size: int, valid: Bool[ArrayLike, "..."] | None
) -> Integer[Array, "*shape"]:
    """Replaces ids that are out of range by 0 at padding, where ``valid`` is False."""
    ids = jnp.asarray(ids)
    return ids if valid is None else jnp.where(valid | in_range(ids, size), ids, 0)


def _is_concrete(array: Any) -> bool:
    return not isinstance(array, jax.core.Tracer) and getattr(array, "is_fully_addressable", True)


def _row_sharding(table: jax.Array, ids: jax.Array) -> Any:
    """Sharding of the result on a mesh with explicit axes: that of ``ids``, then of the table's columns; else None."""
    mesh = jax.typeof(ids).sharding.mesh
    if mesh.empty:
        mesh = jax.typeof(table).sharding.mesh
    if AxisType.Explicit not in mesh.axis_types:
        return None
    leading = jax.typeof(ids).sharding.spec
    used = {axis for entry in leading for axis in ((entry,) if isinstance(entry, str) else entry or ())}
    columns = jax.typeof(table).sharding.spec[1]
    column_axes = {columns} if isinstance(columns, str) else set(columns or ())
    return jax.NamedSharding(mesh, PartitionSpec(*leading, None if column_axes & used else columns))
