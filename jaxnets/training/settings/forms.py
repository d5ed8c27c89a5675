"""The three forms in which a config names things, at any depth of its dicts and lists.

``{"name": f, **arguments}`` is what f returns. ``{"factory": f, **arguments}`` is f with these arguments, to be called
with the others by whoever gets it. ``{"run": folder, "step": "best"}`` is what another run has learned, a
``tasks.Trained``. A text that names something public, such as ``recurrent.lstm``, is that thing.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxnets.tasks.signatures import returned
from jaxnets.training.errors import UsageError
from jaxnets.training.settings import calls, names
from jaxnets.training.settings.names import Trusted

FORMS = ("name", "factory")
MAKERS = ("jaxnets.", "flax.", "optax.")  # whose classes functions of jaxnets may make where they are arguments


@dataclasses.dataclass(frozen=True, eq=False)
class Named:
    """Attributes:
    name: As the config has it.
    function: What is called.
    arguments: Those that the config gives, built.
    what, kinds: What calling it must make, in words and as types.
    """

    name: str
    function: Callable
    arguments: dict[str, Any]
    what: str = "it"
    kinds: tuple[type, ...] = (object,)

    def __call__(self, **more: Any) -> Any:
        """What the function returns for these arguments too; the config's own count where both have one."""
        made = calls.call(self.name, self.function, {**more, **self.arguments})
        if not isinstance(made, self.kinds):
            raise UsageError(f"{self.name} must make {self.what}, got {type(made).__name__}")
        return made

    @property
    def __signature__(self) -> inspect.Signature:
        known = calls.parameters_of(self.name, self.function) or {}
        # By name only: the order of parameters and of their defaults is not that of a function.
        return inspect.Signature([each.replace(kind=each.KEYWORD_ONLY) for each in known.values()])

    def accepts(self, name: str) -> bool:
        """Whether the function has a parameter of this name."""
        return name in (calls.parameters_of(self.name, self.function) or {})


class Builder(NamedTuple):
    """Attributes:
    trusted: As in ``names.resolve``.
    run: What ``{"run": folder, ...}`` is.
    """

    trusted: Trusted
    run: Callable[[Mapping[str, Any]], Any]

    def named(self, given: Any, what: str, kinds: tuple[type, ...], places: Iterable[str]) -> Named:
        """The function of a setting, and its arguments built.

        Args:
            given: A name, or one of the first two forms.
            what: The kind of thing, for messages.
            kinds: What the function must make, by its annotation: nobody knows what calling another one would do.
            places: Words that names within the arguments may begin with, beside packages that are trusted.

        Raises:
            UsageError: It is none of the forms, or makes something else.
        """
        form = form_of(given)
        if form is None and not isinstance(given, str):
            raise UsageError(f"what makes {what} must be a name or have one, got {given!r}")
        arguments = {} if isinstance(given, str) else dict(given)
        name = given if form is None else arguments.pop(form)
        function = self._part(name, (*names.PLACES,) if kinds else places)
        if kinds and not issubclass(returned(function) or object, kinds):
            hint = "" if inspect.isclass(function) else f"; a function must be annotated so: -> {kinds[0].__name__}"
            raise UsageError(f"{name} does not make {what}{hint}")
        calls.check(name, function, {})
        known = calls.parameters_of(name, function) or {}
        built = {key: self.value(each, places, known.get(key)) for key, each in arguments.items()}
        calls.check(name, function, built)
        return Named(name, function, built, what, kinds or (object,))

    def value(self, given: Any, places: Iterable[str], parameter: inspect.Parameter | None = None) -> Any:
        """An argument with all forms in it replaced by what they stand for."""
        if isinstance(given, ConfigDict):
            given = given.to_dict()
        if isinstance(given, list | tuple):
            return type(given)(self.value(each, places, parameter) for each in given)
        if isinstance(given, str):
            if parameter is not None and calls.is_text(parameter.annotation):
                return given
            stands = names.is_ours(given, places) or ("." in given and calls.takes_function(parameter))
            return self._part(given, places) if stands else given
        if not isinstance(given, dict):
            return given
        form = form_of(given)
        if "run" in given:
            return self.run(given)
        if form is None:
            return {key: self.value(each, places) for key, each in given.items()}
        named = self.named(given, "it", (), places)
        if form == "factory":
            positional, by_name = calls.separate(named.name, named.function, named.arguments)
            return functools.partial(named.function, *positional, **by_name)
        made = returned(named.function)
        if named.name.partition(".")[0] in names.PLACES and not (made and made.__module__.startswith(MAKERS)):
            raise UsageError(f"{named.name} makes nothing that a config can name, as far as its annotation says")
        missing = [name for name in calls.required(named.name, named.function) if name not in named.arguments]
        if missing:
            hint = f'{{"factory": "{named.name}", ...}} leaves that to what it is given to'
            raise UsageError(f"{named.name} needs {', '.join(missing)}; {hint}")
        return named()

    def _part(self, name: Any, places: Iterable[str]) -> Callable:
        """What is named within the arguments of something."""
        top = name.partition(".")[0] if isinstance(name, str) else ""
        if top in names.PLACES and top not in places:
            raise UsageError(f"an argument here must be of {', '.join(places)}, got {name!r}")
        function = names.resolve(name, self.trusted)
        if not callable(function):
            raise UsageError(f"{name} must be something that can be called, got {function!r}")
        return function


def form_of(given: Any) -> str | None:
    """``"name"`` or ``"factory"``, whichever a mapping has."""
    is_mapping = isinstance(given, ConfigDict | Mapping)
    return next((form for form in FORMS if is_mapping and form in given), None)
