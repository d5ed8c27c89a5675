"""Configs: Python files with ``get_config() -> ml_collections.ConfigDict``, and overrides from the command line."""

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
    """Returns the paths of the shipped configs by name, including variants such as ``prevalence:attention``."""
    found: dict[str, Path] = {}
    for path in sorted(_folder().glob("*.py")):
        if path.stem != "base":
            found |= dict.fromkeys([path.stem, *(f"{path.stem}:{variant}" for variant in _run(path)[1])], path)
    return found


def load(name: str) -> ConfigDict:
    """Loads a config.

    Args:
        name: A path, or the name of a shipped config; ``NAME:VARIANT`` selects a variant of the config.

    Raises:
        UsageError: The config does not exist, cannot be run or is wrong.
    """
    whole, known = Path(name).expanduser(), shipped()
    stem, _, variant = (name, "", "") if whole.is_file() else name.partition(":")
    path = known[stem] if stem in known else Path(stem).expanduser()
    if not path.is_file():
        hint = nearest(path.stem, known)
        raise UsageError(f"no config {name}{hint}; shipped configs:", textwrap.wrap(", ".join(known), 100))
    get_config, variants = _run(path)
    if variant and variant not in variants:
        raise UsageError(f"config {path} has no variant {variant}; it has {', '.join(variants) or 'none'}")
    try:
        config = get_config(variant) if variant else get_config()
    except Exception as error:
        raise _cannot_run(path, error) from error
    if not isinstance(config, ConfigDict | dict):
        raise UsageError(f"config {path}: get_config() must return a dict or a ConfigDict, got {type(config).__name__}")
    try:
        config = complete(ConfigDict(config))
        check(config)
        _check_known(config)
    except (UsageError, ValueError, TypeError) as error:  # ConfigDict rejects some keys
        raise UsageError(f"config {path}: {error}") from error
    return config


def _folder() -> Path:
    """Returns the folder of shipped configs: inside the package of a wheel, next to the package in a checkout."""
    package = Path(jaxnets.__file__).parent
    return next(f for f in (package / "configs", package.parent / "configs") if f.is_dir())


def _run(path: Path) -> tuple[Callable[..., Any], list[str]]:
    """Runs a config file and returns its function ``get_config`` and the names of its variants."""
    try:
        found = runpy.run_path(str(path))
    except Exception as error:
        raise _cannot_run(path, error) from error
    if not callable(found.get("get_config")):
        raise UsageError(f"config {path} must define a function get_config() that returns a dict of settings")
    return found["get_config"], [str(variant) for variant in found.get("VARIANTS", ())]


def _cannot_run(path: Path, error: Exception) -> UsageError:
    return UsageError(f"config {path} cannot be run: {type(error).__name__}: {error}")


@functools.cache
def _base() -> dict[str, Any]:
    return _run(_folder() / "base.py")[0]()


def defaults() -> dict[str, Any]:
    """Returns the common settings of all configs by key, with their defaults."""
    return {key: value for key, value in flatten(_base()).items() if key.rpartition(".")[2] not in ("", "name")}


# Settings that a config must have in addition to the common ones.
REQUIRED = ("task.name", "data.name", "model.name")

# Settings of ``optimizer`` that are not arguments of the function ``optimizer.name``.
OPTIMIZER_SETTINGS = ("ema_decay", "frozen", "plateau_factor", "plateau_patience")

SECTIONS = ("task", "data", "model", "optimizer", "evaluators", "reports")  # they may have further settings


def complete(config: ConfigDict) -> ConfigDict:
    """Returns a config with the defaults of the common settings that it omits."""
    settings, base = config.to_dict(), copy.deepcopy(_base())
    for section in ("task", "model", "data", "optimizer"):
        value = settings.get(section)
        if isinstance(value, str):
            settings[section] = {"name": value}
        elif isinstance(value, dict) and "factory" in value and "name" not in value:
            settings[section] = {"name": value.pop("factory"), **value}
    optimizer = settings.get("optimizer")
    if isinstance(optimizer, dict):
        name = optimizer.get("name", base["optimizer"]["name"])
        if isinstance(name, str) and "." not in name:
            name = f"optimizers.{name}"
        if name != base["optimizer"]["name"]:
            base["optimizer"] = {key: base["optimizer"][key] for key in OPTIMIZER_SETTINGS}
        settings["optimizer"] = {**optimizer, "name": name}
    for section, value in base.items():
        if isinstance(value, dict) and isinstance(settings.get(section), dict):
            settings[section] = {
                **value,
                **{key: _cast(value.get(key), each) for key, each in settings[section].items()},
            }
        else:
            settings.setdefault(section, value)
    return ConfigDict(settings)


def _cast(default: Any, value: Any) -> Any:
    """Casts an integer to float if the default is a float."""
    return float(value) if type(default) is float and type(value) is int and abs(value) < 2**63 else value


def check(config: ConfigDict) -> None:
    """Raises a ``UsageError`` if a setting is missing, has a wrong type or is not finite."""
    for section in ("task", "data", "model", *(name for name, value in _base().items() if isinstance(value, dict))):
        if not isinstance(config.get(section, ConfigDict()), ConfigDict):
            raise UsageError(f"{section} must be a dict of settings, got {config[section]!r}")
    flat = flatten(config)
    for key in REQUIRED:
        if flat.get(key) is None:
            raise UsageError(f"{key} is missing")
        if not isinstance(flat[key], str):
            raise UsageError(f"{key} must be str, got {flat[key]!r}")
    for key, value in defaults().items():
        is_argument = key.startswith("optimizer.") and key.partition(".")[2] not in OPTIMIZER_SETTINGS
        if is_argument or isinstance(value, dict):
            continue
        if key not in flat:
            raise UsageError(f"{key} is missing")
        if type(flat[key]) is not type(value):
            raise UsageError(f"{key} must be {type(value).__name__}, got {flat[key]!r}")
    for key, value in flat.items():
        check_numbers(key, value)


def _check_known(config: ConfigDict) -> None:
    known = [*REQUIRED, *defaults()]
    for key in flatten(config):
        if key not in known and key.partition(".")[0] not in SECTIONS:
            raise UsageError(f"unknown setting {key}{nearest(key, known)}")


def override(config: ConfigDict, assignments: Iterable[tuple[str, str]]) -> None:
    """Applies command-line overrides such as ``("model.hidden_size", "512")`` in place (see ``settings.overrides``)."""
    overrides.override(config, assignments, {"optimizer": OPTIMIZER_SETTINGS})


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Describes the differences of two configs, such as ``model.hidden_size: 256 there, 512 here``.

    A setting that equals its default and a missing setting are the same.
    """
    before, after = (json.loads(json.dumps(flatten(with_defaults(config)))) for config in (old, new))
    keys = [*before, *(key for key in after if key not in before)]
    show = lambda flat, key: repr(flat[key]) if key in flat else "not set"
    return [
        f"{key}: {show(before, key)} there, {show(after, key)} here"
        for key in keys
        if before.get(key) != after.get(key) or (key in before) != (key in after)
    ]


MAX_LISTED = 8  # paths in an error message


def compile_pattern(key: str, pattern: str) -> re.Pattern[str]:
    """Compiles the regular expression of ``--config.key``, or raises a ``UsageError``."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--config.{key} must be a regular expression, got {pattern}: {error}") from error


def match_paths(key: str, pattern: str, paths: Iterable[str]) -> set[str]:
    """Returns the paths that the regular expression of ``--config.key`` matches; none for an empty pattern.

    Raises:
        UsageError: ``pattern`` is not a regular expression, or matches no path or all paths.
    """
    if not pattern:
        return set()
    compiled = compile_pattern(key, pattern)
    ordered = sorted(paths)
    found = {path for path in ordered if compiled.search(path)}
    if not found or len(found) == len(ordered):
        dots = ", ..." if len(ordered) > MAX_LISTED else ""
        listed = ", ".join(ordered[:MAX_LISTED]) + dots
        raise UsageError(
            f"--config.{key} must match some of the paths, got {pattern}, which matches {'all' if found else 'none'} "
            f"of {listed}"
        )
    return found
