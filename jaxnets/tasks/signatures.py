"""Signatures of functions, including the parameters behind ``**options``."""

import inspect
from collections.abc import Callable

LINEN = ("parent", "name")  # fields of every Linen module


def signature(function: Callable) -> inspect.Signature:
    """Returns the signature of a function; string annotations are evaluated where possible.

    Raises:
        TypeError, ValueError: If the function has no signature, such as some functions written in C.
    """
    try:
        return inspect.signature(function, eval_str=True)
    except (TypeError, ValueError):
        raise
    except Exception:  # an annotation refers to a name that is imported for type checking only
        return inspect.signature(function)


def accepted_parameters(function: Callable) -> dict[str, inspect.Parameter] | None:
    """Returns the parameters of a function by name; None if it accepts any keyword.

    ``**options`` stand for the parameters of the class in the return annotation.
    """
    found = signature(function)
    parameters = {name: parameter for name, parameter in found.parameters.items() if name not in LINEN}
    keywords = (name for name, parameter in parameters.items() if parameter.kind is parameter.VAR_KEYWORD)
    options = next(keywords, None)
    if options is None:
        return parameters
    del parameters[options]
    annotation = found.return_annotation
    if not inspect.isclass(annotation) or annotation is inspect.Signature.empty:
        return None
    others = accepted_parameters(annotation)
    return None if others is None else {**others, **parameters}


def return_type(function: Callable) -> type | None:
    """Returns a class itself, or the class that a function returns by its annotation; None if it is not a class."""
    if inspect.isclass(function):
        return function
    try:
        annotation = signature(function).return_annotation
    except (TypeError, ValueError):
        return None
    return annotation if inspect.isclass(annotation) and annotation is not inspect.Signature.empty else None
