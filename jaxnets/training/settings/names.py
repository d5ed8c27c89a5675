"""Names that a config may use: public names of jaxnets and a few libraries, and names of trusted packages."""

import difflib
import importlib
import inspect
from collections.abc import Iterable
from typing import Any

from jaxnets.training.errors import UsageError

# Packages of models and their arguments.
FAMILIES = (
    "attention",
    "convolution",
    "decoding",
    "generative",
    "modules",
    "recurrent",
    "series",
    "sets",
    "text",
    "weights",
)

# Modules by the first word of a name; only names in the ``__all__`` of a module may be used.
NAMESPACES = {
    **{family: f"jaxnets.{family}" for family in (*FAMILIES, "data", "tasks", "reports")},
    "optimizers": "jaxnets.learning.optimizers",
    "evaluators": "jaxnets.learning.evaluators",
    "weights": "jaxnets.weights.embeddings",  # initializers only: a config of another person must not write files
}

# Modules of pure functions that every config may use, including untrusted ones.
LIBRARIES = ("optax", "optax.contrib", "jax.nn", "jax.nn.initializers", "flax.linen.initializers")

Trusted = tuple[str, ...] | None


def resolve(name: Any, trusted: Trusted = ()) -> Any:
    """Returns the function or class of a name: ``recurrent.CharRNN``, ``optax.adam`` or ``my_package.MyNet``.

    Args:
        name: ``module.attribute``.
        trusted: Top-level packages outside jaxnets that may be imported. None allows all, for a config of the user.

    Raises:
        UsageError: The module or attribute does not exist, or the package is not trusted.
    """
    module_name, _, attribute = name.rpartition(".") if isinstance(name, str) else ("", "", "")
    if not module_name:
        raise UsageError(f"a name must include its module, such as recurrent.CharRNN or my_package.MyNet, got {name!r}")
    top = module_name.partition(".")[0]
    if top in NAMESPACES:
        if module_name != top:  # the package itself exports all public names
            raise UsageError(f"no jaxnets.{module_name} for {name}; public names are in jaxnets.{top}")
        module = importlib.import_module(NAMESPACES[top])
        public: Iterable[str] = module.__all__
    elif module_name in LIBRARIES:
        module = importlib.import_module(module_name)
        public = [each for each, thing in vars(module).items() if _is_public(each, thing)]
    else:
        if trusted is not None and top not in trusted:
            raise UsageError(f"{name} is not part of jaxnets; use --trust={top} to import {top}")
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # a user's module may raise anything
            raise UsageError(f"cannot import {module_name} for {name}: {error}") from error
        public = vars(module)
    if attribute not in public:
        raise UsageError(f"no {attribute} in {module_name}{nearest(attribute, public, f'{module_name}.')}")
    return getattr(module, attribute)


def _is_public(name: str, thing: Any) -> bool:
    """Returns True for public functions and classes of these libraries, excluding modules and imported objects."""
    is_from_library = str(getattr(thing, "__module__", "")).partition(".")[0] in ("optax", "jax", "flax")
    return is_from_library and callable(thing) and not name.startswith("_") and not inspect.ismodule(thing)


def is_public_name(text: Any, namespaces: Iterable[str] = FAMILIES) -> bool:
    """Returns True if a string is a name in one of these namespaces or libraries."""
    module, _, attribute = text.rpartition(".") if isinstance(text, str) else ("", "", "")
    return bool(attribute) and (module.partition(".")[0] in (*namespaces,) or module in LIBRARIES)


def public_name(thing: Any) -> str | None:
    """Returns the public name of a function or class of jaxnets, the inverse of ``resolve``; None if it has none."""
    package, _, rest = str(getattr(thing, "__module__", "")).partition(".")
    namespace, name = rest.partition(".")[0], getattr(thing, "__name__", None)
    if package != "jaxnets" or namespace not in FAMILIES or name is None:
        return None
    public = getattr(importlib.import_module(NAMESPACES[namespace]), name, None)
    return f"{namespace}.{name}" if public is thing else None


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Returns ``"; the nearest is ..."`` for an error message, or ``""`` if no known name is similar."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; the nearest is {prefix}{close[0]}" if close else ""
