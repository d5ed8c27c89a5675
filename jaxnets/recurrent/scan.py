"""``scan``: runs any cell over sequences, ragged or not, forward or in reverse, with resets inside them."""

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from jaxnets.ops.meshes import automatic, spec_of
from jaxnets.recurrent.cell import Carry, Cell, Params, accumulated, main_input, matmul, plain_dot, split_params
from jaxnets.recurrent.checking import (
    arrays,
    check_cell,
    check_choices,
    check_inputs,
    check_made_by,
    check_params,
    checked_lengths,
    first_carry,
    one_array,
    one_input,
    time_axis,
)
from jaxnets.recurrent.executors.associative import block_length
from jaxnets.recurrent.executors.newton import Newton, Solution, worst
from jaxnets.recurrent.executors.steps import Control, Plan, full_step
from jaxnets.recurrent.experimental.persistent import chunk_length
from jaxnets.recurrent.methods import Executor, executor, newton_executor, resolve_method


class Options(TypedDict, total=False):
    """How ``scan`` computes, not what: its arguments of these names."""

    chunk: int | None
    keep: str | None
    unroll: int
    method: str | Newton


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
    keep: str | None = None,
    unroll: int = 1,
    method: str | Newton | Executor = "auto",
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
        chunk: Steps whose projection and gradient are computed at once; None chooses. T need not be a multiple.
        keep: What the backward pass keeps: ``"carries"`` (of every step), ``"boundaries"`` (each chunk's first carry:
            less memory, the chunk runs once more) or ``"products"`` (carries and state products: more memory, they are
            not computed twice). None chooses: carries, but products where a CPU's products are large and all of them
            are at most 256 MB.
        unroll: Steps unrolled in the inner loop.
        method: ``"sequential"``, or ``"autodiff"``: a plain ``jax.lax.scan``, for forward-mode and second derivatives;
            ``"associative"``: parallel over time, for cells that are linear in their state (their step is a
            ``LinearStep``); ``"newton"``, or a ``Newton(...)`` with its tolerance and limits: parallel over time for
            any cell; ``"cudnn"``: NVIDIA's own LSTM, for a plain one on whole float32 sequences; ``"persistent"``: one
            kernel for all steps on a Hopper GPU, for cells whose units meet in their state products alone (see
            ``experimental/persistent_kernel.py``); ``"auto"``: what ``choose_method`` says. Or an executor, as in
            ``methods.py``.

    Returns:
        The carry after each row's last real step, and the outputs ``[*batch, T, H]`` (``[T, *batch, H]`` when
        ``time_major``) in the dtype of ``xs``, zero where padded.

    Raises:
        ValueError: An argument has a shape, dtype or value that does not fit, or the method cannot do what is asked.
    """
    check_cell(cell)
    check_choices(chunk, keep, unroll)
    check_params(params)
    method = resolve_method(cell, method)
    params, xs, carry = arrays("params", dict(params)), arrays("xs", xs), arrays("carry", carry)
    lengths, resets = one_array("lengths", lengths), one_array("resets", resets)
    axis = time_axis(cell, main_input(xs), time_major)
    run = functools.partial(_scan, cell, method, chunk, keep, unroll, reverse, axis)
    return automatic(run, functools.partial(_specs, axis, xs, carry), params, xs, carry, lengths, resets)


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


def _scan(cell, method, chunk, keep, unroll, reverse, axis, params, xs, carry, lengths, resets):
    """``scan`` of arguments that are arrays."""
    leaf = main_input(xs)
    length = leaf.shape[axis]
    batch = (*leaf.shape[:axis], *leaf.shape[axis + 1 :])[: leaf.ndim - 1 - cell.axes]
    check_inputs(cell, params, xs, leaf)
    one = one_input(xs, axis)
    control = _control(lengths, resets, length, batch, axis)
    params = accumulated(params, leaf.dtype)
    with explained(cell, params, leaf.shape[-1]):
        initial = () if resets is None else first_carry(cell, params, one, None, leaf.dtype)
        carry = first_carry(cell, params, one, carry, leaf.dtype)

    if method == "cudnn":
        chunk = length  # in one call
    steps = chunk or _choose_chunk(method, length, math.prod(batch), carry)
    keep = keep or _choose_keep(cell, params, carry, length, math.prod(batch))
    whole = length - length % steps
    pieces = [(0, whole, steps), (whole, length, length - whole)]
    run = executor(method)
    outputs = []
    for start, stop, size in reversed(pieces) if reverse else pieces:
        if start == stop:
            continue
        cut = lambda x, at, start=start, stop=stop: lax.slice_in_dim(x, start, stop, axis=at)
        plan = Plan(size, keep, unroll, reverse, axis, leaf.dtype)
        here = jax.tree.map(lambda x, cut=cut: cut(x, axis), control)
        part = jax.tree.map(lambda x, cut=cut: cut(x, axis), xs)
        with explained(cell, params, leaf.shape[-1]):
            carry, ys = run(cell, plan, params, part, carry, initial, here)
        outputs.append(ys)
    if not outputs:
        with explained(cell, params, leaf.shape[-1]):
            return carry, _empty_outputs(cell, params, one, carry, axis)
    ordered = outputs[::-1] if reverse else outputs
    return carry, ordered[0] if len(ordered) == 1 else jnp.concatenate(ordered, axis)


@contextlib.contextmanager
def explained(cell: Cell, params: Params, features: int) -> Iterator[None]:
    """Turns what a cell's functions raise for the parameters of another cell into a ``ValueError`` about those."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError) as error:
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

    return automatic(functools.partial(_step, cell), specs, params, given, x)


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


def _choose_keep(cell: Cell, params: Params, carry: Carry, length: int, rows: int) -> str:
    """Products where one step's are so large that a chunk's at once are no faster, which is known of CPUs.

    Not those of a cell with a single gate: it has little else to keep, and outputs that tell most of it.
    """
    if cell.product is not matmul or jax.default_backend() != "cpu":
        return "carries"
    numbers = rows * sum(weight.shape[-1] for weight in jax.tree.leaves(params["recurrent"]))
    large = numbers >= 2**16 and numbers > sum(leaf.size for leaf in jax.tree.leaves(carry))
    return "products" if large and isinstance(length, int) and numbers * length <= 2**26 else "carries"


def _choose_chunk(method: Any, length: int, rows: int, carry: Carry) -> int:
    """A method's steps at once. A length that is only a name, as ``jax.export`` may trace it, is one chunk."""
    if method == "associative":
        return block_length(length, carry)
    if not isinstance(length, int):
        return length
    if method == "persistent":
        return chunk_length(length)
    return _sequential_chunk(length, rows)


def _sequential_chunk(length: int, rows: int) -> int:
    """Steps of about 768 rows in all: enough for one efficient product, few enough to stay in cache.

    Between 4 and 64, and preferably a divisor of the length near to that; else the last chunk is shorter.
    """
    wished = min(max(768 // max(rows, 1), 4), 64)
    if length <= 2 * wished:
        return max(length, 1) if length <= wished else -(-length // 2)
    near = sorted(range(wished // 2, 2 * wished), key=lambda size: max(size / wished, wished / size))
    return next((size for size in near if length % size == 0), wished)


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


def newton_solution(cell: Cell, params: Params, xs: Any, carry: Carry | None = None, **options: Any) -> Solution:
    """How Newton's method fares on a sequence: its iterations, residual, and whether it converged.

    Args:
        cell, params, xs, carry: As in ``scan``.
        **options: As in ``scan``; ``method`` is ``"newton"`` or a ``Newton(...)``.

    Raises:
        ValueError: As ``scan``, or T is 0, or the method is another.
    """
    method = options.pop("method", "newton")
    method = Newton() if method == "newton" else method
    if not isinstance(method, Newton):
        raise ValueError(f"method: newton, or a Newton(...), expected; given {method!r}")
    found: list[Solution] = []

    def executor(*arguments):
        carry, ys, solution = newton_executor(method, *arguments)
        found.append(solution)
        return carry, ys

    scan(cell, params, xs, carry, **options, method=executor)
    if not found:
        raise ValueError("xs: at least one step expected")
    return worst(jax.tree.map(lambda *a: jnp.stack(a), *found))
