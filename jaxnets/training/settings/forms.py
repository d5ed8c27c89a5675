"""Forms of named functions and runs in a config, at any depth of its dicts and lists.

``{"name": f, **arguments}`` is the result of calling f. ``{"factory": f, **arguments}`` is a partial of f, which its
receiver calls with the remaining arguments. ``{"run": folder, "step": "best"}`` is the trained model of another run, a
``tasks.TrainedModel``. A string that is a public name, such as ``recurrent.lstm``, is that function or class.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxnets.tasks.signatures import return_type
from jaxnets.training.errors import UsageError
from jaxnets.training.settings import calls, names
from jaxnets.training.settings.names import Trusted

FORMS = ("name", "factory")
RESULT_PACKAGES = (
    "jaxnets.",
    "flax.",
    "optax.",
)  # packages of the results that functions of jaxnets may return for an argument


@dataclasses.dataclass(frozen=True, eq=False)
class Named:
    """A function that a config names, with its arguments.

    Attributes:
        name: The name in the config.
        function: The function or class.
        arguments: The arguments in the config, built.
        description: Description of the result, for error messages.
        types: Types of the result.
    """

    name: str
    function: Callable
    arguments: dict[str, Any]
    description: str = "it"
    types: tuple[type, ...] = (object,)

    def __call__(self, **more: Any) -> Any:
        """Calls the function with further arguments; arguments of the config take precedence."""
        result = calls.call(self.name, self.function, {**more, **self.arguments})
        if not isinstance(result, self.types):
            raise UsageError(f"{self.name} must return {self.description}, got {type(result).__name__}")
        return result

    @property
    def __signature__(self) -> inspect.Signature:
        known = calls.parameters_of(self.name, self.function) or {}
        # Keyword-only, because parameters with and without defaults may be in any order.
        return inspect.Signature([each.replace(kind=each.KEYWORD_ONLY) for each in known.values()])

    def accepts(self, name: str) -> bool:
        """Returns True if the function has a parameter of this name."""
        return name in (calls.parameters_of(self.name, self.function) or {})


class Builder(NamedTuple):
    """A builder of the values that a config describes.

    Attributes:
        trusted: See ``names.resolve``.
        run: A function that opens ``{"run": folder, ...}``.
    """

    trusted: Trusted
    run: Callable[[Mapping[str, Any]], Any]

    def named(self, setting: Any, description: str, types: tuple[type, ...], namespaces: Iterable[str]) -> Named:
        """Resolves the function of a setting and builds its arguments.

        Args:
            setting: A name, or a dict with "name" or "factory".
            description: Description of the result, for error messages.
            types: Types of the result. The return annotation must be one of them, so that no other function is called.
            namespaces: First words of the names that arguments may use, in addition to trusted packages.

        Raises:
            UsageError: ``setting`` has none of the forms, or its function returns another type.
        """
        form = form_of(setting)
        if form is None and not isinstance(setting, str):
            raise UsageError(f"the setting of {description} must be a name or a dict with a name, got {setting!r}")
        arguments = {} if isinstance(setting, str) else dict(setting)
        name = setting if form is None else arguments.pop(form)
        function = self._resolve(name, (*names.NAMESPACES,) if types else namespaces)
        if types and not issubclass(return_type(function) or object, types):
            hint = "" if inspect.isclass(function) else f"; a function must have the annotation -> {types[0].__name__}"
            raise UsageError(f"{name} must return {description}{hint}")
        calls.check(name, function, {})
        known = calls.parameters_of(name, function) or {}
        built = {key: self.value(each, namespaces, known.get(key)) for key, each in arguments.items()}
        calls.check(name, function, built)
        return Named(name, function, built, description, types or (object,))

    def value(self, setting: Any, namespaces: Iterable[str], parameter: inspect.Parameter | None = None) -> Any:
        """Builds an argument: replaces all names and forms in it by the values that they describe."""
        if isinstance(setting, ConfigDict):
            setting = setting.to_dict()
        if isinstance(setting, list | tuple):
            return type(setting)(self.value(each, namespaces, parameter) for each in setting)
        if isinstance(setting, str):
            if parameter is not None and calls.is_string(parameter.annotation):
                return setting
            is_name = names.is_public_name(setting, namespaces) or ("." in setting and calls.takes_function(parameter))
            return self._resolve(setting, namespaces) if is_name else setting
        if not isinstance(setting, dict):
            return setting
        form = form_of(setting)
        if "run" in setting:
            return self.run(setting)
        if form is None:
            return {key: self.value(each, namespaces) for key, each in setting.items()}
        named = self.named(setting, "it", (), namespaces)
        if form == "factory":
            positional, by_name = calls.split_arguments(named.name, named.function, named.arguments)
            return functools.partial(named.function, *positional, **by_name)
        return_class = return_type(named.function)
        if named.name.partition(".")[0] in names.NAMESPACES and not (
            return_class and return_class.__module__.startswith(RESULT_PACKAGES)
        ):
            raise UsageError(
                f"{named.name} must be annotated to return a class of jaxnets, flax or optax to be used in a config"
            )
        missing = [name for name in calls.required_arguments(named.name, named.function) if name not in named.arguments]
        if missing:
            hint = f'use {{"factory": "{named.name}", ...}} for a function that is called later'
            raise UsageError(f"{named.name} needs {', '.join(missing)}; {hint}")
        return named()

    def _resolve(self, name: Any, namespaces: Iterable[str]) -> Callable:
        """Resolves a name whose first word must be in ``namespaces`` or a trusted package."""
        top = name.partition(".")[0] if isinstance(name, str) else ""
        if top in names.NAMESPACES and top not in namespaces:
            raise UsageError(f"an argument here must be from {', '.join(namespaces)}, got {name!r}")
        function = names.resolve(name, self.trusted)
        if not callable(function):
            raise UsageError(f"{name} must be callable, got {function!r}")
        return function


def form_of(setting: Any) -> str | None:
    """Returns ``"name"`` or ``"factory"``, whichever is a key of a mapping, or None."""
    is_mapping = isinstance(setting, ConfigDict | Mapping)
    return next((form for form in FORMS if is_mapping and form in setting), None)
