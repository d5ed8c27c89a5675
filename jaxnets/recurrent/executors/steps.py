"""What all executors share: a plan of the run, what decides about steps, a step with padding and resets around it."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.recurrent.cell import Cell, Params, matmul

WRAPPED = (
    "the cell's step closes over a traced value, or wraps dot in a transformation such as jit; pass the value through "
    'params or xs, call dot in the step itself, or use method="autodiff"'
)


class Plan(NamedTuple):
    """How an executor runs: all static."""

    chunk: int
    keep: str
    unroll: int
    reverse: bool
    axis: int  # of time in xs, ys and control
    dtype: Any  # of the products and outputs


class Control(NamedTuple):
    """What decides about steps, bool with the axes of batch and time; None where there is nothing to decide.

    Attributes:
        active: False where a step is padding: the carry goes by, the output is zero.
        reset: True where a step starts from the initial carry.
    """

    active: jax.Array | None = None
    reset: jax.Array | None = None


def full_step(cell: Cell, rest: Params, dot: Callable, dtype: Any, mask_output: bool = True) -> Callable:
    """``(carry, u, control, initial) -> (carry, y)``: the cell's step, with padding and resets around it.

    Without ``mask_output`` it is the caller who zeroes what padding puts out, all at once; an output that goes on as
    carry is chosen once then, not twice, which a batch of one feels.
    """

    def step(carry, u, control, initial):
        if control.reset is not None:
            carry = jax.tree.map(functools.partial(where, control.reset), initial, carry)
        new, y = checked_step(carry, cell.step(rest, carry, u, dot))
        if control.active is None:
            return new, y.astype(dtype)
        held = jax.tree.map(functools.partial(where, control.active), new, carry)
        if mask_output:
            return held, where(control.active, y, jnp.zeros_like(y)).astype(dtype)
        same = [kept for leaf, kept in zip(jax.tree.leaves(new), jax.tree.leaves(held), strict=True) if leaf is y]
        return held, (same[0] if same else y).astype(dtype)

    return step


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """Explains what JAX raises where a step calls ``dot`` inside a transformation, or closes over a traced value."""
    try:
        yield
    except jax.errors.UnexpectedTracerError as error:
        raise ValueError(WRAPPED) from error


def checked_step(carry: Any, result: Any) -> tuple[Any, jax.Array]:
    """What a cell's step returns, its carry in the dtypes of the one before.

    Raises:
        ValueError: It is no pair of a carry of the same structure and shapes, and an array.
    """
    if not isinstance(result, tuple) or len(result) != 2 or not hasattr(result[1], "dtype"):
        raise ValueError(f"a cell's step must return (carry, y), y an array, got {jax.tree.map(jnp.shape, result)}")
    new, y = result
    shapes = lambda tree: (jax.tree.structure(tree), [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)])
    if shapes(new) != shapes(carry):
        given, wanted = (jax.tree.map(jnp.shape, tree) for tree in (new, carry))
        raise ValueError(f"a cell's step must return a carry like the one before, of shapes {wanted}, got {given}")
    # The very array where it has the dtype already: whether it is y as well tells what need not be kept.
    cast = lambda leaf, old: leaf if jnp.asarray(leaf).dtype == old.dtype else jnp.asarray(leaf, old.dtype)
    return jax.tree.map(cast, new, carry), y


def projection(cell: Cell, control: Control) -> Callable:
    """The cell's ``project``; padding is zeroed first, so that not even a NaN in it has an effect."""

    def project(source, xs):
        if control.active is not None:
            zeroed = lambda x: where(control.active, x, jnp.zeros_like(x))
            floats, others = parted(xs)
            xs = joined(jax.tree.map(zeroed, floats), others)
        return cell.project(source, xs)

    return project


def where(mask: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """Chooses by step; mask ``[*axes]``, the others ``[*axes, ...]``."""
    return jnp.where(mask.reshape(*mask.shape, *(1,) * (new.ndim - mask.ndim)), new, old)


# ---- products


def ready(cell: Cell, recurrent: Params, dtype: Any) -> Params:
    """Recurrent weights as loops want them: those of plain products are cast once; other products see their own."""
    return jax.tree.map(lambda w: w.astype(dtype), recurrent) if cell.product is matmul else recurrent


# ---- parameters and inputs in two parts: what is differentiated (floating point), and what is not (masks, keys)


def parted(tree: Any) -> tuple[Any, Any]:
    """Two trees like the one given: one with its floating point leaves, one with the others, None elsewhere."""
    floating = lambda x: jnp.issubdtype(x.dtype, jnp.inexact)
    return (
        jax.tree.map(lambda x: x if floating(x) else None, tree),
        jax.tree.map(lambda x: None if floating(x) else x, tree),
    )


def joined(floats: Any, others: Any) -> Any:
    """The inverse of ``parted``."""
    return jax.tree.map(lambda a, b: b if a is None else a, floats, others, is_leaf=lambda leaf: leaf is None)


def add(left: Any, right: Any) -> Any:
    """The sum of two trees, in the dtypes of the first."""
    return jax.tree.map(lambda a, b: a + b.astype(a.dtype), left, right)


# ---- sequences: time stays at the plan's axis, so that nothing is transposed
# No index is negative; to say so saves a comparison and a select at each of them, in every step.


def take(tree: Any, k: Any, plan: Plan) -> Any:
    """Chunk k of a sequence."""
    cut = functools.partial(lax.dynamic_slice_in_dim, allow_negative_indices=False)
    return jax.tree.map(lambda a: cut(a, k * plan.chunk, plan.chunk, plan.axis), tree)


def put(buffers: Any, chunks: Any, k: Any, plan: Plan) -> Any:
    """A sequence with chunk k replaced."""
    one = functools.partial(lax.dynamic_update_slice_in_dim, allow_negative_indices=False)
    return jax.tree.map(lambda a, c: one(a, c, k * plan.chunk, plan.axis), buffers, chunks)


def at(tree: Any, time: Any, plan: Plan) -> Any:
    """One step of a sequence."""
    one = functools.partial(lax.dynamic_index_in_dim, keepdims=False, allow_negative_indices=False)
    # What has fewer axes than a row's index, such as a number for all rows, has time last.
    return jax.tree.map(lambda a: one(a, time, min(plan.axis, a.ndim - 1)), tree)


def put_at(buffers: Any, one: Any, time: Any, plan: Plan) -> Any:
    """A sequence with one step replaced."""
    put_one = functools.partial(lax.dynamic_update_index_in_dim, allow_negative_indices=False)
    return jax.tree.map(lambda a, x: put_one(a, x, time, plan.axis), buffers, one)


def room(one: Any, length: int, plan: Plan) -> Any:
    """Zeros for a sequence of what is given for one step."""
    make = lambda a: jnp.zeros((*a.shape[: plan.axis], length, *a.shape[plan.axis :]), a.dtype)
    return jax.tree.map(make, one)
