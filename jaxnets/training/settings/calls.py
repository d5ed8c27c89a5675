"""Calls of the functions that a config names, with errors for wrong arguments in the words of the config."""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from jaxnets.ops.host.extras import MissingExtraError
from jaxnets.tasks.signatures import accepted_parameters
from jaxnets.training.errors import RunError, UsageError, format_error
from jaxnets.training.settings.names import nearest


def call(function_name: str, function: Callable, arguments: Mapping[str, Any]) -> Any:
    """Returns ``function(**arguments)``. Raises a ``UsageError`` for unknown, missing or invalid arguments.

    An argument with the name of ``*args`` is a list of positional arguments.

    Args:
        function_name: The name of the function in error messages.
        function: The function to call.
        arguments: Its arguments.
    """
    check(function_name, function, arguments)
    missing = [name for name in required_arguments(function_name, function) if name not in arguments]
    if missing:
        raise UsageError(f"{function_name} needs {', '.join(missing)}")
    positional, named = split_arguments(function_name, function, arguments)
    try:
        return function(*positional, **named)
    except (UsageError, RunError, MissingExtraError):
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
    except TypeError as error:
        if "multiple values" not in str(error):  # "multiple values" means an argument that a builder sets itself
            raise UsageError(f"{function_name}: {format_error(error)}") from error
        raise UsageError(f"{function_name}: {str(error).partition(') ')[2] or error}") from error
    except Exception as error:  # NumPy and JAX raise various errors for invalid arguments
        raise UsageError(f"{function_name}: {format_error(error)}") from error


def check(function_name: str, function: Callable, arguments: Mapping[str, Any]) -> None:
    """Raises a ``UsageError`` for arguments that a function does not have, or of a wrong type."""
    known = parameters_of(function_name, function)
    for name, value in arguments.items():
        if known is None:
            continue
        if name not in known:
            raise UsageError(f"{function_name} has no argument {name!r}{nearest(name, known)}")
        _check_type(f"{function_name}: {name}", known[name], value)


def required_arguments(function_name: str, function: Callable) -> list[str]:
    """Returns the names of the required arguments of a function."""
    known = parameters_of(function_name, function) or {}
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [name for name, each in known.items() if each.default is each.empty and each.kind not in variable]


def split_arguments(
    function_name: str, function: Callable, arguments: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Splits arguments into positional ones, up to and including ``*args`` if present, and keyword arguments."""
    known = parameters_of(function_name, function) or {}
    variadic = next((name for name, each in known.items() if each.kind is each.VAR_POSITIONAL), None)
    if variadic is None or variadic not in arguments:
        return [], dict(arguments)
    before = list(known)[: list(known).index(variadic)]
    positional = [*(arguments[name] for name in before if name in arguments), *arguments[variadic]]
    return positional, {name: value for name, value in arguments.items() if name not in (*before, variadic)}


def parameters_of(function_name: str, function: Callable) -> dict[str, inspect.Parameter] | None:
    """Returns the parameters of a function, or None if it accepts any keyword argument.

    Raises:
        UsageError: The function has no signature.
    """
    try:
        return accepted_parameters(function)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{function_name} must be a function with a signature: {error}") from error


ARGUMENT_TYPES = {
    bool: bool,
    int: Integral,
    float: Real,
    str: str,
}  # annotations, and the types that their arguments must have


def element_type(annotation: Any) -> Any:
    """Returns the element type of the annotation of a sequence, or None for other annotations."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Sequence else None


def _check_type(label: str, parameter: inspect.Parameter, value: Any) -> None:
    """Raises a ``UsageError`` if an argument does not have the number, string or sequence type of its annotation."""
    annotation = parameter.annotation
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if parameter.kind is parameter.VAR_POSITIONAL:
        if not is_list:
            raise UsageError(f"{label} must be a list, got {value!r}")
        return
    element = element_type(annotation)
    if annotation in ARGUMENT_TYPES and not isinstance(value, ARGUMENT_TYPES[annotation]):
        raise UsageError(f"{label} must be {annotation.__name__}, got {value!r}")
    if element in ARGUMENT_TYPES and not (is_list and all(isinstance(each, ARGUMENT_TYPES[element]) for each in value)):
        raise UsageError(f"{label} must be a sequence of {element.__name__}, got {value!r}")


def is_string(annotation: Any) -> bool:
    """Returns True if an annotation allows only strings and sequences of strings: ``str | tuple[str, ...]``."""
    members = [each for each in typing.get_args(annotation) if each not in (Ellipsis, type(None))]
    is_callable = typing.get_origin(annotation) is Callable
    return annotation is str or (bool(members) and not is_callable and all(map(is_string, members)))


def takes_function(parameter: inspect.Parameter | None) -> bool:
    """Returns True if the annotation or the default of a parameter is a function."""
    if parameter is None:
        return False
    is_annotated = Callable in (parameter.annotation, typing.get_origin(parameter.annotation))
    return is_annotated or inspect.isfunction(parameter.default)
