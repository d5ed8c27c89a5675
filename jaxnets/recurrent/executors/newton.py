"""Newton executor: parallel over time for any cell, by Newton's method on all carries of a sequence."""

import dataclasses
import functools
import math
import numbers
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.checks import check_integer
from jaxnets.recurrent.cell import Carry, Cell, Params, plain_dot, split_params
from jaxnets.recurrent.executors.jacobian import (
    dense_jacobian,
    dense_recurrence,
    diagonal_jacobian,
    diagonal_recurrence,
    dot_with_jacobian,
)
from jaxnets.recurrent.executors.method import Arguments, Traversal, check_chunks, run_in_chunks, sequence_size
from jaxnets.recurrent.executors.newton_iteration import Solution, reduce_solutions, solve_block
from jaxnets.recurrent.executors.sequential import default_chunk_size
from jaxnets.recurrent.executors.sequential_backward import Residuals, backward
from jaxnets.recurrent.executors.steps import Plan, StepMasks, cast_weights, combine, masked_projection, masked_step

MAX_DENSE_SIZE = 32  # elements of a row's carry for which J is dense by default
MAX_JACOBIAN_SIZE = 2**24  # elements of the Jacobians of a block by default


@dataclasses.dataclass(frozen=True)
class Newton:
    r"""Newton method: parallel over time, for any cell.

    The carries are the solution of :math:`s_t = f_t(s_{t-1})`, where f is the step of the cell. Starting from a guess
    of all carries, one iteration of Newton's method is

    .. math::
        r_t = f_t(s_{t-1}) - s_t, \quad
        \delta_t = J_t \delta_{t-1} + r_t, \quad s_t \leftarrow s_t + \delta_t, \quad J_t = \partial f_t / \partial s

    where r and J are computed for all steps in parallel, and the linear recurrence in a tree of logarithmic depth.
    After k iterations the first k carries are exact. An approximate J changes the number of iterations, not the result:

    - a dense J, the Jacobian ``[S, S]`` of the S elements of a carry, converges quadratically at a cost of S^3 (DEER,
      Lim et al. 2024, arXiv:2309.12252);
    - a diagonal J, which ignores the interaction of different units, needs more iterations at the cost of one step each
      (quasi-DEER, Gonzalez et al. 2024, arXiv:2407.19115).

    Updates are limited to twice the size of the states. An update that is not finite is replaced by a plain step
    :math:`s_t = f_t(s_{t-1})`. If the iteration does not converge, the steps are computed sequentially, with a
    ``RuntimeWarning``. Cells that forget their past converge in a few iterations, chaotic cells do not converge.

    Attributes:
        tolerance: Largest error of a carry, relative to its size if that is above 1, else to the smaller of 1 and the
            largest carry. None means ``eps ** 0.8`` of the dtype of the products (3e-6 in float32).
        max_iterations: Largest number of iterations.
        dense: Whether J is dense. None means that J is dense if S is at most 32.
        block: Number of steps solved together; the blocks are solved one after another. None selects the largest number
            for which J has at most 2**24 elements; the peak memory is about four times that of J.
        warn: Whether to emit the ``RuntimeWarning``. It is a callback to the host, which programs exported for another
            platform do not support.
        chunk: Number of steps for which gradients are computed together, as in ``Sequential``.
        keep: The carries saved for the backward pass: ``"carries"``, the carry of every step, or ``"boundaries"``,
            the first carry of every chunk.
    """

    tolerance: float | None = None
    max_iterations: int = 100
    dense: bool | None = None
    block: int | None = None
    warn: bool = True
    chunk: int | None = None
    keep: str = "carries"

    def __post_init__(self):
        if self.tolerance is not None and not (isinstance(self.tolerance, numbers.Real) and self.tolerance > 0):
            raise ValueError(f"`tolerance` must be a positive number, got {self.tolerance!r}")
        check_integer("max_iterations", self.max_iterations)
        if self.block is not None:
            check_integer("block", self.block)
        check_chunks(self.chunk, self.keep, ("carries", "boundaries"))

    def check(self, cell: Cell, traversal: Traversal, masks: StepMasks) -> None:
        """Does nothing: the method supports every cell."""

    def run(self, cell: Cell, traversal: Traversal, arguments: Arguments) -> tuple[Carry, jax.Array]:
        """Runs the cell, as ``Method.run``."""
        return self.solve(cell, traversal, arguments)[:2]

    def solve(self, cell: Cell, traversal: Traversal, arguments: Arguments) -> tuple[Carry, jax.Array, list[Solution]]:
        """Runs the cell, and also returns a ``Solution`` for each range of steps that was solved."""
        solutions = []

        def executor(*arguments):
            carry, ys, solution = newton_scan(self, *arguments)
            solutions.append(solution)
            return carry, ys

        chunk = self.chunk or default_chunk_size(*sequence_size(cell, arguments.xs, traversal.axis))
        plan = Plan(chunk, self.keep, 1, *traversal)
        return *run_in_chunks(executor, cell, plan, arguments), solutions


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def newton_scan(
    method: Newton,
    cell: Cell,
    plan: Plan,
    params: Params,
    xs: Any,
    carry: Carry,
    initial: Carry,
    nondiff: Any,
    masks: StepMasks,
) -> tuple[Carry, jax.Array, Solution]:
    """Computes the last carry, ys and the ``Solution``; the other arguments are as in ``sequential_scan``.

    The backward pass is that of the sequential executor, which depends on the carries alone.
    """
    return _forward(method, cell, plan, params, xs, carry, initial, nondiff, masks)[:3]


def _newton_fwd(method, cell, plan, params, xs, carry, initial, nondiff, masks):
    last, ys, solution, carries = _forward(method, cell, plan, params, xs, carry, initial, nondiff, masks)
    chunk_carries = jax.tree.map(lambda a: a[plan.chunk - 1 if plan.reverse else 0 :: plan.chunk], carries)
    kept_carries: list | None = None
    if plan.keep != "boundaries":
        kept_carries = [jnp.moveaxis(a, 0, plan.axis) for a in jax.tree.leaves(carries)]
    saved = Residuals(chunk_carries, kept_carries, None, ys)
    return (last, ys, solution), (params, xs, initial, nondiff, masks, saved)


def _newton_bwd(method, cell, plan, residuals, cotangents):
    return backward(cell, plan, residuals, cotangents[:2])


newton_scan.defvjp(_newton_fwd, _newton_bwd)


def _forward(method, cell, plan, params, xs, carry, initial, nondiff, masks):
    """Returns the last carry, ys, the solution, and the carry before every step ``[T, *batch, ...]``."""
    source, recurrent, rest = split_params(combine(params, nondiff[0]))
    leaf = jax.tree.leaves(xs)[0]
    length, rank = leaf.shape[plan.axis], leaf.ndim - 1 - cell.axes
    xs = combine(xs, nondiff[1])
    sizes = [math.prod(a.shape[rank:]) for a in jax.tree.leaves(carry)]
    dense = sum(sizes) <= MAX_DENSE_SIZE if method.dense is None else method.dense
    numbers = sum(a.size for a in jax.tree.leaves(carry)) * (sum(sizes) if dense else len(sizes))
    block = min(length, method.block or max(MAX_JACOBIAN_SIZE // max(numbers, 1), 1))
    weights = cast_weights(cell, recurrent, plan.dtype)

    def step_with(dot):
        run_step = masked_step(cell, rest, dot, plan.dtype)
        return lambda carry, u, masks: run_step(carry, u, masks, initial)

    step = step_with(plain_dot(cell, weights, plan.dtype))
    step_with_jacobian = step_with(dot_with_jacobian(cell, weights, plan.dtype, dense))
    linearize = functools.partial(dense_jacobian if dense else diagonal_jacobian, step_with_jacobian, rank)
    recurrence = dense_recurrence if dense else diagonal_recurrence
    solve = functools.partial(solve_block, method, plan, step, linearize, recurrence)

    def inputs(start, size):
        """Returns the inputs of ``size`` steps, time first."""
        cut = lambda a: jnp.moveaxis(lax.dynamic_slice_in_dim(a, start, size, plan.axis), plan.axis, 0)
        block_masks, block_xs = jax.tree.map(cut, (masks, xs))
        return masked_projection(cell, block_masks)(source, block_xs), block_masks

    def body(state, k):
        carries, ys = state
        # All blocks have the same size: the last one overlaps the one before it.
        start = jnp.maximum(length - (k + 1) * block, 0) if plan.reverse else jnp.minimum(k * block, length - block)
        first = jax.tree.map(lambda a: a[start + block if plan.reverse else start], carries)
        new, y, solution = solve(first, inputs(start, block))
        update = lambda a, b: lax.dynamic_update_slice_in_dim(a, b, start if plan.reverse else start + 1, 0)
        y = jnp.moveaxis(y, 0, plan.axis)
        ys = lax.dynamic_update_slice_in_dim(ys, y, start, plan.axis)
        return (jax.tree.map(update, carries, new), ys), solution

    edge = length if plan.reverse else 0  # carries[0] is before step 0, carries[T] after step T - 1
    carries = jax.tree.map(lambda a: jnp.zeros((length + 1, *a.shape), a.dtype).at[edge].set(a), carry)
    y = jax.eval_shape(lambda: step(carry, *jax.tree.map(lambda a: a[0], inputs(0, 1))))[1]
    ys = jnp.zeros((*y.shape[: plan.axis], length, *y.shape[plan.axis :]), plan.dtype)
    (carries, ys), solutions = lax.scan(body, (carries, ys), jnp.arange(-(-length // block)))
    last = jax.tree.map(lambda a: a[length - edge], carries)
    return last, ys, reduce_solutions(solutions), jax.tree.map(lambda a: a[1:] if plan.reverse else a[:-1], carries)
