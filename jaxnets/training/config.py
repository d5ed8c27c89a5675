"""Configs: files with ``get_config() -> ml_collections.ConfigDict``, and what a command line changes in them."""

import ast
import difflib
import json
import math
import re
import runpy
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import jaxnets
from jaxnets.training.errors import UsageError


def shipped() -> dict[str, Path]:
    """The configs that come with jaxnets, by name."""
    package = Path(jaxnets.__file__).parent
    # The wheel carries configs/ inside the package; a checkout has it beside the package.
    folder = next(f for f in (package / "configs", package.parent / "configs") if f.is_dir())
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def load(name: str) -> ConfigDict:
    """The config in the file ``name``, or the shipped one of that name.

    Raises:
        UsageError: There is none, or the file does not define one.
    """
    known = shipped()
    path = Path(name).expanduser()
    if not path.suffix and name in known:
        path = known[name]
    if not path.is_file():
        hint = nearest(path.stem, known)
        raise UsageError(f"no config {name}{hint}; shipped:", textwrap.wrap(", ".join(known), 100))
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        config = get_config() if get_config else None
    except Exception as error:
        raise UsageError(f"config {path} cannot be run: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise UsageError(f"config {path}: a function get_config() that returns an ml_collections.ConfigDict is needed")
    complete(config)
    try:
        check(config)
        _check_known(config)
    except UsageError as error:
        raise UsageError(f"config {path}: {error}") from error
    return config


# What every config has; a task, data, model or optimizer may have arguments of its own beside these.
REQUIRED = {
    "seed": int,
    "task": str,
    "data.name": str,
    "model.name": str,
    "optimizer.learning_rate": float,
    "train.steps": int,
    "train.minutes": float,
    "train.accumulate": int,
    "train.evaluate_every": int,
    "train.log_every": int,
}


# What a config may leave out.
DEFAULTS = {
    "devices.model": 1,
    "devices.fully_sharded": False,
    "optimizer.average": 0.0,
    "optimizer.frozen": "",
    "optimizer.plateau": 0.0,
    "optimizer.patience": 5,
    "train.background_saves": False,
    "train.begin_from": "",
    "train.begin_step": "best",
    "train.begin_without": "",
    "train.keep": 2,
    "train.keep_every": 0,
    "train.not_finite": "stop",
    "train.not_finite_limit": 10,
    "train.report_every": 0,
}


def complete(config: ConfigDict) -> None:
    """Sets what a config leaves out, in place."""
    for key, value in DEFAULTS.items():
        section, _, name = key.rpartition(".")
        if section not in config:
            config[section] = ConfigDict()
        if isinstance(config[section], ConfigDict) and name not in config[section]:
            config[section][name] = value


def check(config: ConfigDict) -> None:
    """Raises a ``UsageError`` where a config lacks a setting, or one is of a wrong type or not a finite number."""
    flat = flatten(config)
    if "task.name" in flat:  # with arguments
        flat = {**flat, "task": flat["task.name"]}
    for key, kind in {**REQUIRED, **{key: type(value) for key, value in DEFAULTS.items()}}.items():
        if key not in flat:
            raise UsageError(f"{key} is missing")
        if type(flat[key]) is not kind:
            raise UsageError(f"{key}: {kind.__name__} expected; given {flat[key]!r}")
    for key, value in flat.items():
        _check_numbers(key, value)


def _check_numbers(key: str, value: Any) -> None:
    if isinstance(value, list | tuple):
        for each in value:
            _check_numbers(key, each)
    if (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, int) and abs(value) >= 2**63):
        raise UsageError(f"{key} must be a finite number of at most 63 bits, got {value}")


def _check_known(config: ConfigDict) -> None:
    known = [*REQUIRED, *DEFAULTS]
    for key in flatten(config):
        if key not in known and key.partition(".")[0] not in ("task", "data", "model", "optimizer"):
            raise UsageError(f"nothing reads {key}{nearest(key, known)}")


def override(config: ConfigDict, assignments: Iterable[tuple[str, str]]) -> None:
    """Sets ``model.hidden`` and the like from the text of a command line, in place.

    ``model.cell`` may be set to a name where the config has a name with arguments.

    Raises:
        UsageError: No such key (the nearest is named), or a value of another type.
    """
    for key, text in assignments:
        flat = flatten(config)
        if "." in key and f"{key}.name" in flat:  # another function, with its own arguments as they are
            with config.ignore_type():
                config.update_from_flattened_dict({key: text})
            continue
        if key not in flat:
            inside = [known for known in flat if known.startswith(f"{key}.")]
            hint = f"; it has {', '.join(inside)}" if inside else nearest(key, flat, "--config.")
            raise UsageError(f"no setting --config.{key}{hint}")
        config.update_from_flattened_dict({key: parse(key, text, flat[key])})


def parse(key: str, text: str, current: Any) -> Any:
    """The text of a setting as a value of the type of ``current``; where ``current`` is text, the text itself.

    Raises:
        UsageError: The value is of another type, is not finite, or has elements of another type than those of
            ``current``.
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
        fits = all(type(each) is element for each in value)
    else:
        fits = type(value) is kind
    if not fits or (isinstance(value, float) and not math.isfinite(value)) or (kind is int and abs(value) >= 2**63):
        raise UsageError(f"--config.{key}: {kind.__name__} expected, such as {current!r}; given {text!r}")
    return value


def _as_kind(value: Any, kind: type) -> Any:
    """An int where a float is expected, or a list where a tuple is, as that; other values as they are."""
    if kind is float and type(value) is int and abs(value) <= sys.float_info.max:
        return float(value)
    return tuple(value) if kind is tuple and isinstance(value, list) else value


def literal(text: str) -> Any:
    """The Python literal of a text, or the text itself where it is not one."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def flatten(config: ConfigDict) -> dict[str, Any]:
    """``{"model.hidden": 256, ...}``."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            flat.update({f"{key}.{inner}": leaf for inner, leaf in flatten(value).items()})
        else:
            flat[key] = value
    return flat


def difference(old: ConfigDict, new: ConfigDict) -> list[str]:
    """What differs, a line each: ``model.hidden: 256 there, 512 here``."""
    before, after = (json.loads(json.dumps(flatten(config))) for config in (old, new))
    keys = [*before, *(key for key in after if key not in before)]
    say = lambda flat, key: repr(flat[key]) if key in flat else "not set"
    return [
        f"{key}: {say(before, key)} there, {say(after, key)} here"
        for key in keys
        if before.get(key) != after.get(key) or (key in before) != (key in after)
    ]


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """``"; the nearest is ..."`` for an error message, or nothing where nothing is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; the nearest is {prefix}{close[0]}" if close else ""


EXAMPLES = 8  # paths that an error lists


def matching(key: str, pattern: str, paths: Iterable[str]) -> set[str]:
    """The paths in which the pattern of ``--config.key`` is found; none for an empty one.

    Raises:
        UsageError: It is no regular expression, or is found in no path, or in all.
    """
    if not pattern:
        return set()
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--config.{key}={pattern}: not a regular expression: {error}") from error
    everything = sorted(paths)
    found = {path for path in everything if expression.search(path)}
    if not found or len(found) == len(everything):
        dots = ", ..." if len(everything) > EXAMPLES else ""
        listed = ", ".join(everything[:EXAMPLES]) + dots
        raise UsageError(
            f"--config.{key}={pattern}: it is found in {'all' if found else 'none'} of the paths: {listed}"
        )
    return found
