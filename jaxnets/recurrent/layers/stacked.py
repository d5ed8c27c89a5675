"""Functions of whole sequences: layers on top of each other, and both directions side by side."""

import functools
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxnets.ops.meshes import call_auto_sharded, spec_of
from jaxnets.recurrent.cell import Carry, Cell, Params
from jaxnets.recurrent.checking import arrays, described
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
    xs: jax.Array,
    carry: tuple[Carry, Carry] | None = None,
    *,
    merge: str = "concat",
    resets: jax.Array | None = None,
    time_major: bool = False,
    **options: Any,
) -> tuple[tuple[Carry, Carry], jax.Array]:
    """One pass each way (Schuster and Paliwal 1997), their outputs merged.

    Args:
        cells: The cell that reads forward and the one that reads backward.
        params: Of each.
        xs: ``[*batch, T, D]``; ragged rows with ``lengths``, each read from its own end.
        carry: Of each direction, or None.
        merge: ``"concat"`` (2 H features), ``"sum"``, ``"mean"`` or ``"max"``.
        resets: bool ``[*batch, T]``, where pieces of a row begin. Neither direction looks across a beginning.
        time_major: As in ``scan``.
        **options: As in ``scan``, but ``reverse``.

    Returns:
        Both last carries (the backward one is at time 0), and the merged outputs.

    Raises:
        ValueError: As ``scan``, or ``merge`` is none of these.
    """
    for what, pair in (("cells", cells), ("params", params)) + ((("carry", carry),) if carry is not None else ()):
        if not isinstance(pair, (tuple, list)) or isinstance(pair, Cell) or len(pair) != 2:
            raise ValueError(f"{what} must be a pair, of the forward and the backward pass, got {described(pair)}")
    if merge not in MERGES:
        raise ValueError(f"merge: one of {', '.join(MERGES)}; given {merge!r}")
    options = {**options, "time_major": time_major}
    backward_resets = resets
    if resets is not None and jnp.ndim(resets) > 0:  # what else is wrong with them is for scan to find
        resets = jnp.asarray(resets)
        # Going backward a piece is entered at its last step, which is the one before the next beginning.
        axis = 0 if time_major else resets.ndim - 1
        ahead = jax.lax.slice_in_dim(resets, min(1, resets.shape[axis]), resets.shape[axis], axis=axis)
        pad = [(0, int(i == axis and resets.shape[axis] > 0)) for i in range(resets.ndim)]
        backward_resets = jnp.pad(ahead, pad)
    first, second = (None, None) if carry is None else carry
    there, ys = scan(cells[0], params[0], xs, first, resets=resets, **options)
    back, zs = scan(cells[1], params[1], xs, second, resets=backward_resets, reverse=True, **options)
    return (there, back), MERGES[merge](ys, zs)


def stacked(
    layers: Sequence[Layer],
    xs: jax.Array,
    carry: Sequence[Any] | None = None,
    *,
    connect: str = "plain",
    dropout: float = 0.0,
    key: jax.Array | None = None,
) -> tuple[tuple[Any, ...], jax.Array]:
    """Layers on top of each other: each reads the sequence that the one below it wrote.

    Args:
        layers: Functions ``(xs, carry) -> (carry, ys)``, such as ``lambda xs, carry: scan(cell, params, xs, carry)``.
        xs: ``[*batch, T, D]``.
        carry: One per layer, or None.
        connect: ``"plain"``; ``"residual"``: a layer's input is added to its output where the widths are equal;
            ``"skip"``: every layer also reads xs, and all layers' outputs are concatenated (Graves 2013).
        dropout: Probability of dropping an element between layers, with ``key``.
        key: For dropout; None switches it off.

    Returns:
        The last carries, and the outputs.

    Raises:
        ValueError: Another number of carries than layers, or ``connect`` is none of these.
    """
    if connect not in ("plain", "residual", "skip"):
        raise ValueError(f"connect: plain, residual or skip; given {connect!r}")
    if callable(layers) or not all(map(callable, layers)) or not len(layers):
        raise ValueError(
            f"layers must be functions (xs, carry) -> (carry, ys), at least one, got {layers!r}; a cell becomes one as "
            "lambda xs, carry: recurrent.scan(cell, params, xs, carry)"
        )
    xs = arrays("xs", xs)
    if carry is not None and (not isinstance(carry, (tuple, list)) or len(carry) != len(layers)):
        given = len(carry) if isinstance(carry, (tuple, list)) else described(carry)
        raise ValueError(f"carry: one per layer, {len(layers)}, expected; given {given}")
    if not isinstance(dropout, numbers.Real) or not 0 <= dropout < 1:
        raise ValueError(f"dropout: a probability below 1 expected; given {dropout!r}")
    carries, outputs, ys = [], [], xs
    for i, layer in enumerate(layers):
        below = jnp.concatenate([xs, ys], axis=-1) if connect == "skip" and i else ys
        if i and dropout and key is not None:
            drop = functools.partial(_dropped, jax.random.fold_in(key, i), dropout)
            below = call_auto_sharded(drop, PartitionSpec(*spec_of(below)), below)
        last, ys = layer(below, None if carry is None else carry[i])
        if connect == "residual" and ys.shape == below.shape:
            ys = ys + below
        carries.append(last)
        outputs.append(ys)
    return tuple(carries), jnp.concatenate(outputs, axis=-1) if connect == "skip" else ys


def _dropped(key: jax.Array, rate: float, xs: jax.Array) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key, 1 - rate, xs.shape), xs / (1 - rate), 0)
