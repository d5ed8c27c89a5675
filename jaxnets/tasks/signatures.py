"""Parameters of a function, with those behind its ``**options``."""

import inspect
from collections.abc import Callable

LINEN = ("parent", "name")  # fields of every Linen module


def signature(function: Callable) -> inspect.Signature:
    """The signature of a function, with annotations that are text evaluated where that is possible.

    Raises:
        TypeError, ValueError: It has none, as some functions that are written in C.
    """
    try:
        return inspect.signature(function, eval_str=True)
    except (TypeError, ValueError):
        raise
    except Exception:  # a name that is only imported to check types
        return inspect.signature(function)


def accepted(function: Callable) -> dict[str, inspect.Parameter] | None:
    """The parameters of a function by name; None where it takes any.

    ``**options`` are those of the class that the function is annotated to return.
    """
    found = signature(function)
    parameters = {name: each for name, each in found.parameters.items() if name not in LINEN}
    options = next((name for name, each in parameters.items() if each.kind is each.VAR_KEYWORD), None)
    if options is None:
        return parameters
    del parameters[options]
    made = found.return_annotation
    if not inspect.isclass(made) or made is inspect.Signature.empty:
        return None
    others = accepted(made)
    return None if others is None else {**others, **parameters}


def returned(function: Callable) -> type | None:
    """The class of what a class or function makes, by its annotation; None where that is not a class."""
    if inspect.isclass(function):
        return function
    try:
        made = signature(function).return_annotation
    except (TypeError, ValueError):
        return None
    return made if inspect.isclass(made) and made is not inspect.Signature.empty else None
