"""Models of tasks: finished ones, and factories that a task completes with what there is to learn."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import linen as nn

from jaxnets.tasks.signatures import accepted

Model = nn.Module | Callable[..., nn.Module]


# What a model may call the number of values that it gives, where that is not what the spec is called.
SIZES = ("num_outputs", "num_classes", "vocab_size")


class Trained(NamedTuple):
    """Attributes:
    model: The model of another run.
    variables: What it has learned.
    """

    model: nn.Module
    variables: Any


def complete(model: Model, spec: Any) -> nn.Module:
    """A model that gives as many values as there are to learn.

    Args:
        model: A finished module, which is returned as it is; or a module's class or a function that makes one. That is
            called with the size of the spec as ``classes``, ``vocabulary`` or ``quantities``, as the spec is called, or
            as ``outputs``; whichever of these it has first. Without any of them it is called with nothing.
        spec: Such as ``data.Classes``.

    Raises:
        ValueError: It makes no module.
    """
    if isinstance(model, nn.Module):
        return model
    known = accepted(model) or {}
    names = (f"num_{type(spec).__name__.lower()}", *SIZES)
    name = next((name for name in names if name in known), None)
    made = model(**{name: spec.size}) if name else model()
    if not isinstance(made, nn.Module):
        raise ValueError(f"`model` must be a Linen module or make one, got {made!r}")
    return made


def check_spec(task: str, spec: Any, *kinds: type) -> None:
    """Checks that data is of a kind that a task learns.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(spec, kinds):
        learned, has = " or ".join(each.__name__.lower() for each in kinds), type(spec).__name__.lower()
        raise ValueError(f"{task} learns from data with {learned}, got data with {has}")
