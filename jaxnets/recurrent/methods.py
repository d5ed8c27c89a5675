"""The names of the methods of ``recurrent.scan``, and which method ``"auto"`` stands for."""

import functools
from typing import Any

import jax

from jaxnets.recurrent.cell import Cell, LinearStep
from jaxnets.recurrent.checking import check_cell, described
from jaxnets.recurrent.executors.associative import Associative
from jaxnets.recurrent.executors.autodiff import Autodiff
from jaxnets.recurrent.executors.cudnn import CuDNN
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.executors.newton import Newton
from jaxnets.recurrent.executors.sequential import Sequential
from jaxnets.recurrent.experimental.persistent import Persistent

METHODS: dict[str, Method] = {
    "sequential": Sequential(),
    "associative": Associative(),
    "newton": Newton(),
    "cudnn": CuDNN(),
    "persistent": Persistent(),
    "autodiff": Autodiff(),
}
NAMES = ("auto", *METHODS)


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


def is_method(value: Any) -> bool:
    """Whether something is a method, its name, or a class or ``functools.partial`` that makes one."""
    value = value.func if isinstance(value, functools.partial) else value
    return isinstance(value, Method) or (isinstance(value, str) and value in NAMES)


def resolve_method(cell: Cell, method: Any) -> Method:
    """The method of a name, or the one given, or the one that a class or ``functools.partial`` of a class makes.

    The latter is what a config makes of ``{"name": "recurrent.Sequential", "chunk": 64}``.

    Raises:
        ValueError: There is no such method, or its options are wrong.
    """
    if isinstance(method, str) and method in NAMES:
        return METHODS[choose_method(cell) if method == "auto" else method]
    if isinstance(method, type | functools.partial):
        try:
            method = method()
        except TypeError as error:
            raise ValueError(f"method cannot be made by {described(method)}: {error}") from error
    if not isinstance(method, Method):
        raise ValueError(
            f"method must be one of {', '.join(NAMES)}, or a method with its options, such as "
            f"recurrent.Sequential(chunk=64), got {described(method)}"
        )
    return method
