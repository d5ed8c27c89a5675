"""Newton's iteration on a block of steps, with a sequential fallback."""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.cell import Carry


class Solution(NamedTuple):
    """Convergence of Newton's method on a sequence; all fields are scalar arrays.

    Attributes:
        iterations: int32, the largest number of iterations of a block.
        residual: float, the largest ``|s_t - f_t(s_{t-1})|``, relative in the same way as the tolerance.
        converged: bool, False if a block was computed sequentially.
    """

    iterations: jax.Array
    residual: jax.Array
    converged: jax.Array


def reduce_solutions(solutions: Solution) -> Solution:
    """Reduces an array of solutions to that of the whole sequence."""
    return Solution(jnp.max(solutions.iterations), jnp.max(solutions.residual), jnp.all(solutions.converged))


def solve_block(method, plan, step, linearize, recurrence, first, inputs):
    """Solves a block of steps; returns its carries and outputs, time first, and the ``Solution``.

    Args:
        method, plan: Static; ``method`` is a ``Newton``.
        step: ``(carry, *inputs) -> (carry, y)``. One step.
        linearize: ``(carry, *inputs) -> (carry, J)``. One step and its Jacobian.
        recurrence: ``(J, residual, reverse) -> update``. Solves the linear recurrence of all steps.
        first: The carry before the block.
        inputs: The inputs of the steps, time first.
    """
    tolerance = method.tolerance or float(jnp.finfo(plan.dtype).eps) ** 0.8
    length = jax.tree.leaves(inputs)[0].shape[0]

    def before(carries):
        shift = lambda a, b: jnp.concatenate([b[1:], a[None]] if plan.reverse else [a[None], b[:-1]])
        return jax.tree.map(shift, first, carries)

    def improve(state):
        carries, k, previous, _ = state
        new, jacobian = jax.vmap(linearize)(before(carries), *inputs)
        residual = jax.tree.map(jnp.subtract, new, carries)
        update = jax.tree.map(_clip_update, recurrence(jacobian, residual, plan.reverse), residual, new, carries)
        size = _max_relative_error(update, new)
        # With slow convergence an update is much smaller than the error, which is the sum of all further updates.
        rate = size / previous
        error = jnp.where(rate < 0.5, size, jnp.where(rate < 1, size * rate / (1 - rate), jnp.inf))
        return jax.tree.map(jnp.add, carries, update), k + 1, size, error

    def unfinished(state):
        _, k, _, error = state
        return ~(error <= tolerance) & (k < method.max_iterations)

    guess = jax.tree.map(lambda a: jnp.broadcast_to(a, (length, *a.shape)), first)
    infinite = jnp.asarray(jnp.inf, at_least_float32(plan.dtype))
    carries, iterations, _, error = lax.while_loop(unfinished, improve, (guess, jnp.int32(0), infinite, infinite))
    new, ys = jax.vmap(step)(before(carries), *inputs)
    residual = _max_relative_error(jax.tree.map(jnp.subtract, new, carries), new)
    converged = (error <= tolerance) & (residual <= tolerance)

    def sequential():
        if method.warn:
            jax.debug.callback(_warn, converged, iterations, residual)
        body = lambda carry, inputs: (lambda new, y: (new, (new, y)))(*step(carry, *inputs))
        return lax.scan(body, first, inputs, reverse=plan.reverse, unroll=plan.unroll)[1]

    new, ys = lax.cond(converged, lambda: (new, ys), sequential)
    return new, ys, Solution(iterations, residual, converged)


def _warn(converged, iterations, residual) -> None:
    if not converged:  # under vmap the fallback runs for all rows
        warnings.warn(
            f'method "newton" did not converge in {iterations} iterations (residual {residual:.1e}); the steps were '
            "computed sequentially, which is exact but slower (see recurrent.Newton)",
            RuntimeWarning,
            stacklevel=2,
        )


def _max_relative_error(update: Carry, carries: Carry) -> jax.Array:
    """Returns the largest error of a carry, relative to max(its size, min(the largest carry, 1)); may be NaN."""

    def largest(a, b):
        b = jnp.abs(b)
        scale = jnp.maximum(b, jnp.minimum(jnp.max(b, initial=0), 1))
        return jnp.max(jnp.abs(a) / jnp.maximum(scale, jnp.finfo(b.dtype).tiny), initial=0)

    return jnp.max(jnp.stack(jax.tree.leaves(jax.tree.map(largest, update, carries))))


def _clip_update(update: jax.Array, residual: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """Limits an update to twice the largest state; a non-finite update is replaced by the residual, a plain step."""
    radius = 2 * jnp.maximum(jnp.max(jnp.abs(new), initial=0), jnp.max(jnp.abs(old), initial=0))
    return jnp.clip(jnp.where(jnp.isfinite(update), update, residual), -radius, radius)
