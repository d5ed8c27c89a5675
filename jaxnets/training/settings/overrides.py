"""Overrides of settings from the command line: any argument of a function or class that the config names."""

import ast
import copy
import inspect
import math
import sys
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from jaxnets.training.errors import UsageError
from jaxnets.training.settings import calls, names
from jaxnets.training.settings.flat import flatten
from jaxnets.training.settings.forms import FORMS, form_of

SECTIONS = ("model", "data", "optimizer")  # always a dict with a name
TASK_INPUTS = ("model", "spec", "make_learner")  # arguments of a task that come from other settings


def override(config: ConfigDict, assignments: Iterable[tuple[str, str]], keep: dict[str, tuple[str, ...]]) -> None:
    """Applies overrides such as ``("model.hidden_size", "512")`` in place.

    A new name (``model.name``, ``task``, ``model.cell``) drops the arguments of the old one. Names are set before
    arguments, regardless of the order of ``assignments``.

    Args:
        config: A complete config.
        assignments: Pairs of a key and the text of its value.
        keep: For each section, the settings that a new name does not drop.

    Raises:
        UsageError: The key does not exist, or the value has a wrong type.
    """
    tree = copy.deepcopy(config.to_dict())
    depth = lambda key: key.count(".") - (key.rpartition(".")[2] in FORMS)  # names come before their arguments
    for key, text in sorted(assignments, key=lambda each: depth(each[0])):
        _assign(tree, key, text, keep)
    for section in list(config):
        del config[section]
    config.update(ConfigDict(tree))


def _assign(tree: dict[str, Any], key: str, text: str, keep: dict[str, tuple[str, ...]]) -> None:
    *sections, last = key.split(".")
    node: Any = tree
    for section in sections:
        if isinstance(node, list) and section.isdecimal() and int(section) < len(node):
            index: Any = int(section)
        elif isinstance(node, dict) and (section in node or _default_name(node, section)):
            index = section
            node.setdefault(section, _default_name(node, section))
        else:
            raise _unknown(tree, key)
        if isinstance(node[index], str) and names.is_public_name(node[index]):  # a plain name that now has arguments
            node[index] = {"factory": node[index]}
        elif isinstance(node[index], tuple):
            node[index] = list(node[index])
        node = node[index]
    if isinstance(node, list) and last.isdecimal() and int(last) < len(node):
        node[int(last)] = parse(key, text, node[int(last)])
        return
    if not isinstance(node, dict):
        raise _unknown(tree, key)
    current, form = node.get(last), form_of(node)
    if last in FORMS and form:
        _rename(node, form, text, keep.get(key.partition(".")[0], ()) if len(sections) == 1 else ())
    elif form_of(current) and not (not sections and last in SECTIONS):
        node[last] = _name(text, "factory") if sections else {"name": text}
    elif isinstance(current, dict):
        raise _unknown(tree, key)
    elif last in node:
        parameter = _parameters(node, sections).get(last)
        is_function = calls.takes_function(parameter) and isinstance(current, str)
        node[last] = _name(text, "factory") if is_function else parse(key, text, _typed(current, parameter))
    elif last in (known := _parameters(node, sections)):
        node[last] = _parse_argument(key, text, known[last])
    else:
        raise _unknown(tree, key)


def _rename(node: dict[str, Any], form: str, text: str, keep: tuple[str, ...]) -> None:
    """Sets a new name and drops the arguments of the old one."""
    if "optimizers." in str(node[form]) and "." not in text:
        text = f"optimizers.{text}"
    if text != node[form]:
        kept = {name: node[name] for name in keep if name in node}
        node.clear()
        node.update({form: text, **kept})


def _name(text: str, form: str) -> Any:
    """Returns a name as a config holds it. A name of a user's package needs a form, or it would be a plain string."""
    return {form: text} if "." in text and not names.is_public_name(text, names.NAMESPACES) else text


def _default_name(node: dict[str, Any], argument: str) -> str | None:
    """Returns the public name of the function that is an argument's default, or None."""
    parameter = _parameters(node, []).get(argument)
    return names.public_name(parameter.default) if parameter is not None and callable(parameter.default) else None


def _parameters(node: dict[str, Any], sections: list[str]) -> dict[str, inspect.Parameter]:
    """Returns the parameters of the function that ``node`` names and a config may set; empty if it names none."""
    form = form_of(node)
    if form is None:
        return {}
    name = node[form]
    known = calls.parameters_of(str(name), names.resolve(name, None)) or {}
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY)
    others = TASK_INPUTS if sections == ["task"] else ()
    return {name: each for name, each in known.items() if each.kind not in kinds and name not in others}


def _unknown(tree: dict[str, Any], key: str) -> UsageError:
    """Returns the error for an unknown key, with the nearest known key."""
    known = [*flatten(tree)]
    node: Any = tree
    for depth, section in enumerate(sections := key.split(".")):
        if isinstance(node, list | tuple):
            node = dict(zip(map(str, range(len(node))), node, strict=True))
        node = node.get(section) if isinstance(node, dict) else None
        if isinstance(node, dict):
            known += [".".join((*sections[: depth + 1], name)) for name in _parameters(node, sections[: depth + 1])]
    if inside := sorted({each for each in known if each.startswith(f"{key}.")}):
        return UsageError(f"no setting --config.{key}; settings in it are {', '.join(inside)}")
    return UsageError(f"no setting --config.{key}{names.nearest(key, known, '--config.')}")


def _typed(current: Any, parameter: inspect.Parameter | None) -> Any:
    """Casts the integer value of a setting to float if its parameter is a float."""
    is_float = parameter is not None and parameter.annotation is float and type(current) is int
    return float(current) if is_float else current


def _parse_argument(key: str, text: str, parameter: inspect.Parameter) -> Any:
    """Parses an argument that the config does not list, by the type of its default or its annotation."""
    default, annotation = parameter.default, parameter.annotation
    if calls.takes_function(parameter):
        return _name(text, "factory") if "." in text else text
    if isinstance(default, bool | int | float | tuple | list | str):
        return parse(key, text, _typed(default, parameter))
    return parse(key, text, annotation()) if annotation in (bool, int, float, str) else literal(text)


def parse(key: str, text: str, current: Any) -> Any:
    """Parses the text of a setting as a value of the type of ``current``.

    Raises:
        UsageError: The value has another type, is not finite, or has elements of another type than ``current``.
    """
    kind = type(current)
    if current is None:
        return literal(text)
    if kind not in (bool, int, float, tuple, list):
        return text
    value = _as_kind(literal(text.capitalize() if kind is bool else text), kind)
    elements = {type(element) for element in current} if kind in (tuple, list) else set()
    if len(elements) == 1 and type(value) is kind:
        (element,) = elements
        value = kind(_as_kind(each, element) for each in value)
        has_type = all(type(each) is element for each in value)
    else:
        has_type = type(value) is kind
    if not has_type or (isinstance(value, float) and not math.isfinite(value)) or (kind is int and abs(value) >= 2**63):
        raise UsageError(f"--config.{key} must be {kind.__name__}, such as {current!r}, got {text!r}")
    return value


def _as_kind(value: Any, kind: type) -> Any:
    """Casts an int to float or a list to tuple if that is the expected type; returns other values unchanged."""
    if kind is float and type(value) is int and abs(value) <= sys.float_info.max:
        return float(value)
    return tuple(value) if kind is tuple and isinstance(value, list) else value


def literal(text: str) -> Any:
    """Parses a Python literal, or returns the text itself if it is not a literal."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
