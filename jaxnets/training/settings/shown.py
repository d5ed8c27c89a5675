"""The whole config: every setting, with the defaults of what it names."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxnets.tasks.signatures import LINEN, signature
from jaxnets.training.errors import UsageError
from jaxnets.training.settings import names
from jaxnets.training.settings.flat import flatten
from jaxnets.training.settings.forms import FORMS, form_of
from jaxnets.training.settings.names import Trusted

GIVEN = {"data": ("seed",)}  # arguments by section that are settings of the whole config


def with_defaults(config: ConfigDict, imports: bool = False) -> ConfigDict:
    """A config with the defaults of all arguments that it leaves out, as far as a config can hold them.

    Args:
        config: May name the user's packages.
        imports: Whether these are imported; else only what is imported already has its defaults filled in.
    """
    named = [str(value) for key, value in flatten(config).items() if key.rpartition(".")[2] in FORMS]
    imported = {name.partition(".")[0] for name in named if name.rpartition(".")[0] in sys.modules}
    trusted = None if imports else tuple(imported)
    return ConfigDict({key: _filled(value, trusted, GIVEN.get(key, ())) for key, value in config.to_dict().items()})


def lines(config: ConfigDict) -> list[str]:
    """All settings, as they are written on a command line or in a file for ``--flagfile``."""
    return [f"--config.{key}={value}" for key, value in flatten(with_defaults(config, imports=True)).items()]


def _filled(value: Any, trusted: Trusted, without: tuple[str, ...] = ()) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_filled(each, trusted) for each in value)
    if not isinstance(value, Mapping):
        return value
    form = form_of(value)
    more = dict(_defaults(value[form], trusted)) if form else {}
    first = {form: value[form]} if form else {}
    rest = {key: _filled(each, trusted) for key, each in {**more, **value}.items() if key != form}
    return {**first, **{key: each for key, each in rest.items() if key in value or key not in without}}


def _defaults(name: Any, trusted: Trusted) -> Iterator[tuple[str, Any]]:
    """The defaults of the function of a name."""
    try:
        parameters = signature(names.resolve(name, trusted)).parameters.values()
    except (UsageError, TypeError, ValueError):
        return
    for each in parameters:
        if each.default is not inspect.Parameter.empty and each.name not in LINEN:
            default = names.name_of(each.default) or _dtype(each.default)
            if default is not None or _is_plain(each.default):
                yield each.name, each.default if default is None else default


def _dtype(value: Any) -> str | None:
    """The name of a type of numbers of JAX."""
    return str(value.dtype) if hasattr(value, "dtype") and callable(value) else None


def _is_plain(value: Any) -> bool:
    """Whether a config can hold a value."""
    if isinstance(value, list | tuple):
        return all(_is_plain(each) for each in value)
    return value is None or type(value) in (bool, int, float, str)
