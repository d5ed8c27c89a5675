"""Models of tasks: modules, and factories that a task calls with the size of the targets."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import linen as nn

from jaxnets.learning import Learner, MakeLearner, fitted
from jaxnets.tasks.signatures import accepted_parameters

Model = nn.Module | Callable[..., nn.Module]


# Names of the argument for the number of outputs, tried after the name that belongs to the spec.
SIZE_ARGUMENTS = ("num_outputs", "num_classes", "vocab_size")


class TrainedModel(NamedTuple):
    """A trained model of another run.

    Attributes:
        model: The module.
        variables: Its trained variables.
        predict: ``(variables, inputs) -> outputs``, the endpoint ``predict`` of its task; None if it has none.
        run: The folder of the run.
    """

    model: nn.Module
    variables: Any
    predict: Callable[[Any, Any], Any] | None = None
    run: str = ""


def complete(model: Model, spec: Any) -> nn.Module:
    """Returns a model whose number of outputs fits the spec.

    Args:
        model: A module, which is returned unchanged; or a module class or function that returns a module. The latter is
            called with the size of the spec as the first of these arguments that it has: ``num_classes`` for
            ``Classes`` (``num_quantities`` for ``Quantities``, ...), ``num_outputs``, ``num_classes``, ``vocab_size``.
            If it has none of them, it is called without arguments.
        spec: Meaning of the targets, such as ``data.Classes``.

    Raises:
        ValueError: If the result is not a module.
    """
    if isinstance(model, nn.Module):
        return model
    parameters = accepted_parameters(model) or {}
    names = (f"num_{type(spec).__name__.lower()}", *SIZE_ARGUMENTS)
    name = next((name for name in names if name in parameters), None)
    return call_factory(model, {name: spec.size} if name else {})


def complete_with_sizes(model: Model, **sizes: int) -> nn.Module:
    """Returns the module of a factory that is called with those of these sizes that it accepts.

    Raises:
        ValueError: A module has another size, or the factory has no ``num_outputs`` and several are needed.
    """
    made: Any = model
    if not isinstance(model, nn.Module):
        known = accepted_parameters(model)  # None: any
        if known is not None and "num_outputs" not in known and sizes.get("num_outputs", 1) > 1:
            raise ValueError("`model` must have the argument `num_outputs` for quantiles and distributions")
        made = call_factory(model, {name: size for name, size in sizes.items() if known is None or name in known})
    for name, size in sizes.items():
        if getattr(made, name, size) != size:
            raise ValueError(f"`{name}` of the model must be {size}, got {getattr(made, name)}")
    return made


def call_factory(model: Callable[..., nn.Module], sizes: dict[str, int]) -> nn.Module:
    """Calls a factory with sizes. Raises a ``ValueError`` if the result is not a module."""
    module = model(**sizes)
    if not isinstance(module, nn.Module):
        raise ValueError(f"`model` must be a Linen module or a function that returns one, got {module!r}")
    return module


def check_spec(task: str, spec: Any, *types: type) -> None:
    """Checks that data has targets of a type that a task supports.

    Raises:
        ValueError: If the spec has another type.
    """
    if not isinstance(spec, types):
        supported, given = " or ".join(kind.__name__.lower() for kind in types), type(spec).__name__.lower()
        raise ValueError(f"the data of {task} must have {supported}, got data with {given}")


def check_members(task: str, model: Any, kind: str, *names: str) -> None:
    """Raises a ``ValueError`` unless a model has the methods and attributes that a task uses.

    Args:
        task: Name of the task.
        model: The model.
        kind: The required kind of model, such as ``"an autoencoder"``.
        names: The methods and attributes.
    """
    missing = [name for name in names if not hasattr(model, name)]
    if missing:
        raise ValueError(f"`model` of {task} must be {kind}, got {type(model).__name__} without {', '.join(missing)}")


def learner_of(model: nn.Module, init: Any, loss: Any, make_learner: MakeLearner) -> Learner:
    """Returns the learner of a model: ``make_learner(init, loss)``, or a fit in closed form.

    The latter is for models with a method ``fit(variables, batch) -> variables``, such as ``series.Rocket``. They need
    a batch of all training data, ``batch_size=0``.
    """
    fit = getattr(model, "fit", None)
    return make_learner(init, loss) if fit is None else fitted(init, fit)
