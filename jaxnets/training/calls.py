"""Calls of functions that a config names, with its arguments; each that does not fit is an error in its words."""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from jaxnets.training.config import nearest
from jaxnets.training.errors import RunError, UsageError, sentence


def call(what: str, function: Callable, arguments: Mapping[str, Any]) -> Any:
    """``function(**arguments)``, with a ``UsageError`` for an argument it does not have, lacks, or refuses."""
    accepted = accepted_by(what, function, arguments)
    missing = [n for n, p in accepted.items() if p.default is inspect.Parameter.empty and n not in arguments]
    if missing:
        raise UsageError(f"{what} needs {', '.join(missing)}")
    for argument, value in arguments.items():
        _check_type(f"{what}: {argument}", accepted[argument].annotation, value)
    try:
        return function(**arguments)
    except (UsageError, RunError):
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
    except TypeError as error:
        if "multiple values" not in str(error):  # not what a builder fixes itself, and hands on
            raise UsageError(f"{what}: {sentence(error)}") from error
        raise UsageError(f"{what}: {str(error).partition(') ')[2] or error}") from error
    except Exception as error:  # an argument that only NumPy or JAX refuses, deep within
        raise UsageError(f"{what}: {sentence(error)}") from error


PLAIN = {bool: bool, int: Integral, float: Real, str: str}  # by annotation, what an argument must be an instance of


def _check_type(what: str, annotation: Any, value: Any) -> None:
    """A ``UsageError`` where an argument that is annotated as a number or a text, or a sequence of those, is not."""
    (element,) = typing.get_args(annotation) if typing.get_origin(annotation) is Sequence else (None,)
    if annotation in PLAIN and not isinstance(value, PLAIN[annotation]):
        raise UsageError(f"{what} must be {annotation.__name__}, got {value!r}")
    if element in PLAIN:
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        if not (listed and all(isinstance(each, PLAIN[element]) for each in value)):
            raise UsageError(f"{what} must be a sequence of {element.__name__}, got {value!r}")


def accepted_by(what: str, function: Callable, arguments: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a function; a ``UsageError`` where an argument is none of them.

    ``**options`` are those of what the function says it returns.
    """
    signature = inspect.signature(function)
    accepted = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if name not in ("parent", "name")  # what every Linen module has
    }
    others = [name for name, parameter in accepted.items() if parameter.kind is parameter.VAR_KEYWORD]
    if others:
        accepted = {**accepted_by(what, signature.return_annotation, {}), **accepted}
        del accepted[others[0]]
    for name in arguments:
        if name not in accepted:
            raise UsageError(f"{what} has no argument {name!r}{nearest(name, accepted)}")
    return accepted
