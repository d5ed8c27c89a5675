"""Names of the methods of ``recurrent.scan``, and the choice of ``"auto"``."""

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
    """Returns the name of the method that ``"auto"`` selects.

    On GPUs and TPUs, a cell that is linear in its state runs in parallel over time. All other cells run sequentially.
    On CPUs, the sequential method is faster for linear cells too.

    Args:
        cell: A recurrent cell.
        backend: ``"cpu"``, ``"gpu"`` or ``"tpu"``; None means the default backend of JAX.

    Returns:
        ``"sequential"`` or ``"associative"``.

    Raises:
        ValueError: ``cell`` is not a cell.
    """
    check_cell(cell)
    parallel = (backend or jax.default_backend()) != "cpu" and isinstance(cell.step, LinearStep)
    return "associative" if parallel else "sequential"


def is_method(value: Any) -> bool:
    """Returns whether a value is a method, the name of one, or a class or ``functools.partial`` that makes one."""
    value = value.func if isinstance(value, functools.partial) else value
    return isinstance(value, Method) or (isinstance(value, str) and value in NAMES)


def resolve_method(cell: Cell, method: Any) -> Method:
    """Returns the method object of a name, an object, or a class or ``functools.partial`` that makes one.

    A config entry such as ``{"name": "recurrent.Sequential", "chunk": 64}`` is passed as a ``functools.partial``.

    Raises:
        ValueError: ``method`` is not a method, or its options are invalid.
    """
    if isinstance(method, str) and method in NAMES:
        return METHODS[choose_method(cell) if method == "auto" else method]
    if isinstance(method, type | functools.partial):
        try:
            method = method()
        except TypeError as error:
            raise ValueError(
                f"`method` must be a method or a class that makes one without arguments, got {described(method)}: "
                f"{error}"
            ) from error
    if not isinstance(method, Method):
        raise ValueError(
            f"`method` must be one of {', '.join(NAMES)}, or an object with options, such as "
            f"recurrent.Sequential(chunk=64), got {described(method)}"
        )
    return method
