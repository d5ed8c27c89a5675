"""``scan``: runs any cell over sequences, ragged or not, forward or in reverse, with resets inside them."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxnets.ops.meshes import call_auto_sharded, spec_of
from jaxnets.recurrent.cell import Carry, Cell, Params, accumulated, main_input, plain_dot, split_params
from jaxnets.recurrent.checking import (
    arrays,
    check_cell,
    check_inputs,
    check_made_by,
    check_params,
    checked_lengths,
    first_carry,
    one_array,
    one_input,
    time_axis,
)
from jaxnets.recurrent.executors.method import Given, Method, Traversal
from jaxnets.recurrent.executors.steps import Control, full_step
from jaxnets.recurrent.methods import resolve_method


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
    method: str | Method = "auto",
) -> tuple[Carry, jax.Array]:
    """Runs ``cell`` over sequences.

    The dtype of ``xs`` decides: products are computed in it and accumulated in float32, and all else is computed in
    float32, carries included (in float64 for float64 ``xs``). Parameters of other dtypes are cast to these, whether
    ``jax_enable_x64`` is on or not. Gradients reach ``params``, ``xs`` and ``carry``, each in its own dtype.

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
        method: How it is computed, a name or an object with options; see each for what it serves. ``"sequential"``,
            ``Sequential(chunk=64, keep="boundaries")``; ``"autodiff"``, ``Autodiff()``: a plain ``jax.lax.scan``, for
            forward-mode and second derivatives; ``"associative"``, ``Associative(...)``: parallel over time, for cells
            that are linear in their state; ``"newton"``, ``Newton(tolerance=...)``: parallel over time for any cell;
            ``"cudnn"``, ``CuDNN()``: NVIDIA's own LSTM; ``"persistent"``, ``Persistent(...)``: one kernel for all steps
            on a Hopper GPU; ``"auto"``: what ``choose_method`` returns. Or a ``Method`` of your own.

    Returns:
        The carry after each row's last real step, and the outputs ``[*batch, T, H]`` (``[T, *batch, H]`` when
        ``time_major``) in the dtype of ``xs``, zero where padded.

    Raises:
        ValueError: An argument has a shape, dtype or value that does not fit, or the method cannot do what is asked.
    """
    check_cell(cell)
    check_params(params)
    method = resolve_method(cell, method)
    params, xs, carry = arrays("params", dict(params)), arrays("xs", xs), arrays("carry", carry)
    lengths, resets = one_array("lengths", lengths), one_array("resets", resets)
    axis = time_axis(cell, main_input(xs), time_major)
    run = functools.partial(_scan, cell, method, reverse, axis)
    return call_auto_sharded(run, functools.partial(_specs, axis, xs, carry), params, xs, carry, lengths, resets)


def _specs(axis: int, xs: Any, carry: Carry | None, shapes: Any) -> Any:
    """How the results of a scan are divided: the axes of batch and time as xs, a carry as the one given."""
    times = spec_of(main_input(xs))
    batch = (*times[:axis], *times[axis + 1 :])
    rank = main_input(xs).ndim - 1
    last, _ = shapes
    of_xs = lambda leaf: PartitionSpec(*batch[: min(rank - 1, leaf.ndim)])
    if carry is None:
        return jax.tree.map(of_xs, last), PartitionSpec(*times[:rank])
    return jax.tree.map(lambda leaf: PartitionSpec(*spec_of(leaf)), carry), PartitionSpec(*times[:rank])


def _scan(cell, method, reverse, axis, params, xs, carry, lengths, resets):
    """``scan`` of arguments that are arrays."""
    leaf = main_input(xs)
    length = leaf.shape[axis]
    batch = (*leaf.shape[:axis], *leaf.shape[axis + 1 :])[: leaf.ndim - 1 - cell.axes]
    check_inputs(cell, params, xs, leaf)
    one = one_input(xs, axis)
    control = _control(lengths, resets, length, batch, axis)
    traversal = Traversal(reverse, axis, leaf.dtype)
    method.check(cell, traversal, control)
    params = accumulated(params, leaf.dtype)
    with explained(cell, params, leaf.shape[-1]):
        initial = () if resets is None else first_carry(cell, params, one, None, leaf.dtype)
        carry = first_carry(cell, params, one, carry, leaf.dtype)
        if length == 0:
            return carry, _empty_outputs(cell, params, one, carry, axis)
        last, ys = method.run(cell, traversal, Given(params, xs, carry, initial, control))
    chex.assert_trees_all_equal_shapes_and_dtypes(last, carry)
    chex.assert_axis_dimension(ys, axis, length)
    return last, ys


@contextlib.contextmanager
def explained(cell: Cell, params: Params, features: int) -> Iterator[None]:
    """Turns what a cell's functions raise for the parameters of another cell into a ``ValueError`` about those."""
    try:
        yield
    except (AssertionError, KeyError, IndexError, TypeError, ValueError) as error:
        check_made_by(cell, params, features, error)
        raise


def step(cell: Cell, params: Params, carry: Carry | None, x: Any) -> tuple[Carry, jax.Array]:
    """One step of a cell, for streaming inference and reinforcement learning.

    Args:
        cell: A recurrent cell.
        params: Its parameters, as ``cell.init`` makes them.
        carry: The carry of the step before, or None for the cell's initial one.
        x: ``[*batch, D]``, the input of one time; for a cell that reads more than one thing a tree of arrays.

    Returns:
        The new carry, and the output ``[*batch, H]`` in the dtype of ``x``.

    Raises:
        ValueError: As ``scan``.
    """
    check_cell(cell)
    check_params(params)
    params, x, given = arrays("params", dict(params)), arrays("x", x), arrays("carry", carry)

    def specs(shapes):
        batch = spec_of(main_input(x, "x"))[:-1]
        last, y = jax.tree.map(lambda leaf: PartitionSpec(*batch[: leaf.ndim]), shapes)
        return last if carry is None else jax.tree.map(lambda leaf: PartitionSpec(*spec_of(leaf)), given), y

    return call_auto_sharded(functools.partial(_step, cell), specs, params, given, x)


def _step(cell, params, carry, x):
    leaf = main_input(x, "x")
    if leaf.ndim < cell.axes:
        raise ValueError(f"x must have at least {cell.axes} axes, those of one step's input, got shape {leaf.shape}")
    check_inputs(cell, params, x, leaf, "x")
    params = accumulated(params, leaf.dtype)
    source, recurrent, rest = split_params(params)
    with explained(cell, params, leaf.shape[-1]):
        carry = first_carry(cell, params, x, carry, leaf.dtype)
        one = full_step(cell, rest, plain_dot(cell, recurrent, leaf.dtype), leaf.dtype)
        return one(carry, cell.project(source, x), Control(), ())


def _control(lengths, resets, length: int, batch: tuple[int, ...], axis: int) -> Control:
    """Lengths and resets as masks; a reset in the padding is none."""
    active = reset = None
    if lengths is not None:
        lengths = checked_lengths(lengths, length, batch)
        times = jnp.arange(length, dtype=jnp.int32)
        others = [i for i in range(len(batch) + 1) if i != axis]
        active = jnp.expand_dims(times, others) < jnp.expand_dims(lengths, axis)
    if resets is not None:
        expected = (*batch[:axis], length, *batch[axis:])
        if resets.dtype != jnp.bool_ or resets.shape != expected:
            raise ValueError(f"resets: bool of shape {expected} expected; given {resets.dtype} of shape {resets.shape}")
        reset = resets if active is None else resets & active
    return Control(active, reset)


def _empty_outputs(cell: Cell, params: Params, one: Any, carry: Carry, axis: int) -> jax.Array:
    source, recurrent, rest = split_params(params)
    dtype = main_input(one).dtype
    one_step = full_step(cell, rest, plain_dot(cell, recurrent, dtype), dtype)
    y = jax.eval_shape(lambda carry, x: one_step(carry, cell.project(source, x), Control(), ()), carry, one)[1]
    return jnp.zeros((*y.shape[:axis], 0, *y.shape[axis:]), dtype)
