"""Bidirectional scans and stacks of layers, as functions of whole sequences."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxnets.ops.array_types import Array, ArrayLike, Bool, Float, Key
from jaxnets.ops.checks import check_choice, check_probability
from jaxnets.ops.meshes import call_auto_sharded, spec_of
from jaxnets.recurrent.cell import Carry, Cell, Params
from jaxnets.recurrent.checking import as_arrays, described
from jaxnets.recurrent.scan import scan

MERGES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "concat": lambda a, b: jnp.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
    "max": jnp.maximum,
}

Layer = Callable[[jax.Array, Any], tuple[Any, jax.Array]]


def bidirectional(
    cells: tuple[Cell, Cell],
    params: tuple[Params, Params],
    xs: Any,
    carry: tuple[Carry, Carry] | None = None,
    *,
    merge: str = "concat",
    resets: Bool[ArrayLike, "..."] | Sequence[Any] | None = None,
    time_major: bool = False,
    **options: Any,
) -> tuple[tuple[Carry, Carry], Float[Array, "..."]]:
    """Runs one cell forward and one backward, and merges their outputs (Schuster and Paliwal 1997).

    Args:
        cells: The forward cell and the backward cell.
        params: The parameters of each cell.
        xs: ``[*batch, T, D]``. With ``lengths``, the backward pass starts at the last valid step of each row.
        carry: The first carry of each direction; None is the initial carry of each cell.
        merge: ``"concat"`` (2 H features), ``"sum"``, ``"mean"`` or ``"max"``.
        resets: bool ``[*batch, T]``, True at the first step of each segment of a row. No carry crosses the border of
            two segments, in either direction.
        time_major: Whether time is the first axis of ``xs``, ``resets`` and the outputs.
        **options: ``lengths`` and ``method``, as in ``scan``.

    Returns:
        The pair of last carries (the backward one after step 0), and the merged outputs.

    Raises:
        ValueError: ``merge`` is unknown, or an argument of ``scan`` is invalid.
    """
    for name, pair in (("cells", cells), ("params", params)) + ((("carry", carry),) if carry is not None else ()):
        if not isinstance(pair, (tuple, list)) or isinstance(pair, Cell) or len(pair) != 2:
            raise ValueError(f"`{name}` must be a pair (forward, backward), got {described(pair)}")
    check_choice("merge", merge, MERGES)
    options = {**options, "time_major": time_major}
    forward_resets: Any = resets
    backward_resets: Any = resets
    if resets is not None and jnp.ndim(forward_resets) > 0:  # scan raises for other resets
        forward_resets = jnp.asarray(resets)
        # The backward pass enters a segment at its last step, one step before the first step of the next segment.
        axis = 0 if time_major else forward_resets.ndim - 1
        length = forward_resets.shape[axis]
        next_resets = jax.lax.slice_in_dim(forward_resets, min(1, length), length, axis=axis)
        backward_resets = jnp.pad(next_resets, [(0, int(i == axis and length > 0)) for i in range(forward_resets.ndim)])
    forward_carry, backward_carry = (None, None) if carry is None else carry
    forward_last, ys = scan(cells[0], params[0], xs, forward_carry, resets=forward_resets, **options)
    backward_last, zs = scan(cells[1], params[1], xs, backward_carry, resets=backward_resets, reverse=True, **options)
    return (forward_last, backward_last), MERGES[merge](ys, zs)


def stacked(
    layers: Sequence[Layer],
    xs: Any,
    carry: Sequence[Any] | None = None,
    *,
    connect: str = "plain",
    dropout: float = 0.0,
    key: Key[Array, ""] | None = None,
) -> tuple[tuple[Any, ...], Float[Array, "..."]]:
    """Applies a stack of layers, each to the outputs of the previous layer.

    Args:
        layers: Functions ``(xs, carry) -> (carry, ys)``, such as ``lambda xs, carry: scan(cell, params, xs, carry)``.
        xs: ``[*batch, T, D]``.
        carry: One carry per layer; None passes None to every layer.
        connect: ``"plain"``; ``"residual"``, which adds the input of a layer to its output if the shapes are equal; or
            ``"skip"``, which also passes ``xs`` to every layer and concatenates the outputs of all layers (Graves
            2013).
        dropout: Dropout rate between layers.
        key: A ``jax.random.key`` for dropout; None disables dropout.

    Returns:
        The last carry of every layer, and the outputs.

    Raises:
        ValueError: ``layers`` is not a sequence of functions, ``carry`` has another length, or ``connect`` or
            ``dropout`` has a wrong value.
    """
    check_choice("connect", connect, ("plain", "residual", "skip"))
    if callable(layers) or not all(map(callable, layers)) or not len(layers):
        raise ValueError(
            f"`layers` must be one or more functions (xs, carry) -> (carry, ys), such as lambda xs, carry: "
            f"recurrent.scan(cell, params, xs, carry), got {layers!r}"
        )
    xs = as_arrays("xs", xs)
    if carry is not None and (not isinstance(carry, (tuple, list)) or len(carry) != len(layers)):
        got = len(carry) if isinstance(carry, (tuple, list)) else described(carry)
        raise ValueError(f"`carry` must have one item per layer ({len(layers)}), got {got}")
    check_probability("dropout", dropout)
    carries, outputs, ys = [], [], xs
    for i, layer in enumerate(layers):
        inputs = jnp.concatenate([xs, ys], axis=-1) if connect == "skip" and i else ys
        if i and dropout and key is not None:
            drop = functools.partial(_apply_dropout, jax.random.fold_in(key, i), dropout)
            inputs = call_auto_sharded(drop, PartitionSpec(*spec_of(inputs)), inputs)
        last, ys = layer(inputs, None if carry is None else carry[i])
        if connect == "residual" and ys.shape == inputs.shape:
            ys = ys + inputs
        carries.append(last)
        outputs.append(ys)
    return tuple(carries), jnp.concatenate(outputs, axis=-1) if connect == "skip" else ys


def _apply_dropout(key: jax.Array, rate: float, xs: jax.Array) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key, 1 - rate, xs.shape), xs / (1 - rate), 0)
