"""The methods of ``scan``: which there are, what each is for, and how one is chosen.

An executor is ``(cell, plan, params, xs, carry, initial, control) -> (carry, ys)``, for at least one step.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.recurrent.cell import Carry, Cell, LinearStep, Params, plain_dot, split_params
from jaxnets.recurrent.checking import check_cell
from jaxnets.recurrent.executors.associative import associative
from jaxnets.recurrent.executors.chunked import chunked
from jaxnets.recurrent.executors.cudnn import check_cudnn, cudnn
from jaxnets.recurrent.executors.newton import Newton, Solution, checked, newton
from jaxnets.recurrent.executors.steps import Control, Plan, full_step, parted, projection, untraced
from jaxnets.recurrent.experimental.persistent import check_persistent, persistent

Executor = Callable[..., tuple[Carry, jax.Array]]

METHODS = ("auto", "sequential", "associative", "newton", "cudnn", "persistent", "autodiff")


def choose_method(cell: Cell, backend: str | None = None) -> str:
    """The method that ``"auto"`` stands for.

    On a GPU or TPU a cell that is linear in its state runs in parallel over time; everything else is sequential. On a
    CPU the sequential executor is the faster one for linear cells, too.

    Args:
        cell: A recurrent cell.
        backend: ``"cpu"``, ``"gpu"`` or ``"tpu"``; None takes JAX's default.

    Returns:
        ``"sequential"`` or ``"associative"``.
    """
    check_cell(cell)
    parallel = (backend or jax.default_backend()) != "cpu" and isinstance(cell.step, LinearStep)
    return "associative" if parallel else "sequential"


def resolve_method(cell: Cell, method: Any) -> Any:
    """The method that will be used: a name other than ``"auto"``, a ``Newton``, or an executor.

    Raises:
        ValueError: There is no such method, or it cannot serve the cell.
    """
    if isinstance(method, Newton):
        return checked(method)
    if method is Newton:
        raise ValueError("method must be a Newton(...) with its settings, such as Newton(), got the class Newton")
    if callable(method):
        return method
    if method not in METHODS:
        raise ValueError(f"method: one of {', '.join(METHODS)}, or a Newton(...); given {method!r}")
    if method == "associative":
        check_linear("method: associative", cell)
    if method == "cudnn":
        check_cudnn(cell, jax.default_backend())
    if method == "persistent":
        check_persistent(jax.default_backend())
    return choose_method(cell) if method == "auto" else Newton() if method == "newton" else method


def check_linear(what: str, cell: Cell) -> None:
    """A ``ValueError`` that says what needs a linear cell, where this one is not."""
    if not isinstance(cell.step, LinearStep):
        raise ValueError(
            f"{what} needs a cell that is linear in its state, such as min_gru, min_lstm or lru; "
            "given one whose step is no LinearStep"
        )


def executor(method: Any) -> Executor:
    """The executor of what ``resolve_method`` returns."""
    if isinstance(method, Newton):
        return lambda *arguments: newton_executor(method, *arguments)[:2]
    if callable(method):
        return method
    if method in ("autodiff", "cudnn"):
        return {"autodiff": _plain, "cudnn": cudnn}[method]
    methods: dict[str, Callable] = {"sequential": chunked, "associative": associative, "persistent": persistent}
    return functools.partial(with_own_gradient, methods[method])


def newton_executor(settings: Newton, *arguments: Any) -> tuple[Carry, jax.Array, Solution]:
    """The executor of Newton's method, which also tells how it fared."""
    return with_own_gradient(functools.partial(newton, settings), *arguments)


def with_own_gradient(
    run: Callable, cell: Cell, plan: Plan, params: Params, xs: Any, carry: Carry, initial: Carry, control: Control
):
    """Runs ``chunked`` or its like, which differentiate what is floating point, and says what they cannot do."""
    (params, other_params), (xs, other_xs) = parted(params), parted(xs)
    try:
        with untraced():
            return run(cell, plan, params, xs, carry, initial, (other_params, other_xs), control)
    except TypeError as error:
        if "forward-mode" in str(error):
            raise ValueError('forward-mode derivatives need method="autodiff"') from error
        raise


def _plain(cell: Cell, plan: Plan, params: Params, xs: Any, carry: Carry, initial: Carry, control: Control):
    """A plain ``lax.scan`` over the projected sequence: the oracle, differentiable in every mode."""
    source, recurrent, rest = split_params(params)
    step = full_step(cell, rest, plain_dot(cell, recurrent, plan.dtype), plan.dtype)
    xs, control = jax.tree.map(lambda a: jnp.moveaxis(a, plan.axis, 0), (xs, control))
    u = projection(cell, control)(source, xs)
    run = lambda carry, inputs: step(carry, *inputs, initial)
    carry, ys = lax.scan(run, carry, (u, control), reverse=plan.reverse, unroll=plan.unroll)
    return carry, jnp.moveaxis(ys, 0, plan.axis)
