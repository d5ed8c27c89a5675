"""Rows and one-hot vectors by number: a number out of range is an error, or NaN where values are not known.

Indexing in JAX counts negative numbers from the end, and ``jax.nn.one_hot`` gives zeros: both go on silently. Here a
token, class or symbol outside of 0 ... size - 1 raises a ``ValueError`` wherever values are concrete. Within
``jax.jit``, where they are not, it gives NaN.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from jaxnets.ops.array_types import Array, ArrayLike, Bool, Float, Integer


def check_ids(name: str, ids: Any, size: int, valid: Any = None) -> None:
    """Checks the numbers of tokens, classes or symbols.

    Args:
        name: Of the argument, for the message.
        ids: Integers ``[...]``.
        size: How many there are to choose from.
        valid: bool, what broadcasts to ``[...]``: False at padding, which may hold any number; None: no padding.

    Raises:
        ValueError: ``ids`` are not integers, or one of them is not in 0 ... size - 1. Numbers that this process does
            not know (within ``jax.jit``, or on the devices of others) are not checked.
    """
    if not jnp.issubdtype(getattr(ids, "dtype", type(ids)), jnp.integer):
        given = getattr(ids, "dtype", type(ids).__name__)
        raise ValueError(f"`{name}` must be an array of integers, got {given}")
    if not (_known(ids) and (valid is None or _known(valid))):
        return
    numbers = np.asarray(ids)
    wrong = (numbers < 0) | (numbers > size - 1)
    if valid is not None:
        wrong &= np.asarray(valid)
    if wrong.any():
        first = tuple(int(axis[0]) for axis in np.nonzero(np.atleast_1d(wrong)))
        place = f" at position {first}" if numbers.ndim else ""
        bounds = f"in 0 ... {size - 1}" if size else "absent, as there are none to choose from"
        raise ValueError(f"`{name}` must be {bounds}, got {numbers[first] if numbers.ndim else numbers}{place}")


def in_range(ids: Integer[Array, "*shape"], size: int) -> Bool[Array, "*shape"]:
    """bool ``[...]``, which of the integers ``ids [...]`` are in 0 ... size - 1."""
    wide = ids.astype(jnp.int32) if ids.dtype.itemsize < 4 else ids
    return (wide >= 0) & (wide < size)


def embed(
    table: Float[ArrayLike, "V D"],
    ids: Integer[ArrayLike, "*shape"],
    *,
    name: str = "tokens",
    valid: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "*shape D"]:
    """Row ``table[i]`` for each i of ``ids``.

    Args:
        table: Floating point ``[V, D]``.
        ids: Integers ``[...]`` in 0 ... V - 1.
        name: Of ``ids``, for the message.
        valid: bool, what broadcasts to ``[...]``: False at padding, where a number out of range is read as 0; None: no
            padding.

    Returns:
        ``[..., D]``. Within ``jax.jit`` a number out of range gives a row of NaN, and adds nothing to the gradient of
        ``table``.

    Raises:
        ValueError: As in ``check_ids``.
    """
    table = jnp.asarray(table)  # parameters may be numpy arrays
    chex.assert_rank(table, 2)
    size = table.shape[0]
    check_ids(name, ids, size, valid)
    ids = padding_filled(ids, size, valid)
    if ids.dtype.itemsize > 4:  # JAX reads the lower 32 bits where the table is small
        ids = jnp.where(in_range(ids, size), ids, size).astype(jnp.int32)
    return table.at[ids].get(
        mode="fill", fill_value=jnp.nan, wrap_negative_indices=False, out_sharding=_sharding_of_rows(table, ids)
    )


def one_hot(
    ids: Integer[ArrayLike, "*shape"],
    size: int,
    *,
    name: str = "tokens",
    valid: Bool[ArrayLike, "..."] | None = None,
    dtype: Any = jnp.float32,
) -> Float[Array, "*shape V"]:
    """One-hot vectors ``[..., size]`` of ``ids [...]``; arguments, NaN and errors as in ``embed``."""
    check_ids(name, ids, size, valid)
    ids = padding_filled(ids, size, valid)
    return jnp.where(in_range(ids, size)[..., None], jax.nn.one_hot(ids, size, dtype=dtype), jnp.nan)


def padding_filled(
    ids: Integer[ArrayLike, "*shape"], size: int, valid: Bool[ArrayLike, "..."] | None
) -> Integer[Array, "*shape"]:
    """``ids [...]`` with 0 for every number out of range at padding, where ``valid [...]`` is False."""
    ids = jnp.asarray(ids)
    return ids if valid is None else jnp.where(valid | in_range(ids, size), ids, 0)


def _known(array: Any) -> bool:
    """Whether this process knows the values of an array."""
    return not isinstance(array, jax.core.Tracer) and getattr(array, "is_fully_addressable", True)


def _sharding_of_rows(table: jax.Array, ids: jax.Array) -> Any:
    """That of ``ids``, then of the table's columns, on a mesh with explicit axes; else None: the compiler chooses."""
    mesh = jax.typeof(ids).sharding.mesh
    if mesh.empty:
        mesh = jax.typeof(table).sharding.mesh
    if AxisType.Explicit not in mesh.axis_types:
        return None
    before = jax.typeof(ids).sharding.spec
    taken = {axis for entry in before for axis in ((entry,) if isinstance(entry, str) else entry or ())}
    columns = jax.typeof(table).sharding.spec[1]
    along = {columns} if isinstance(columns, str) else set(columns or ())
    return jax.NamedSharding(mesh, PartitionSpec(*before, None if along & taken else columns))
