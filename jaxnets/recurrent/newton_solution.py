"""``newton_solution``: how Newton's method fares on a sequence."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.recurrent.cell import Carry, Cell, Params
from jaxnets.recurrent.executors.method import Traversal
from jaxnets.recurrent.executors.newton import Newton
from jaxnets.recurrent.executors.newton_iteration import Solution, worst
from jaxnets.recurrent.executors.steps import Control
from jaxnets.recurrent.methods import resolve_method
from jaxnets.recurrent.scan import scan


def newton_solution(
    cell: Cell, params: Params, xs: Any, carry: Carry | None = None, *, method: str | Newton = "newton", **options: Any
) -> Solution:
    """The iterations of Newton's method on a sequence, its residual, and whether it converged.

    Args:
        cell, params, xs, carry: As in ``scan``.
        method: ``"newton"`` or a ``Newton(...)``.
        **options: As in ``scan``.

    Raises:
        ValueError: As ``scan``, or T is 0, or the method is another.
    """
    newton = resolve_method(cell, method)
    if not isinstance(newton, Newton):
        raise ValueError(f'method must be "newton" or a Newton(...), got {method!r}')
    observed = _Observed(newton)
    scan(cell, params, xs, carry, **options, method=observed)
    if not observed.found:
        raise ValueError("xs: at least one step expected")
    return worst(jax.tree.map(lambda *a: jnp.stack(a), *observed.found))


class _Observed:
    """A ``Newton`` that notes its solutions."""

    def __init__(self, newton: Newton):
        self.newton, self.found = newton, list[Solution]()

    def check(self, cell: Cell, traversal: Traversal, control: Control) -> None:
        self.newton.check(cell, traversal, control)

    def run(self, *arguments: Any) -> tuple[Carry, jax.Array]:
        carry, ys, solutions = self.newton.solve(*arguments)
        self.found.extend(solutions)
        return carry, ys
