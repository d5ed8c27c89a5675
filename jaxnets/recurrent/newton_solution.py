"""Convergence of Newton's method on a sequence."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.recurrent.cell import Carry, Cell, Params
from jaxnets.recurrent.executors.method import Traversal
from jaxnets.recurrent.executors.newton import Newton
from jaxnets.recurrent.executors.newton_iteration import Solution, reduce_solutions
from jaxnets.recurrent.executors.steps import StepMasks
from jaxnets.recurrent.methods import resolve_method
from jaxnets.recurrent.scan import scan


def newton_solution(
    cell: Cell, params: Params, xs: Any, carry: Carry | None = None, *, method: str | Newton = "newton", **options: Any
) -> Solution:
    """Runs Newton's method on a sequence and returns its number of iterations, residual and convergence.

    Args:
        cell, params, xs, carry: As in ``scan``.
        method: ``"newton"`` or a ``Newton(...)``.
        **options: ``lengths``, ``resets``, ``reverse`` and ``time_major``, as in ``scan``.

    Returns:
        A ``Solution`` with the fields ``iterations``, ``residual`` and ``converged``.

    Raises:
        ValueError: T is 0, ``method`` is not Newton's method, or an argument of ``scan`` is invalid.
    """
    newton = resolve_method(cell, method)
    if not isinstance(newton, Newton):
        raise ValueError(f'`method` must be "newton" or a Newton(...), got {method!r}')
    recording = _RecordingNewton(newton)
    scan(cell, params, xs, carry, **options, method=recording)
    if not recording.solutions:
        raise ValueError("`xs` must have at least one step, got none")
    return reduce_solutions(jax.tree.map(lambda *a: jnp.stack(a), *recording.solutions))


class _RecordingNewton:
    """A ``Newton`` method that records its solutions."""

    def __init__(self, newton: Newton):
        self.newton, self.solutions = newton, list[Solution]()

    def check(self, cell: Cell, traversal: Traversal, masks: StepMasks) -> None:
        self.newton.check(cell, traversal, masks)

    def run(self, *arguments: Any) -> tuple[Carry, jax.Array]:
        carry, ys, solutions = self.newton.solve(*arguments)
        self.solutions.extend(solutions)
        return carry, ys
