"""From a config to what it names: models, tasks and data by where they live."""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn
from jax import numpy as jnp
from ml_collections import ConfigDict

from jaxnets.data import Dataset
from jaxnets.tasks import Task
from jaxnets.training import learners
from jaxnets.training.calls import accepted_by, call
from jaxnets.training.config import nearest
from jaxnets.training.errors import UsageError

FAMILIES = (
    "attention",
    "convolution",
    "decoding",
    "generative",
    "modules",
    "recurrent",
    "sets",
)  # whose names a model may have


def resolve(name: str, trusted: tuple[str, ...] | None = ()) -> Any:
    """The public thing called ``name``: ``recurrent.CharRNN`` of jaxnets, or a user's own ``my_package.MyNet``.

    Args:
        name: ``module.attribute``.
        trusted: Top-level modules outside jaxnets that may be imported; None trusts all (the command line named them).

    Raises:
        UsageError: No such module or attribute, or a module that must not be imported.
    """
    module_name, _, attribute = name.rpartition(".") if isinstance(name, str) else ("", "", "")
    if not module_name:
        raise UsageError(f"{name!r}: expected where it lives, such as recurrent.CharRNN or my_package.MyNet")
    if (family := module_name.partition(".")[0]) in (*FAMILIES, "data", "tasks"):
        if module_name != family:  # public names are in a family itself; nothing else is imported for a foreign config
            raise UsageError(f"no jaxnets.{module_name} for {name}; public names are in jaxnets.{family}")
        module = importlib.import_module(f"jaxnets.{module_name}")
        public = module.__all__
    else:
        top = module_name.partition(".")[0]
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


def _returns(function: Any, kind: type) -> bool:
    """Whether something is a function of jaxnets that returns such a thing, as its annotation shows."""
    if not (inspect.isfunction(function) and function.__module__.startswith("jaxnets.")):
        return False
    returned = inspect.signature(function).return_annotation
    return inspect.isclass(returned) and issubclass(returned, kind)


# What a model may call the number of values it gives.
OUTPUTS = ("vocabulary", "classes", "outputs")


def model(spec: Mapping[str, Any], trusted: tuple[str, ...] | None = (), outputs: int | None = None) -> nn.Module:
    """The Linen module of ``{"name": "recurrent.CharRNN", "cell": "recurrent.lstm", "hidden": 256, ...}``.

    A text argument that names something public of jaxnets by where it lives stands for that thing; a nested
    ``{"name": "recurrent.gru", "reset": "after"}`` for that function with these arguments given.

    Args:
        spec: Name and arguments.
        trusted: As in ``resolve``.
        outputs: How many values the model gives, from the data; it takes them as ``vocabulary``, ``classes`` or
            ``outputs``, whichever it has, if any.

    Raises:
        UsageError: The name or an argument is wrong, or it does not make a Linen module.
    """
    arguments = dict(spec)
    name = arguments.pop("name")
    builder = resolve(name, trusted)
    is_module = inspect.isclass(builder) and issubclass(builder, nn.Module)
    if not is_module and not (callable(builder) and builder.__module__.startswith("jaxnets.")):
        raise UsageError(f"{name} is neither a Linen module nor a function of jaxnets that returns one")
    if not is_module and not _returns(builder, nn.Module):  # it is not called: nobody knows what it would do
        raise UsageError(f"{name} does not make a Linen module")
    if outputs is not None:
        accepted = accepted_by(name, builder, {})
        argument = next((argument for argument in OUTPUTS if argument in accepted), None)
        if argument is not None:  # a model that gives its inputs back has none
            arguments[argument] = outputs
    if "dtype" in arguments:
        _check_dtype(name, arguments["dtype"])
    built = call(name, builder, {key: _value(value) for key, value in arguments.items()})
    if not isinstance(built, nn.Module):
        raise UsageError(f"{name} does not make a Linen module")
    return built


def _check_dtype(what: str, given: Any) -> None:
    """A ``UsageError`` where something names no type of floating point numbers; Linen would tell deep within."""
    try:
        floating = jnp.issubdtype(jnp.dtype(given), jnp.floating)
    except Exception:  # NumPy parses the text, and raises whatever its parser does
        floating = False
    if not floating:
        raise UsageError(f"{what}: dtype: a type such as float32 or bfloat16 expected; given {given!r}")


def _value(value: Any) -> Any:
    if isinstance(value, ConfigDict | dict) and "name" in value:
        arguments = dict(value)
        name = arguments.pop("name")
        function = _part(name)
        accepted_by(name, function, arguments)
        return functools.partial(function, **arguments)
    names_ours = isinstance(value, str) and value.partition(".")[0] in FAMILIES and "." in value
    return _part(value) if names_ours else value


def _part(name: Any) -> Callable:
    """The cell or the like that a model is made with."""
    if not (isinstance(name, str) and name.partition(".")[0] in FAMILIES):
        raise UsageError(f"a part of a model must be of {', '.join(FAMILIES)}, got {name!r}")
    function = resolve(name)
    if not callable(function):
        raise UsageError(f"a part of a model must be a function, got {name}")
    return function


def dataset(config: ConfigDict) -> Dataset:
    """The data of ``config.data``."""
    arguments = config.data.to_dict()
    name = arguments.pop("name")
    reader = resolve(name)
    if not _returns(reader, Dataset):
        raise UsageError(f"--config.data.name={name}: a reader of jaxnets.data expected")
    return call(name, reader, {**arguments, "seed": config.seed})


def task_name(config: ConfigDict) -> str:
    """The name of ``config.task``, which may have arguments."""
    return config.task if isinstance(config.task, str) else config.task.name


def task(config: ConfigDict, network: nn.Module, spec: Any) -> Task:
    """The task of ``config.task``, a name or a name with arguments, for data of the kind that it learns."""
    arguments = {"name": config.task} if isinstance(config.task, str) else dict(config.task)
    name = arguments.pop("name")
    function = resolve(name)
    if not _returns(function, Task):
        raise UsageError(f"--config.task={name}: a task of jaxnets.tasks expected")
    parameters = list(inspect.signature(function).parameters)
    learned, kind = parameters[1], type(spec).__name__.lower()  # vocabulary, classes, quantities
    if kind != learned:
        raise UsageError(f"{name} learns from data with {learned}; {config.data.name} has {kind}")
    given = {"model": network, kind: spec, **arguments}
    if "learn" in parameters:
        given["learn"] = learners.gradient_of(config)
    if "optimizer" in parameters:  # of several players
        given["optimizer"] = learners.optimizer_of(config)
    return learners.wrapped(config, call(name, function, given))
