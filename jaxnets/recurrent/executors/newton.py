"""The executor that is parallel in time for any cell: all steps at once, by Newton's method on the whole sequence."""

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
    dot_with_slope,
)
from jaxnets.recurrent.executors.method import Given, Traversal, check_chunks, extent, in_chunks
from jaxnets.recurrent.executors.newton_iteration import Solution, solve_block, worst
from jaxnets.recurrent.executors.sequential import chosen_chunk
from jaxnets.recurrent.executors.sequential_backward import Kept, backward
from jaxnets.recurrent.executors.steps import Control, Plan, full_step, joined, projection, ready

DENSE = 32  # the largest carry, in numbers per row, whose whole Jacobian is used unless Newton.dense says otherwise
BLOCK = 2**24  # the most numbers of Jacobians in memory at once, unless Newton.block says otherwise


@dataclasses.dataclass(frozen=True)
class Newton:
    r"""Newton's method on a sequence's carries: parallel over time, for every cell.

    The carries solve :math:`s_t = f_t(s_{t-1})`, with f the cell's step. From a guess of all of them, an iteration is

    .. math::
        r_t = f_t(s_{t-1}) - s_t, \quad
        \delta_t = J_t \delta_{t-1} + r_t, \quad s_t \leftarrow s_t + \delta_t, \quad J_t = \partial f_t / \partial s

    where r and J are computed for all steps at once and the linear recurrence in a tree: the time is that of a few
    iterations, each of logarithmic depth. After k iterations the first k carries are exact. What J is changes how many
    iterations it takes, never the answer:

    - dense: the whole Jacobian ``[S, S]`` of a row's carry, S numbers; converges quadratically, at a cost of S^3
      (DEER, Lim et al. 2024, arXiv:2309.12252);
    - not dense: what a unit's numbers (an LSTM's h and c) do to each other, with every state product replaced by its
      diagonal; more iterations, each with the cost of a step (quasi-DEER, Gonzalez et al. 2024, arXiv:2407.19115).

    An update is limited to twice the size of the states, and is a plain step ``s_t = f_t(s_{t-1})`` where it is not
    finite. An iteration that has not converged in time gives the sequential answer, with a ``RuntimeWarning``: cells
    that forget their past converge in a few iterations, chaotic ones not at all.

    Attributes:
        tolerance: Largest error of a carry, relative to its size where that is above 1 (and to the largest carry where
            all are below); None: ``eps ** 0.8`` of the products' dtype (3e-6 in float32).
        max_iterations: At most so many.
        dense: Whether J is dense; None: where S is at most 32.
        block: Steps solved at once, the others after them; None: as many as keep J within 2**24 numbers, of which
            about four times as much is in memory.
        warn: Whether a lack of convergence is told by a ``RuntimeWarning``. Warning calls back to the host, which a
            program exported for another platform cannot.
        chunk: Steps whose gradient is computed at once, as in ``Sequential``; None chooses.
        keep: What the backward pass keeps: ``"carries"``, those of every step, or ``"boundaries"``, each chunk's first.
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
            raise ValueError(f"tolerance must be a positive number, got {self.tolerance!r}")
        check_integer("max_iterations", self.max_iterations)
        if self.block is not None:
            check_integer("block", self.block)
        check_chunks(self.chunk, self.keep, ("carries", "boundaries"))

    def check(self, cell: Cell, traversal: Traversal, control: Control) -> None:
        """It serves every cell."""

    def run(self, cell: Cell, traversal: Traversal, given: Given) -> tuple[Carry, jax.Array]:
        """As ``Method.run``."""
        return self.solve(cell, traversal, given)[:2]

    def solve(self, cell: Cell, traversal: Traversal, given: Given) -> tuple[Carry, jax.Array, list[Solution]]:
        """As ``run``, and how each part of the sequence was solved."""
        solutions = []

        def executor(*arguments):
            carry, ys, solution = newton(self, *arguments)
            solutions.append(solution)
            return carry, ys

        chunk = self.chunk or chosen_chunk(*extent(cell, given.xs, traversal.axis))
        plan = Plan(chunk, self.keep, 1, *traversal)
        return *in_chunks(executor, cell, plan, given), solutions


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def newton(
    settings: Newton,
    cell: Cell,
    plan: Plan,
    params: Params,
    xs: Any,
    carry: Carry,
    initial: Carry,
    others: Any,
    control: Control,
) -> tuple[Carry, jax.Array, Solution]:
    """The last carry, ys, and how they were found; arguments as those of ``chunked``.

    The gradient is that of the sequential executor: it needs the carries and nothing of how they were found.
    """
    return _forward(settings, cell, plan, params, xs, carry, initial, others, control)[:3]


def _newton_fwd(settings, cell, plan, params, xs, carry, initial, others, control):
    last, ys, solution, carries = _forward(settings, cell, plan, params, xs, carry, initial, others, control)
    firsts = jax.tree.map(lambda a: a[plan.chunk - 1 if plan.reverse else 0 :: plan.chunk], carries)
    kept_carries: list | None = None
    if plan.keep != "boundaries":
        kept_carries = [jnp.moveaxis(a, 0, plan.axis) for a in jax.tree.leaves(carries)]
    kept = Kept(firsts, kept_carries, None, ys)
    return (last, ys, solution), (params, xs, initial, others, control, kept)


def _newton_bwd(settings, cell, plan, residuals, cotangents):
    return backward(cell, plan, residuals, cotangents[:2])


newton.defvjp(_newton_fwd, _newton_bwd)


def _forward(settings, cell, plan, params, xs, carry, initial, others, control):
    """Returns the last carry, ys, the solution, and the carry before every step ``[T, *batch, ...]``."""
    source, recurrent, rest = split_params(joined(params, others[0]))
    leaf = jax.tree.leaves(xs)[0]
    length, rank = leaf.shape[plan.axis], leaf.ndim - 1 - cell.axes
    xs = joined(xs, others[1])
    sizes = [math.prod(a.shape[rank:]) for a in jax.tree.leaves(carry)]
    dense = sum(sizes) <= DENSE if settings.dense is None else settings.dense
    numbers = sum(a.size for a in jax.tree.leaves(carry)) * (sum(sizes) if dense else len(sizes))
    block = min(length, settings.block or max(BLOCK // max(numbers, 1), 1))
    weights = ready(cell, recurrent, plan.dtype)

    def steps(dot):
        one = full_step(cell, rest, dot, plan.dtype)
        return lambda carry, u, control: one(carry, u, control, initial)

    one = steps(plain_dot(cell, weights, plan.dtype))
    slope = steps(dot_with_slope(cell, weights, plan.dtype, dense))
    linearize = functools.partial(dense_jacobian if dense else diagonal_jacobian, slope, rank)
    recurrence = dense_recurrence if dense else diagonal_recurrence
    solve = functools.partial(solve_block, settings, plan, one, linearize, recurrence)

    def inputs(start, size):
        """``size`` steps' inputs, time first."""
        cut = lambda a: jnp.moveaxis(lax.dynamic_slice_in_dim(a, start, size, plan.axis), plan.axis, 0)
        here, there = jax.tree.map(cut, (control, xs))
        return projection(cell, here)(source, there), here

    def body(state, k):
        carries, ys = state
        # The last block begins early enough to be whole: some steps are solved twice.
        start = jnp.maximum(length - (k + 1) * block, 0) if plan.reverse else jnp.minimum(k * block, length - block)
        first = jax.tree.map(lambda a: a[start + block if plan.reverse else start], carries)
        new, y, solution = solve(first, inputs(start, block))
        put = lambda a, b: lax.dynamic_update_slice_in_dim(a, b, start if plan.reverse else start + 1, 0)
        y = jnp.moveaxis(y, 0, plan.axis)
        ys = lax.dynamic_update_slice_in_dim(ys, y, start, plan.axis)
        return (jax.tree.map(put, carries, new), ys), solution

    edge = length if plan.reverse else 0  # carries[0] is before time 0, carries[T] after time T - 1
    carries = jax.tree.map(lambda a: jnp.zeros((length + 1, *a.shape), a.dtype).at[edge].set(a), carry)
    y = jax.eval_shape(lambda: one(carry, *jax.tree.map(lambda a: a[0], inputs(0, 1))))[1]
    ys = jnp.zeros((*y.shape[: plan.axis], length, *y.shape[plan.axis :]), plan.dtype)
    (carries, ys), solutions = lax.scan(body, (carries, ys), jnp.arange(-(-length // block)))
    last = jax.tree.map(lambda a: a[length - edge], carries)
    return last, ys, worst(solutions), jax.tree.map(lambda a: a[1:] if plan.reverse else a[:-1], carries)
