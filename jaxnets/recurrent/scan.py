"""Scan of any cell over sequences, with lengths, resets, reverse time and a choice of methods."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxnets.ops.array_types import Array, ArrayLike, Bool, Float, Integer
from jaxnets.ops.meshes import call_auto_sharded, spec_of
from jaxnets.recurrent.cell import Carry, Cell, Params, cast_params, main_input, plain_dot, split_params
from jaxnets.recurrent.checking import (
    as_array,
    as_arrays,
    check_cell,
    check_inputs,
    check_params,
    check_params_match,
    checked_lengths,
    described,
    resolve_carry,
    time_axis,
    zeros_for_step,
)
from jaxnets.recurrent.executors.method import Arguments, Method, Traversal
from jaxnets.recurrent.executors.steps import StepMasks, masked_step
from jaxnets.recurrent.methods import resolve_method


def scan(
    cell: Cell,
    params: Params,
    xs: Any,
    carry: Carry | None = None,
    *,
    lengths: Integer[ArrayLike, "..."] | Sequence[int] | None = None,
    resets: Bool[ArrayLike, "..."] | Sequence[Any] | None = None,
    reverse: bool = False,
    time_major: bool = False,
    method: str | Method = "auto",
) -> tuple[Carry, Float[Array, "..."]]:
    """Runs a cell over a batch of sequences.

    Products are computed in the dtype of ``xs`` and accumulated in float32. Everything else, carries included, is
    computed in float32 (in float64 for ``xs`` in float64). Parameters are cast accordingly, independent of
    ``jax_enable_x64``. ``params``, ``xs`` and ``carry`` are differentiable, with gradients in their own dtypes.

    Args:
        cell: A recurrent cell.
        params: The parameters of the cell, as returned by ``cell.init``.
        xs: ``[*batch, T, D]``, or ``[T, *batch, D]`` if ``time_major``; ``[*batch, T, H, W, C]`` for a cell over
            images; for a cell with several inputs a tree of arrays with equal leading axes. T may be 0.
        carry: The carry before the first step; None is the initial carry of the cell.
        lengths: Integers ``[*batch]`` from 0 to T, the number of valid steps of each row; None means T. The steps after
            them are padding, which affects neither outputs nor carries nor gradients, even if it is NaN.
        resets: bool ``[*batch, T]`` (``[T, *batch]`` if ``time_major``). A step where it is True starts from the
            cell's initial carry instead of the carry of the previous step (the next step if ``reverse``).
        reverse: Whether to run from the last valid step to the first. ``ys[t]`` still corresponds to ``xs[t]``.
        time_major: Whether time is the first axis of ``xs``, ``resets`` and ``ys``.
        method: The algorithm: a name, an object with options, or a custom ``Method``.

            - ``"sequential"``, ``Sequential(chunk=64, keep="boundaries")``: one step after another, for any cell.
            - ``"autodiff"``, ``Autodiff()``: a plain ``jax.lax.scan``, for forward-mode and second derivatives.
            - ``"associative"``, ``Associative(...)``: parallel over time, for cells that are linear in their state.
            - ``"newton"``, ``Newton(tolerance=...)``: parallel over time, for any cell.
            - ``"cudnn"``, ``CuDNN()``: NVIDIA's LSTM.
            - ``"persistent"``, ``Persistent(...)``: one kernel for all steps, on a Hopper GPU.
            - ``"auto"``: the method that ``choose_method`` returns.

    Returns:
        The carry after the last valid step of each row (the first one if ``reverse``), and the outputs
        ``[*batch, T, H]`` (``[T, *batch, H]`` if ``time_major``) in the dtype of ``xs``, zero in the padding.

    Raises:
        ValueError: An argument has the wrong type, shape, dtype or value, or the method does not support the cell, an
            argument or the backend.
    """
    check_cell(cell)
    check_params(params)
    method = resolve_method(cell, method)
    params, xs, carry = as_arrays("params", dict(params)), as_arrays("xs", xs), as_arrays("carry", carry)
    lengths, resets = as_array("lengths", lengths), as_array("resets", resets)
    axis = time_axis(cell, main_input(xs), time_major)
    run = functools.partial(_scan, cell, method, reverse, axis)
    return call_auto_sharded(
        run, functools.partial(_partition_specs, axis, xs, carry), params, xs, carry, lengths, resets
    )


def _partition_specs(axis: int, xs: Any, carry: Carry | None, shapes: Any) -> Any:
    """Returns the partition specs of the results: batch and time axes as in ``xs``, carries as in ``carry``."""
    spec = spec_of(main_input(xs))
    batch = (*spec[:axis], *spec[axis + 1 :])
    rank = main_input(xs).ndim - 1
    last, _ = shapes
    batch_spec = lambda leaf: PartitionSpec(*batch[: min(rank - 1, leaf.ndim)])
    if carry is None:
        return jax.tree.map(batch_spec, last), PartitionSpec(*spec[:rank])
    return jax.tree.map(lambda leaf: PartitionSpec(*spec_of(leaf)), carry), PartitionSpec(*spec[:rank])


def _scan(cell, method, reverse, axis, params, xs, carry, lengths, resets):
    """Implements ``scan`` for arguments that are JAX arrays."""
    leaf = main_input(xs)
    length = leaf.shape[axis]
    batch = (*leaf.shape[:axis], *leaf.shape[axis + 1 :])[: leaf.ndim - 1 - cell.axes]
    check_inputs(cell, params, xs, leaf)
    x = zeros_for_step(xs, axis)
    masks = _step_masks(lengths, resets, length, batch, axis)
    traversal = Traversal(reverse, axis, leaf.dtype)
    method.check(cell, traversal, masks)
    params = cast_params(params, leaf.dtype)
    with explain_errors(cell, params, leaf.shape[-1]):
        initial = () if resets is None else resolve_carry(cell, params, x, None, leaf.dtype)
        carry = resolve_carry(cell, params, x, carry, leaf.dtype)
        if length == 0:
            return carry, _empty_outputs(cell, params, x, carry, axis)
        last, ys = method.run(cell, traversal, Arguments(params, xs, carry, initial, masks))
    chex.assert_trees_all_equal_shapes_and_dtypes(last, carry)
    chex.assert_axis_dimension(ys, axis, length)
    return last, ys


@contextlib.contextmanager
def explain_errors(cell: Cell, params: Params, features: int) -> Iterator[None]:
    """Replaces errors of a cell's functions by a ``ValueError`` if the parameters belong to another cell."""
    try:
        yield
    except (AssertionError, KeyError, IndexError, TypeError, ValueError) as error:
        check_params_match(cell, params, features, error)
        raise


def step(cell: Cell, params: Params, carry: Carry | None, x: Any) -> tuple[Carry, Float[Array, "..."]]:
    """Runs one step of a cell, for streaming inference and reinforcement learning.

    Args:
        cell: A recurrent cell.
        params: The parameters of the cell, as returned by ``cell.init``.
        carry: The carry of the previous step; None is the initial carry of the cell.
        x: ``[*batch, D]``, the input of one step; for a cell with several inputs a tree of arrays.

    Returns:
        The new carry, and the output ``[*batch, H]`` in the dtype of ``x``.

    Raises:
        ValueError: An argument has the wrong type, shape or dtype.
    """
    check_cell(cell)
    check_params(params)
    params, x, carry = as_arrays("params", dict(params)), as_arrays("x", x), as_arrays("carry", carry)

    def specs(shapes):
        batch = spec_of(main_input(x, "x"))[:-1]
        last, y = jax.tree.map(lambda leaf: PartitionSpec(*batch[: leaf.ndim]), shapes)
        return last if carry is None else jax.tree.map(lambda leaf: PartitionSpec(*spec_of(leaf)), carry), y

    return call_auto_sharded(functools.partial(_step, cell), specs, params, carry, x)


def _step(cell, params, carry, x):
    leaf = main_input(x, "x")
    if leaf.ndim < cell.axes:
        raise ValueError(f"`x` must have at least {cell.axes} axes, got shape {leaf.shape}")
    check_inputs(cell, params, x, leaf, "x")
    params = cast_params(params, leaf.dtype)
    source, recurrent, rest = split_params(params)
    with explain_errors(cell, params, leaf.shape[-1]):
        carry = resolve_carry(cell, params, x, carry, leaf.dtype)
        run_step = masked_step(cell, rest, plain_dot(cell, recurrent, leaf.dtype), leaf.dtype)
        return run_step(carry, cell.project(source, x), StepMasks(), ())


def _step_masks(lengths, resets, length: int, batch: tuple[int, ...], axis: int) -> StepMasks:
    """Converts lengths and resets to masks; resets in the padding are ignored."""
    valid = reset = None
    if lengths is not None:
        lengths = checked_lengths(lengths, length, batch)
        steps = jnp.arange(length, dtype=jnp.int32)
        batch_axes = [i for i in range(len(batch) + 1) if i != axis]
        valid = jnp.expand_dims(steps, batch_axes) < jnp.expand_dims(lengths, axis)
    if resets is not None:
        expected = (*batch[:axis], length, *batch[axis:])
        if resets.dtype != jnp.bool_ or resets.shape != expected:
            raise ValueError(f"`resets` must be bool of shape {expected}, got {described(resets)}")
        reset = resets if valid is None else resets & valid
    return StepMasks(valid, reset)


def _empty_outputs(cell: Cell, params: Params, x: Any, carry: Carry, axis: int) -> jax.Array:
    """Returns the outputs of a sequence with no steps."""
    source, recurrent, rest = split_params(params)
    dtype = main_input(x).dtype
    run_step = masked_step(cell, rest, plain_dot(cell, recurrent, dtype), dtype)
    y = jax.eval_shape(lambda carry, x: run_step(carry, cell.project(source, x), StepMasks(), ()), carry, x)[1]
    return jnp.zeros((*y.shape[:axis], 0, *y.shape[axis:]), dtype)
