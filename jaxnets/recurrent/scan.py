"""``scan``: runs any cell over sequences, ragged or not, forward or in reverse, with resets inside them."""

from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.recurrent.cell import Carry, Cell, Params, plain_dot, split_params
from jaxnets.recurrent.chunked import (
    Control,
    Plan,
    chunked,
    full_step,
    parted,
    projection,
)


class Options(TypedDict, total=False):
    """How ``scan`` computes, not what: its arguments of these names."""

    chunk: int | None
    keep: str
    unroll: int
    method: str


def scan(
    cell: Cell,
    params: Params,
    xs: Any,
    carry: Carry | None = None,
    *,
    lengths: jax.Array | None = None,
    resets: jax.Array | None = None,
    reverse: bool = False,
    time_major: bool = False,
    chunk: int | None = None,
    keep: str = "carries",
    unroll: int = 1,
    method: str = "auto",
) -> tuple[Carry, jax.Array]:
    """Runs ``cell`` over sequences.

    Products are computed in the dtype of ``xs`` and accumulated in float32; carries stay float32. Gradients reach
    ``params``, ``xs`` and ``carry``.

    Args:
        cell: A recurrent cell.
        params: Its parameters, as ``cell.init`` makes them.
        xs: ``[*batch, T, D]``, or ``[T, *batch, D]`` when ``time_major``; for a cell over images ``[*batch, T, H, W,
            C]``; for a cell that reads more than one thing a tree of arrays with the same leading axes. T may be 0.
        carry: The carry before the first step, or None for the cell's initial one.
        lengths: Integers ``[*batch]`` from 0 to T: how many of a row's steps are real, from its start. Padding has no
            effect on outputs, carries and gradients, whatever is in it.
        resets: bool ``[*batch, T]`` (``[T, *batch]`` when ``time_major``): steps that start from the cell's initial
            carry, not from the step before (the step after, in ``reverse``).
        reverse: From the last real time to the first. ``ys[t]`` still belongs to ``xs[t]``.
        time_major: Whether time is the first axis of ``xs``, ``resets`` and ``ys``.
        chunk: Steps whose projection and gradient are computed at once; None chooses. T need not be a multiple.
        keep: What the backward pass keeps: ``"carries"`` (of every step) or ``"boundaries"`` (each chunk's first
            carry: less memory, the chunk runs once more).
        unroll: Steps unrolled in the inner loop.
        method: ``"sequential"``, or ``"autodiff"``: a plain ``jax.lax.scan``, for forward-mode and second derivatives;
            ``"auto"`` is sequential.

    Returns:
        The carry after each row's last real step, and the outputs ``[*batch, T, H]`` (``[T, *batch, H]`` when
        ``time_major``) in the dtype of ``xs``, zero where padded.

    Raises:
        ValueError: An argument has a shape, dtype or value that does not fit, or the method cannot do what is asked.
    """
    _check_choices(params, chunk, keep, unroll, method)
    leaf = _first_floating(xs)
    axis = _time_axis(cell, leaf, time_major)
    length = leaf.shape[axis]
    batch = (*leaf.shape[:axis], *leaf.shape[axis + 1 :])[: leaf.ndim - 1 - cell.axes]
    _check_inputs(cell, params, xs, leaf)
    one = jax.tree.map(lambda x: jnp.zeros((*x.shape[:axis], *x.shape[axis + 1 :]), x.dtype), xs)
    carry = cell.carry(params, one) if carry is None else _checked_carry(cell, params, one, carry)
    control = _control(lengths, resets, length, batch, axis)
    initial = () if resets is None else cell.carry(params, one)

    steps = chunk or _choose_chunk(length)
    whole = length - length % steps
    pieces = [(0, whole, steps), (whole, length, length - whole)]
    run = _plain if method == "autodiff" else _sequential
    outputs = []
    for start, stop, size in reversed(pieces) if reverse else pieces:
        if start == stop:
            continue
        cut = lambda x, at, start=start, stop=stop: lax.slice_in_dim(x, start, stop, axis=at)
        plan = Plan(size, keep, unroll, reverse, axis, leaf.dtype)
        here = jax.tree.map(lambda x, cut=cut: cut(x, 0), control)
        carry, ys = run(cell, plan, params, jax.tree.map(lambda x, cut=cut: cut(x, axis), xs), carry, initial, here)
        outputs.append(ys)
    if not outputs:
        return carry, _empty_outputs(cell, params, one, carry, axis)
    ordered = outputs[::-1] if reverse else outputs
    return carry, ordered[0] if len(ordered) == 1 else jnp.concatenate(ordered, axis)


def _choose_chunk(length: int) -> int:
    """The largest divisor of the length between 8 and 32, else 16 with a shorter last chunk."""
    if length <= 32:
        return max(length, 1)
    return next((size for size in range(32, 7, -1) if length % size == 0), 16)


def _control(lengths, resets, length: int, batch: tuple[int, ...], axis: int) -> Control:
    """Lengths and resets as masks, time first; a reset in the padding is none."""
    active = reset = None
    if lengths is not None:
        lengths = _checked_lengths(lengths, length, batch)
        times = jnp.arange(length).reshape(length, *(1,) * len(batch))
        active = times < lengths
    if resets is not None:
        resets = jnp.asarray(resets)
        expected = (*batch[:axis], length, *batch[axis:])
        if resets.dtype != jnp.bool_ or resets.shape != expected:
            raise ValueError(f"resets: bool of shape {expected} expected; given {resets.dtype} of shape {resets.shape}")
        reset = jnp.moveaxis(resets, axis, 0)
        reset = reset if active is None else reset & active
    return Control(active, reset)


def _empty_outputs(cell: Cell, params: Params, one: Any, carry: Carry, axis: int) -> jax.Array:
    source, recurrent, rest = split_params(params)
    dtype = _first_floating(one).dtype
    step = lambda carry, x: cell.step(rest, carry, cell.project(source, x), plain_dot(cell, recurrent, dtype))
    y = jax.eval_shape(step, carry, one)[1]
    return jnp.zeros((*y.shape[:axis], 0, *y.shape[axis:]), dtype)


# ---- executors: (cell, plan, params, xs, carry, initial, control) -> (carry, ys), xs with at least one step


def _sequential(cell: Cell, plan: Plan, params: Params, xs: Any, carry: Carry, initial: Carry, control: Control):
    (params, other_params), (xs, other_xs) = parted(params), parted(xs)
    try:
        return chunked(cell, plan, params, xs, carry, initial, (other_params, other_xs), control)
    except jax.errors.UnexpectedTracerError as error:
        raise ValueError(
            "the cell's step closes over a traced value, or wraps dot in a transformation such as jit; pass the value "
            'through params or xs, call dot in the step itself, or use method="autodiff"'
        ) from error
    except TypeError as error:
        if "forward-mode" in str(error):
            raise ValueError('forward-mode derivatives need method="autodiff"') from error
        raise


def _plain(cell: Cell, plan: Plan, params: Params, xs: Any, carry: Carry, initial: Carry, control: Control):
    """A plain ``lax.scan`` over the projected sequence: the oracle, differentiable in every mode."""
    source, recurrent, rest = split_params(params)
    step = full_step(cell, rest, plain_dot(cell, recurrent, plan.dtype), plan.dtype)
    u = projection(cell, control)(source, jax.tree.map(lambda x: jnp.moveaxis(x, plan.axis, 0), xs))
    run = lambda carry, inputs: step(carry, *inputs, initial)
    carry, ys = lax.scan(run, carry, (u, control), reverse=plan.reverse, unroll=plan.unroll)
    return carry, jnp.moveaxis(ys, 0, plan.axis)


# ---- what a user gets wrong


def _first_floating(xs: Any) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(xs) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    if not leaves:
        given = ", ".join(str(leaf.dtype) for leaf in jax.tree.leaves(xs)) or "nothing"
        raise ValueError(f"xs: floating point expected; given {given} (embed integer tokens first)")
    return leaves[0]


def _time_axis(cell: Cell, leaf: jax.Array, time_major: bool) -> int:
    if leaf.ndim < 1 + cell.axes:
        names = {1: "D", 2: "W, C", 3: "H, W, C"}.get(cell.axes, f"{cell.axes} axes of one input")
        raise ValueError(f"xs: at least the axes [T, {names}] expected; given shape {leaf.shape}")
    return 0 if time_major else leaf.ndim - 1 - cell.axes


def _check_inputs(cell: Cell, params: Params, xs: Any, leaf: jax.Array) -> None:
    prefix = leaf.shape[: leaf.ndim - cell.axes]
    for other in jax.tree.leaves(xs):
        if other.shape[: len(prefix)] != prefix:
            raise ValueError(f"xs: all of its arrays must begin with the axes {prefix}; given shape {other.shape}")
    kernel = params["input"].get("kernel") if isinstance(params["input"], dict) else None
    if kernel is not None and kernel.shape[-2] != leaf.shape[-1]:
        raise ValueError(f"xs: the parameters were made for {kernel.shape[-2]} features; given shape {leaf.shape}")


def _check_choices(params: Params, chunk: int | None, keep: str, unroll: int, method: str) -> None:
    if not {"input", "recurrent"} <= set(params):
        raise ValueError(f'params: "input" and "recurrent" expected, as cell.init makes them; given {sorted(params)}')
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk: at least 1, or None to choose; given {chunk}")
    if unroll < 1:
        raise ValueError(f"unroll: at least 1; given {unroll}")
    for name, value, allowed in (
        ("keep", keep, ("carries", "boundaries")),
        ("method", method, ("auto", "sequential", "autodiff")),
    ):
        if value not in allowed:
            raise ValueError(f"{name}: one of {', '.join(allowed)}; given {value!r}")


def _checked_carry(cell: Cell, params: Params, one: Any, carry: Carry) -> Carry:
    """The carry in the dtypes of the cell's own, float32 at least."""
    expected = jax.eval_shape(cell.carry, params, one)
    shapes = lambda tree: jax.tree.map(lambda a: tuple(jnp.shape(a)), tree)
    different = jax.tree.structure(expected) != jax.tree.structure(carry)  # type: ignore[operator]
    if different or jax.tree.leaves(shapes(expected)) != jax.tree.leaves(shapes(carry)):
        raise ValueError(f"carry: shapes {shapes(expected)} expected for this batch; given {shapes(carry)}")
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), carry, expected)


def _checked_lengths(lengths: Any, length: int, batch: tuple[int, ...]) -> jax.Array:
    lengths = jnp.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer) or lengths.shape != batch:
        raise ValueError(f"lengths: integers of shape {batch} expected; given {lengths.dtype} of shape {lengths.shape}")
    if not isinstance(lengths, jax.core.Tracer):  # within jit the values are not known
        wrong = [int(n) for n in np.ravel(lengths) if not 0 <= n <= length]
        if wrong:
            raise ValueError(f"lengths: from 0 to T = {length} expected; given {wrong[0]}")
    return lengths
