"""Calls of functions that a config names, with its arguments; each that does not fit is an error in its words."""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from jaxnets.ops.extras import MissingExtraError
from jaxnets.tasks.signatures import accepted
from jaxnets.training.errors import RunError, UsageError, sentence
from jaxnets.training.settings.names import nearest


def call(what: str, function: Callable, arguments: Mapping[str, Any]) -> Any:
    """``function(**arguments)``, with a ``UsageError`` for an argument it does not have, lacks, or refuses.

    What a function takes as ``*args`` is an argument ``args``, a list.
    """
    check(what, function, arguments)
    missing = [name for name in required(what, function) if name not in arguments]
    if missing:
        raise UsageError(f"{what} needs {', '.join(missing)}")
    positional, named = separate(what, function, arguments)
    try:
        return function(*positional, **named)
    except (UsageError, RunError, MissingExtraError):
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
    except TypeError as error:
        if "multiple values" not in str(error):  # not what a builder fixes itself, and hands on
            raise UsageError(f"{what}: {sentence(error)}") from error
        raise UsageError(f"{what}: {str(error).partition(') ')[2] or error}") from error
    except Exception as error:  # an argument that only NumPy or JAX refuses, deep within
        raise UsageError(f"{what}: {sentence(error)}") from error


def check(what: str, function: Callable, arguments: Mapping[str, Any]) -> None:
    """A ``UsageError`` where a function has no such argument, or one of another type."""
    known = parameters_of(what, function)
    for name, value in arguments.items():
        if known is None:
            continue
        if name not in known:
            raise UsageError(f"{what} has no argument {name!r}{nearest(name, known)}")
        _check_type(f"{what}: {name}", known[name], value)


def required(what: str, function: Callable) -> list[str]:
    """The arguments without which a function cannot be called."""
    known = parameters_of(what, function) or {}
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [name for name, each in known.items() if each.default is each.empty and each.kind not in variable]


def separate(what: str, function: Callable, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by place and by name: by place up to ``*args``, where these are given."""
    known = parameters_of(what, function) or {}
    rest = next((name for name, each in known.items() if each.kind is each.VAR_POSITIONAL), None)
    if rest is None or rest not in arguments:
        return [], dict(arguments)
    before = list(known)[: list(known).index(rest)]
    positional = [*(arguments[name] for name in before if name in arguments), *arguments[rest]]
    return positional, {name: value for name, value in arguments.items() if name not in (*before, rest)}


def parameters_of(what: str, function: Callable) -> dict[str, inspect.Parameter] | None:
    """The parameters of a function, None where it takes any; a ``UsageError`` where nobody knows them."""
    try:
        return accepted(function)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} must be a function with a signature: {error}") from error


PLAIN = {bool: bool, int: Integral, float: Real, str: str}  # by annotation, what an argument must be an instance of


def element_of(annotation: Any) -> Any:
    """The type of the elements where an annotation is that of a sequence; else None."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Sequence else None


def _check_type(what: str, parameter: inspect.Parameter, value: Any) -> None:
    """A ``UsageError`` where an argument that is annotated as a number or a text, or a sequence of those, is not."""
    annotation = parameter.annotation
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if parameter.kind is parameter.VAR_POSITIONAL:
        if not is_list:
            raise UsageError(f"{what} must be a list, got {value!r}")
        return
    element = element_of(annotation)
    if annotation in PLAIN and not isinstance(value, PLAIN[annotation]):
        raise UsageError(f"{what} must be {annotation.__name__}, got {value!r}")
    if element in PLAIN and not (is_list and all(isinstance(each, PLAIN[element]) for each in value)):
        raise UsageError(f"{what} must be a sequence of {element.__name__}, got {value!r}")


def is_text(annotation: Any) -> bool:
    """Whether an annotation allows nothing but texts, alone or in sequences: ``str | tuple[str, ...]``."""
    parts = [each for each in typing.get_args(annotation) if each not in (Ellipsis, type(None))]
    is_callable = typing.get_origin(annotation) is Callable
    return annotation is str or (bool(parts) and not is_callable and all(map(is_text, parts)))


def takes_function(parameter: inspect.Parameter | None) -> bool:
    """Whether a parameter takes a function, by its annotation or default."""
    if parameter is None:
        return False
    is_annotated = Callable in (parameter.annotation, typing.get_origin(parameter.annotation))
    return is_annotated or inspect.isfunction(parameter.default)
