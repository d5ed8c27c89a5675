"""The whole config: every setting, with the defaults of what it names."""

import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxnets.data.targets import Spec
from jaxnets.tasks.models import SIZES
from jaxnets.tasks.signatures import LINEN, signature
from jaxnets.training.errors import UsageError
from jaxnets.training.settings import names
from jaxnets.training.settings.flat import flatten
from jaxnets.training.settings.forms import form_of

# Arguments by section that somebody else gives: other settings, the data, the task.
GIVEN: dict[str, tuple[str, ...]] = {
    "data": ("seed",),
    "model": (*SIZES, *(kind.__name__.lower() for kind in typing.get_args(Spec))),
    "optimizer": ("steps",),
    "task": ("model", "spec", "make_learner"),
    **dict.fromkeys(("evaluators", "reports"), ("model", "predict", "spec")),
}


def with_defaults(config: ConfigDict, imports: bool = False) -> ConfigDict:
    """A config with the defaults of all arguments that it leaves out, as far as a config can hold them.

    Args:
        config: May name the user's packages.
        imports: Whether these are imported; else only what is imported already has its defaults filled in.
    """
    return ConfigDict({key: _filled(value, imports, GIVEN.get(key, ())) for key, value in config.to_dict().items()})


def lines(config: ConfigDict) -> list[str]:
    """All settings, as they are written on a command line or in a file for ``--flagfile``."""
    return [f"--config.{key}={value}" for key, value in flatten(with_defaults(config, imports=True)).items()]


def _filled(value: Any, imports: bool, without: tuple[str, ...] = ()) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_filled(each, imports) for each in value)
    if not isinstance(value, Mapping):
        return value
    form = form_of(value)
    if form is None:
        return {key: _filled(each, imports, without) for key, each in value.items()}
    more = dict(_defaults(value[form], imports))
    if form == "factory":  # whoever calls it may give the first argument
        more.pop(next(iter(more), ""), None)
    rest = {key: _filled(each, imports) for key, each in {**more, **value}.items() if key != form}
    plain = {key: each for key, each in rest.items() if key in value or (key not in without and _is_plain(each))}
    return {form: value[form], **plain}


def _defaults(name: Any, imports: bool) -> Iterator[tuple[str, Any]]:
    """The parameters of the function of a name, and their defaults as a config holds them."""
    try:
        parameters = signature(_function(name, imports)).parameters.values()
    except (UsageError, TypeError, ValueError):
        return
    for each in parameters:
        if each.name not in LINEN:
            default = names.name_of(each.default) or _dtype(each.default)
            yield each.name, each.default if default is None else default


def _function(name: Any, imports: bool) -> Any:
    """What is named; of a package outside jaxnets that is not to be imported, only what is there already."""
    module, _, attribute = name.rpartition(".") if isinstance(name, str) else ("", "", "")
    if imports or module.partition(".")[0] in names.PLACES or module in names.LIBRARIES:
        return names.resolve(name, None)
    return vars(sys.modules[module]).get(attribute) if module in sys.modules else None


def _dtype(value: Any) -> str | None:
    """The name of a type of numbers of JAX."""
    return str(value.dtype) if hasattr(value, "dtype") and callable(value) else None


def _is_plain(value: Any) -> bool:
    """Whether a config can hold a value."""
    if isinstance(value, list | tuple):
        return all(_is_plain(each) for each in value)
    return value is None or type(value) in (bool, int, float, str)
