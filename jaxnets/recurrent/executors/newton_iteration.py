"""Newton's iteration on a block of steps, and the sequential answer where it does not converge."""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.cell import Carry


class Solution(NamedTuple):
    """Result of Newton's method on a sequence; all fields are scalars.

    Attributes:
        iterations: int32, of the block of steps that took most.
        residual: The largest ``|s_t - f_t(s_{t-1})|``, relative as the tolerance is.
        converged: bool; False where steps were computed sequentially.
    """

    iterations: jax.Array
    residual: jax.Array
    converged: jax.Array


def worst(solutions: Solution) -> Solution:
    """One solution for an array of solutions."""
    return Solution(jnp.max(solutions.iterations), jnp.max(solutions.residual), jnp.all(solutions.converged))


def solve_block(settings, plan, one, linearize, recurrence, first, inputs):
    """A block of steps: its carries and outputs, time first, and how they were found.

    Args:
        settings, plan: Static.
        one: ``(carry, *inputs) -> (carry, y)``, one step.
        linearize: ``(carry, *inputs) -> (carry, J)``, one step and its Jacobian.
        recurrence: ``(J, residual, reverse) -> update``, of all steps.
        first: The carry before the block.
        inputs: What the steps read, time first.
    """
    tolerance = settings.tolerance or float(jnp.finfo(plan.dtype).eps) ** 0.8
    length = jax.tree.leaves(inputs)[0].shape[0]

    def before(carries):
        shifted = lambda a, b: jnp.concatenate([b[1:], a[None]] if plan.reverse else [a[None], b[:-1]])
        return jax.tree.map(shifted, first, carries)

    def improve(state):
        carries, k, previous, _ = state
        new, jacobian = jax.vmap(linearize)(before(carries), *inputs)
        residual = jax.tree.map(jnp.subtract, new, carries)
        update = jax.tree.map(_bounded, recurrence(jacobian, residual, plan.reverse), residual, new, carries)
        size = _relative(update, new)
        # Where convergence is slow, updates are small long before errors are: those of all further updates together.
        rate = size / previous
        error = jnp.where(rate < 0.5, size, jnp.where(rate < 1, size * rate / (1 - rate), jnp.inf))
        return jax.tree.map(jnp.add, carries, update), k + 1, size, error

    def unfinished(state):
        _, k, _, error = state
        return ~(error <= tolerance) & (k < settings.iterations)

    guess = jax.tree.map(lambda a: jnp.broadcast_to(a, (length, *a.shape)), first)
    infinite = jnp.asarray(jnp.inf, at_least_float32(plan.dtype))
    carries, iterations, _, error = lax.while_loop(unfinished, improve, (guess, jnp.int32(0), infinite, infinite))
    new, ys = jax.vmap(one)(before(carries), *inputs)
    residual = _relative(jax.tree.map(jnp.subtract, new, carries), new)
    converged = (error <= tolerance) & (residual <= tolerance)

    def sequential():
        if settings.warn:
            jax.debug.callback(_warn, converged, iterations, residual)
        step = lambda carry, inputs: (lambda new, y: (new, (new, y)))(*one(carry, *inputs))
        return lax.scan(step, first, inputs, reverse=plan.reverse, unroll=plan.unroll)[1]

    new, ys = lax.cond(converged, lambda: (new, ys), sequential)
    return new, ys, Solution(iterations, residual, converged)


def _warn(converged, iterations, residual) -> None:
    if not converged:  # under vmap the branch is run for all rows
        warnings.warn(
            f"newton: not converged after {iterations} iterations, at a residual of {residual:.1e}; the steps were "
            "computed sequentially, which is right but slower (see recurrent.Newton)",
            RuntimeWarning,
            stacklevel=2,
        )


def _relative(update: Carry, carries: Carry) -> jax.Array:
    """The largest of an update, each relative to its carry or 1 (to the largest, where all are below 1); may be NaN."""

    def largest(a, b):
        b = jnp.abs(b)
        scale = jnp.maximum(b, jnp.minimum(jnp.max(b, initial=0), 1))
        return jnp.max(jnp.abs(a) / jnp.maximum(scale, jnp.finfo(b.dtype).tiny), initial=0)

    return jnp.max(jnp.stack(jax.tree.leaves(jax.tree.map(largest, update, carries))))


def _bounded(update: jax.Array, residual: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """The update, at most twice the largest state in size, so that the first inexact step may still become exact."""
    radius = 2 * jnp.maximum(jnp.max(jnp.abs(new), initial=0), jnp.max(jnp.abs(old), initial=0))
    return jnp.clip(jnp.where(jnp.isfinite(update), update, residual), -radius, radius)
