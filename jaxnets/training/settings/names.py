"""Names that a config may use: public ones of jaxnets, of a few libraries, and of packages that are trusted."""

import difflib
import importlib
import inspect
from collections.abc import Iterable
from typing import Any

from jaxnets.training.errors import UsageError

# Whose names a model may have.
FAMILIES = (
    "attention",
    "convolution",
    "decoding",
    "generative",
    "modules",
    "recurrent",
    "sets",
)

# Where the names that begin with a word are: only those in a module's ``__all__`` may be used.
PLACES = {
    **{family: f"jaxnets.{family}" for family in (*FAMILIES, "data", "tasks", "reports")},
    "optimizers": "jaxnets.learning.optimizers",
    "evaluators": "jaxnets.learning.evaluators",
}

# Modules of pure functions that a config of anybody may use.
LIBRARIES = ("optax", "optax.contrib", "jax.nn", "jax.nn.initializers", "flax.linen.initializers")

Trusted = tuple[str, ...] | None


def resolve(name: Any, trusted: Trusted = ()) -> Any:
    """The public thing of a name: ``recurrent.CharRNN`` of jaxnets, ``optax.adam``, or ``my_package.MyNet``.

    Args:
        name: ``module.attribute``.
        trusted: Top-level packages of others that may be imported; None: all of them, for a config that the user wrote.

    Raises:
        UsageError: There is no such module or attribute, or the module must not be imported.
    """
    module_name, _, attribute = name.rpartition(".") if isinstance(name, str) else ("", "", "")
    if not module_name:
        raise UsageError(f"{name!r}: expected where it lives, such as recurrent.CharRNN or my_package.MyNet")
    top = module_name.partition(".")[0]
    if top in PLACES:
        if module_name != top:  # public names are in the package itself
            raise UsageError(f"no jaxnets.{module_name} for {name}; public names are in jaxnets.{top}")
        module = importlib.import_module(PLACES[top])
        public: Iterable[str] = module.__all__
    elif module_name in LIBRARIES:
        module = importlib.import_module(module_name)
        public = [each for each, thing in vars(module).items() if _is_public(each, thing)]
    else:
        if trusted is not None and top not in trusted:
            raise UsageError(f"{name} is not part of jaxnets; to import {top}, say --trust={top}")
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # whatever a user's module does
            raise UsageError(f"cannot import {module_name} for {name}: {error}") from error
        public = vars(module)
    if attribute not in public:
        raise UsageError(f"no {attribute} in {module_name}{nearest(attribute, public, f'{module_name}.')}")
    return getattr(module, attribute)


def _is_public(name: str, thing: Any) -> bool:
    """Whether something is a function or class of one of these libraries, not a module or what it imports."""
    own = str(getattr(thing, "__module__", "")).partition(".")[0] in ("optax", "jax", "flax")
    return own and callable(thing) and not name.startswith("_") and not inspect.ismodule(thing)


def is_ours(text: Any, places: Iterable[str] = FAMILIES) -> bool:
    """Whether a text is a name in one of these places, or in a library."""
    module, _, attribute = text.rpartition(".") if isinstance(text, str) else ("", "", "")
    return bool(attribute) and (module.partition(".")[0] in (*places,) or module in LIBRARIES)


def name_of(thing: Any) -> str | None:
    """The public name of a class or function of jaxnets, as ``resolve`` takes it; None where it has none."""
    package, _, rest = str(getattr(thing, "__module__", "")).partition(".")
    place, name = rest.partition(".")[0], getattr(thing, "__name__", None)
    if package != "jaxnets" or place not in FAMILIES or name is None:
        return None
    public = getattr(importlib.import_module(PLACES[place]), name, None)
    return f"{place}.{name}" if public is thing else None


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """``"; the nearest is ..."`` for an error message, or nothing where nothing is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; the nearest is {prefix}{close[0]}" if close else ""
