"""``scan``: runs any cell over sequences, ragged or not, forward or in reverse, with resets inside them."""

import math
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.recurrent.associative import block_length
from jaxnets.recurrent.cell import Carry, Cell, Params, main_input, matmul, plain_dot, split_params
from jaxnets.recurrent.methods import Executor, executor, newton_executor, resolve_method
from jaxnets.recurrent.newton import Newton, Solution, worst
from jaxnets.recurrent.persistent import chunk_length
from jaxnets.recurrent.steps import Control, Plan


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
            ``persistent_kernel.py``); ``"auto"``: what ``choose_method`` says. Or an executor, as in ``methods.py``.

    Returns:
        The carry after each row's last real step, and the outputs ``[*batch, T, H]`` (``[T, *batch, H]`` when
        ``time_major``) in the dtype of ``xs``, zero where padded.

    Raises:
        ValueError: An argument has a shape, dtype or value that does not fit, or the method cannot do what is asked.
    """
    _check_choices(params, chunk, keep, unroll)
    method = resolve_method(cell, method)
    leaf = main_input(xs)
    axis = time_axis(cell, leaf, time_major)
    length = leaf.shape[axis]
    batch = (*leaf.shape[:axis], *leaf.shape[axis + 1 :])[: leaf.ndim - 1 - cell.axes]
    _check_inputs(cell, params, xs, leaf)
    one = one_input(xs, axis)
    carry = first_carry(cell, params, one, carry)
    control = _control(lengths, resets, length, batch, axis)
    initial = () if resets is None else cell.carry(params, one)

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
        carry, ys = run(cell, plan, params, jax.tree.map(lambda x, cut=cut: cut(x, axis), xs), carry, initial, here)
        outputs.append(ys)
    if not outputs:
        return carry, _empty_outputs(cell, params, one, carry, axis)
    ordered = outputs[::-1] if reverse else outputs
    return carry, ordered[0] if len(ordered) == 1 else jnp.concatenate(ordered, axis)


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
        times = jnp.arange(length).reshape(length, *(1,) * len(batch[axis:]))
        active = times < jnp.expand_dims(lengths, axis)
    if resets is not None:
        resets = jnp.asarray(resets)
        expected = (*batch[:axis], length, *batch[axis:])
        if resets.dtype != jnp.bool_ or resets.shape != expected:
            raise ValueError(f"resets: bool of shape {expected} expected; given {resets.dtype} of shape {resets.shape}")
        reset = resets if active is None else resets & active
    return Control(active, reset)


def _empty_outputs(cell: Cell, params: Params, one: Any, carry: Carry, axis: int) -> jax.Array:
    source, recurrent, rest = split_params(params)
    dtype = main_input(one).dtype
    step = lambda carry, x: cell.step(rest, carry, cell.project(source, x), plain_dot(cell, recurrent, dtype))
    y = jax.eval_shape(step, carry, one)[1]
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


# ---- what a user gets wrong


def time_axis(cell: Cell, leaf: jax.Array, time_major: bool) -> int:
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


def _check_choices(params: Params, chunk: int | None, keep: str | None, unroll: int) -> None:
    if not {"input", "recurrent"} <= set(params):
        raise ValueError(f'params: "input" and "recurrent" expected, as cell.init makes them; given {sorted(params)}')
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk: at least 1, or None to choose; given {chunk}")
    if unroll < 1:
        raise ValueError(f"unroll: at least 1; given {unroll}")
    if keep not in ("carries", "boundaries", "products", None):
        raise ValueError(f"keep: one of carries, boundaries, products, or None to choose; given {keep!r}")


def one_input(xs: Any, axis: int) -> Any:
    """Zeros like the input of one step."""
    return jax.tree.map(lambda x: jnp.zeros((*x.shape[:axis], *x.shape[axis + 1 :]), x.dtype), xs)


def first_carry(cell: Cell, params: Params, one: Any, carry: Carry | None) -> Carry:
    """The cell's initial carry, or the one given in the dtypes of the cell's own, float32 at least."""
    if carry is None:
        return cell.carry(params, one)
    expected = jax.eval_shape(cell.carry, params, one)
    shapes = lambda tree: jax.tree.map(lambda a: tuple(jnp.shape(a)), tree)
    different = jax.tree.structure(expected) != jax.tree.structure(carry)  # type: ignore[operator]
    if different or jax.tree.leaves(shapes(expected)) != jax.tree.leaves(shapes(carry)):
        raise ValueError(f"carry: shapes {shapes(expected)} expected for this batch; given {shapes(carry)}")
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), carry, expected)


def checked_lengths(lengths: Any, length: int, batch: tuple[int, ...]) -> jax.Array:
    """Lengths as an array, if they are integers ``[*batch]`` from 0 to ``length``; else a ``ValueError``."""
    lengths = jnp.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer) or lengths.shape != batch:
        raise ValueError(f"lengths: integers of shape {batch} expected; given {lengths.dtype} of shape {lengths.shape}")
    if not isinstance(lengths, jax.core.Tracer):  # within jit the values are not known
        wrong = [int(n) for n in np.ravel(lengths) if not 0 <= n <= length]
        if wrong:
            raise ValueError(f"lengths: from 0 to T = {length} expected; given {wrong[0]}")
    return lengths
