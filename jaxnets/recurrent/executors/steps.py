"""Building blocks of all executors: plans, step masks, masked steps, and chunks of sequences."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.recurrent.cell import Cell, Params, matmul

TRACER_LEAK = (
    "`step` of a cell must not close over a traced value or call dot inside a transformation such as jit; pass the "
    'value through params or xs, call dot in the step itself, or use method="autodiff"'
)


class Plan(NamedTuple):
    """Static settings of an executor.

    Attributes:
        chunk: Steps of a chunk.
        keep: The arrays saved for the backward pass.
        unroll: Steps unrolled in the inner loop.
        reverse: Whether to run from the last step to the first.
        axis: The time axis of xs, ys and the masks.
        dtype: The dtype of products and outputs.
    """

    chunk: int
    keep: str
    unroll: int
    reverse: bool
    axis: int
    dtype: Any


class StepMasks(NamedTuple):
    """Boolean masks with the axes of batch and time; None means that no step is masked.

    Attributes:
        valid: False for padding, where the carry does not change and the output is zero.
        reset: True for steps that start from the initial carry.
    """

    valid: jax.Array | None = None
    reset: jax.Array | None = None


def masked_step(cell: Cell, rest: Params, dot: Callable, dtype: Any, mask_output: bool = True) -> Callable:
    """Returns ``(carry, u, masks, initial) -> (carry, y)``, the step of a cell with padding and resets.

    With ``mask_output=False`` the caller sets outputs of the padding to zero, for many steps at once. An output that
    is also the carry is then selected once per step instead of twice, which matters for small batches.
    """

    def step(carry, u, masks, initial):
        if masks.reset is not None:
            carry = jax.tree.map(functools.partial(select_steps, masks.reset), initial, carry)
        new, y = check_step_result(carry, cell.step(rest, carry, u, dot))
        if masks.valid is None:
            return new, y.astype(dtype)
        held = jax.tree.map(functools.partial(select_steps, masks.valid), new, carry)
        if mask_output:
            return held, select_steps(masks.valid, y, jnp.zeros_like(y)).astype(dtype)
        pairs = zip(jax.tree.leaves(new), jax.tree.leaves(held), strict=True)
        equal_to_y = [held_leaf for leaf, held_leaf in pairs if leaf is y]
        return held, (equal_to_y[0] if equal_to_y else y).astype(dtype)

    return step


@contextlib.contextmanager
def explain_tracer_leaks() -> Iterator[None]:
    """Replaces the error of JAX for leaked tracers by one about the step of the cell."""
    try:
        yield
    except jax.errors.UnexpectedTracerError as error:
        raise ValueError(TRACER_LEAK) from error


def check_step_result(carry: Any, result: Any) -> tuple[Any, jax.Array]:
    """Checks the result of a cell's step and casts its carry to the dtypes of the previous one.

    Raises:
        ValueError: The result is not a pair of a carry and an array, or the carry has another structure or shape.
    """
    if not isinstance(result, tuple) or len(result) != 2 or not hasattr(result[1], "dtype"):
        raise ValueError(f"`step` of a cell must return (carry, y), y an array, got {jax.tree.map(jnp.shape, result)}")
    new, y = result
    structure = lambda tree: (jax.tree.structure(tree), [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)])
    if structure(new) != structure(carry):
        got, expected = (jax.tree.map(jnp.shape, tree) for tree in (new, carry))
        raise ValueError(f"`step` of a cell must return a carry of the shapes {expected}, got {got}")
    # A leaf that has the dtype already must stay the same object: callers compare it with y by identity.
    cast = lambda leaf, old: leaf if jnp.asarray(leaf).dtype == old.dtype else jnp.asarray(leaf, old.dtype)
    return jax.tree.map(cast, new, carry), y


def masked_projection(cell: Cell, masks: StepMasks) -> Callable:
    """Returns the cell's ``project`` for inputs with padding, which is set to zero first because it may be NaN."""

    def project(source, xs):
        if masks.valid is not None:
            zero_padding = lambda x: select_steps(masks.valid, x, jnp.zeros_like(x))
            floats, others = partition(xs)
            xs = combine(jax.tree.map(zero_padding, floats), others)
        return cell.project(source, xs)

    return project


def select_steps(mask: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """Selects ``new`` where ``mask [*axes]`` is True and ``old`` elsewhere, for arrays ``[*axes, ...]``."""
    return jnp.where(mask.reshape(*mask.shape, *(1,) * (new.ndim - mask.ndim)), new, old)


def cast_weights(cell: Cell, recurrent: Params, dtype: Any) -> Params:
    """Casts the weights of matrix products before the loop; a custom product receives the original weights."""
    return jax.tree.map(lambda w: w.astype(dtype), recurrent) if cell.product is matmul else recurrent


# ---- trees


def partition(tree: Any) -> tuple[Any, Any]:
    """Splits a tree into its floating point leaves, which are differentiated, and the others, with None elsewhere."""
    floating = lambda x: jnp.issubdtype(x.dtype, jnp.inexact)
    return (
        jax.tree.map(lambda x: x if floating(x) else None, tree),
        jax.tree.map(lambda x: None if floating(x) else x, tree),
    )


def combine(floats: Any, others: Any) -> Any:
    """Inverts ``partition``."""
    return jax.tree.map(lambda a, b: b if a is None else a, floats, others, is_leaf=lambda leaf: leaf is None)


def add_trees(left: Any, right: Any) -> Any:
    """Adds two trees, in the dtypes of the first."""
    return jax.tree.map(lambda a, b: a + b.astype(a.dtype), left, right)


# ---- chunks and steps of sequences
# The time axis stays where it is, so that nothing is transposed. ``allow_negative_indices=False`` saves a comparison
# and a select in every step.


def get_chunk(tree: Any, k: Any, plan: Plan) -> Any:
    """Returns chunk k of a sequence."""
    get = functools.partial(lax.dynamic_slice_in_dim, allow_negative_indices=False)
    return jax.tree.map(lambda a: get(a, k * plan.chunk, plan.chunk, plan.axis), tree)


def set_chunk(buffers: Any, chunks: Any, k: Any, plan: Plan) -> Any:
    """Replaces chunk k of a sequence."""
    update = functools.partial(lax.dynamic_update_slice_in_dim, allow_negative_indices=False)
    return jax.tree.map(lambda a, c: update(a, c, k * plan.chunk, plan.axis), buffers, chunks)


def get_step(tree: Any, time: Any, plan: Plan) -> Any:
    """Returns one step of a sequence."""
    get = functools.partial(lax.dynamic_index_in_dim, keepdims=False, allow_negative_indices=False)
    # An array with fewer axes, such as one number per step, has time last.
    return jax.tree.map(lambda a: get(a, time, min(plan.axis, a.ndim - 1)), tree)


def set_step(buffers: Any, values: Any, time: Any, plan: Plan) -> Any:
    """Replaces one step of a sequence."""
    update = functools.partial(lax.dynamic_update_index_in_dim, allow_negative_indices=False)
    return jax.tree.map(lambda a, x: update(a, x, time, plan.axis), buffers, values)


def zeros_sequence(tree: Any, length: int, plan: Plan) -> Any:
    """Returns zeros for ``length`` steps, given the arrays or shapes of one step."""
    zeros = lambda a: jnp.zeros((*a.shape[: plan.axis], length, *a.shape[plan.axis :]), a.dtype)
    return jax.tree.map(zeros, tree)
