"""Complete configs, with the default arguments of all functions and classes that they name."""

import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxnets.data.targets import Spec
from jaxnets.tasks.models import SIZE_ARGUMENTS
from jaxnets.tasks.signatures import LINEN, signature
from jaxnets.training.errors import UsageError
from jaxnets.training.settings import names
from jaxnets.training.settings.flat import flatten
from jaxnets.training.settings.forms import form_of

# Arguments by section that are not settings: they come from other settings, the data or the task.
EXTERNAL_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "data": ("seed",),
    "model": (*SIZE_ARGUMENTS, *(kind.__name__.lower() for kind in typing.get_args(Spec))),
    "optimizer": ("steps",),
    "task": ("model", "spec", "make_learner"),
    **dict.fromkeys(("evaluators", "reports"), ("model", "predict", "spec")),
}


def with_defaults(config: ConfigDict, imports: bool = False) -> ConfigDict:
    """Returns a config with the defaults of all arguments that it omits and that a config can hold.

    Args:
        config: The config. It may name packages of the user.
        imports: If True, import these packages. If False, add only defaults of modules that are already imported.
    """
    return ConfigDict(
        {key: _filled(value, imports, EXTERNAL_ARGUMENTS.get(key, ())) for key, value in config.to_dict().items()}
    )


def lines(config: ConfigDict) -> list[str]:
    """Formats all settings as flags, for the command line or a file for ``--flagfile``."""
    return [f"--config.{key}={value}" for key, value in flatten(with_defaults(config, imports=True)).items()]


def _filled(value: Any, imports: bool, exclude: tuple[str, ...] = ()) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_filled(each, imports) for each in value)
    if not isinstance(value, Mapping):
        return value
    form = form_of(value)
    if form is None:
        return {key: _filled(each, imports, exclude) for key, each in value.items()}
    defaults = dict(_defaults(value[form], imports))
    if form == "factory":  # the caller may pass the first argument
        defaults.pop(next(iter(defaults), ""), None)
    rest = {key: _filled(each, imports) for key, each in {**defaults, **value}.items() if key != form}
    plain = {key: each for key, each in rest.items() if key in value or (key not in exclude and _is_plain(each))}
    return {form: value[form], **plain}


def _defaults(name: Any, imports: bool) -> Iterator[tuple[str, Any]]:
    """Yields the parameters of a named function with their defaults as a config holds them."""
    try:
        parameters = signature(_function(name, imports)).parameters.values()
    except (UsageError, TypeError, ValueError):
        return
    for each in parameters:
        if each.name not in LINEN:
            default = names.public_name(each.default) or _dtype(each.default)
            yield each.name, each.default if default is None else default


def _function(name: Any, imports: bool) -> Any:
    """Resolves a name. Without ``imports``, a module of another package is used only if it is already imported."""
    module, _, attribute = name.rpartition(".") if isinstance(name, str) else ("", "", "")
    if imports or module.partition(".")[0] in names.NAMESPACES or module in names.LIBRARIES:
        return names.resolve(name, None)
    return vars(sys.modules[module]).get(attribute) if module in sys.modules else None


def _dtype(value: Any) -> str | None:
    """Returns the name of a JAX dtype such as ``jnp.float32``, or None for other values."""
    return str(value.dtype) if hasattr(value, "dtype") and callable(value) else None


def _is_plain(value: Any) -> bool:
    """Returns True if a config can hold a value."""
    if isinstance(value, list | tuple):
        return all(_is_plain(each) for each in value)
    return value is None or type(value) in (bool, int, float, str)
