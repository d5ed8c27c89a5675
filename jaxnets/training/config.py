"""Configs: files with ``get_config() -> ml_collections.ConfigDict``, and what a command line changes in them."""

import copy
import functools
import json
import re
import runpy
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import jaxnets
from jaxnets.training.errors import UsageError
from jaxnets.training.settings import overrides
from jaxnets.training.settings.flat import check_numbers, flatten
from jaxnets.training.settings.names import nearest
from jaxnets.training.settings.shown import with_defaults


def shipped() -> dict[str, Path]:
    """The configs that come with jaxnets, by name; variants as ``prevalence:attention``."""
    found: dict[str, Path] = {}
    for path in sorted(_folder().glob("*.py")):
        if path.stem != "base":
            found |= dict.fromkeys([path.stem, *(f"{path.stem}:{variant}" for variant in _run(path)[1])], path)
    return found


def load(name: str) -> ConfigDict:
    """The config in the file ``name``, or the shipped one of that name.

    ``:VARIANT`` after the name is one of the variants that the file has.

    Raises:
        UsageError: There is none, or the file does not define one.
    """
    whole, known = Path(name).expanduser(), shipped()
    stem, _, variant = (name, "", "") if whole.is_file() else name.partition(":")
    path = known[stem] if stem in known else Path(stem).expanduser()
    if not path.is_file():
        hint = nearest(path.stem, known)
        raise UsageError(f"no config {name}{hint}; shipped:", textwrap.wrap(", ".join(known), 100))
    get_config, variants = _run(path)
    if variant and variant not in variants:
        raise UsageError(f"config {path} has no variant {variant}; it has {', '.join(variants) or 'none'}")
    try:
        config = get_config(variant) if variant else get_config()
    except Exception as error:
        raise _cannot_run(path, error) from error
    if not isinstance(config, ConfigDict | dict):
        raise UsageError(f"config {path}: get_config() must return a dict or an ml_collections.ConfigDict")
    try:
        config = complete(ConfigDict(config))
        check(config)
        _check_known(config)
    except (UsageError, ValueError, TypeError) as error:  # ConfigDict refuses some keys
        raise UsageError(f"config {path}: {error}") from error
    return config


def _folder() -> Path:
    """The wheel carries configs/ inside the package; a checkout has it beside the package."""
    package = Path(jaxnets.__file__).parent
    return next(f for f in (package / "configs", package.parent / "configs") if f.is_dir())


def _run(path: Path) -> tuple[Callable[..., Any], list[str]]:
    """The function ``get_config`` of a file, and the names of the variants that it knows."""
    try:
        found = runpy.run_path(str(path))
    except Exception as error:
        raise _cannot_run(path, error) from error
    if not callable(found.get("get_config")):
        raise UsageError(f"config {path}: a function get_config() that returns a dict of settings is needed")
    return found["get_config"], [str(variant) for variant in found.get("VARIANTS", ())]


def _cannot_run(path: Path, error: Exception) -> UsageError:
    return UsageError(f"config {path} cannot be run: {type(error).__name__}: {error}")


@functools.cache
def _base() -> dict[str, Any]:
    return _run(_folder() / "base.py")[0]()


def defaults() -> dict[str, Any]:
    """The common settings by key, with their defaults."""
    return {key: value for key, value in flatten(_base()).items() if key.rpartition(".")[2] not in ("", "name")}


# What a config must have, beside the common settings.
REQUIRED = ("task.name", "data.name", "model.name")

# Settings of the optimizer that are no arguments of what ``optimizer.name`` names.
OF_OPTIMIZERS = ("ema_decay", "frozen", "plateau_factor", "plateau_patience")

SECTIONS = ("task", "data", "model", "optimizer", "evaluators", "reports")  # which have settings of their own


def complete(config: ConfigDict) -> ConfigDict:
    """A config with what it leaves out of the common settings."""
    given, base = config.to_dict(), copy.deepcopy(_base())
    for section in ("task", "model", "data", "optimizer"):
        named = given.get(section)
        if isinstance(named, str):
            given[section] = {"name": named}
        elif isinstance(named, dict) and "factory" in named and "name" not in named:
            given[section] = {"name": named.pop("factory"), **named}
    optimizer = given.get("optimizer")
    if isinstance(optimizer, dict):
        name = optimizer.get("name", base["optimizer"]["name"])
        if isinstance(name, str) and "." not in name:
            name = f"optimizers.{name}"
        if name != base["optimizer"]["name"]:
            base["optimizer"] = {key: base["optimizer"][key] for key in OF_OPTIMIZERS}
        given["optimizer"] = {**optimizer, "name": name}
    for section, value in base.items():
        if isinstance(value, dict) and isinstance(given.get(section), dict):
            given[section] = {**value, **{key: _like(value.get(key), each) for key, each in given[section].items()}}
        else:
            given.setdefault(section, value)
    return ConfigDict(given)


def _like(default: Any, given: Any) -> Any:
    """A whole number as a float, where the default is one."""
    return float(given) if type(default) is float and type(given) is int and abs(given) < 2**63 else given


def check(config: ConfigDict) -> None:
    """Raises a ``UsageError`` where a config lacks a setting, or one is of a wrong type or not a finite number."""
    for section in ("task", "data", "model", *(name for name, value in _base().items() if isinstance(value, dict))):
        if not isinstance(config.get(section, ConfigDict()), ConfigDict):
            raise UsageError(f"{section} must be a dict of settings, got {config[section]!r}")
    flat = flatten(config)
    for key in REQUIRED:
        if flat.get(key) is None:
            raise UsageError(f"{key} is missing")
        if not isinstance(flat[key], str):
            raise UsageError(f"{key}: str expected; given {flat[key]!r}")
    for key, value in defaults().items():
        is_argument = key.startswith("optimizer.") and key.partition(".")[2] not in OF_OPTIMIZERS
        if is_argument or isinstance(value, dict):
            continue
        if key not in flat:
            raise UsageError(f"{key} is missing")
        if type(flat[key]) is not type(value):
            raise UsageError(f"{key}: {type(value).__name__} expected; given {flat[key]!r}")
    for key, value in flat.items():
        check_numbers(key, value)


def _check_known(config: ConfigDict) -> None:
    known = [*REQUIRED, *defaults()]
    for key in flatten(config):
        if key not in known and key.partition(".")[0] not in SECTIONS:
            raise UsageError(f"nothing reads {key}{nearest(key, known)}")


def override(config: ConfigDict, assignments: Iterable[tuple[str, str]]) -> None:
    """Sets values such as ``model.hidden_size`` from command-line text, in place (see ``settings.overrides``)."""
    overrides.override(config, assignments, {"optimizer": OF_OPTIMIZERS})


def difference(old: ConfigDict, new: ConfigDict) -> list[str]:
    """What differs, a line each: ``model.hidden_size: 256 there, 512 here``; a default is as if it were not set."""
    before, after = (json.loads(json.dumps(flatten(with_defaults(config)))) for config in (old, new))
    keys = [*before, *(key for key in after if key not in before)]
    say = lambda flat, key: repr(flat[key]) if key in flat else "not set"
    return [
        f"{key}: {say(before, key)} there, {say(after, key)} here"
        for key in keys
        if before.get(key) != after.get(key) or (key in before) != (key in after)
    ]


EXAMPLES = 8  # paths that an error lists


def expression(key: str, pattern: str) -> re.Pattern[str]:
    """The regular expression of ``--config.key``; a ``UsageError`` where it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--config.{key}={pattern}: not a regular expression: {error}") from error


def matching(key: str, pattern: str, paths: Iterable[str]) -> set[str]:
    """The paths in which the pattern of ``--config.key`` is found; none for an empty one.

    Raises:
        UsageError: It is no regular expression, or is found in no path, or in all.
    """
    if not pattern:
        return set()
    found_in = expression(key, pattern)
    everything = sorted(paths)
    found = {path for path in everything if found_in.search(path)}
    if not found or len(found) == len(everything):
        dots = ", ..." if len(everything) > EXAMPLES else ""
        listed = ", ".join(everything[:EXAMPLES]) + dots
        raise UsageError(
            f"--config.{key}={pattern}: it is found in {'all' if found else 'none'} of the paths: {listed}"
        )
    return found
