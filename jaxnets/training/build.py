"""Construction of the model, dataset, optimizer and task of a config, and of saved runs."""

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from flax import linen as nn
from jax import numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxnets import tasks
from jaxnets.data import Dataset
from jaxnets.data.inputs import Inputs
from jaxnets.learning import Evaluator, ScheduledEvaluator, partitioning
from jaxnets.ops.host.extras import MissingExtraError
from jaxnets.tasks import Task
from jaxnets.training import learners, rundir, used_runs
from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.config import OPTIMIZER_SETTINGS
from jaxnets.training.errors import RunError, UsageError, format_error
from jaxnets.training.settings.forms import Builder
from jaxnets.training.settings.names import FAMILIES, Trusted
from jaxnets.training.state import initial_variables

TASK_NAMESPACES = (*FAMILIES, "tasks", "reports", "optimizers", "evaluators")  # names in the arguments of a task


def model(spec: Mapping[str, Any] | str, trusted: Trusted = ()) -> Callable[..., nn.Module]:
    """Builds the factory of a Linen module from its config.

    An example is ``{"name": "recurrent.CharRNN", "cell": "recurrent.lstm", "hidden_size": 256, ...}``. A task calls the
    factory with the arguments that depend on the data, such as the number of outputs.

    Args:
        spec: Name and arguments in the forms of ``settings.forms``.
        trusted: See ``settings.names.resolve``.

    Raises:
        UsageError: The name or an argument is wrong, or the function does not return a Linen module.
    """
    named = _builder(trusted).named(spec, "a Linen module", (nn.Module,), FAMILIES)
    if "dtype" in named.arguments:
        _check_dtype(named.name, named.arguments["dtype"])
    return named


def _check_dtype(name: str, dtype: Any) -> None:
    """Raises a ``UsageError`` unless ``dtype`` is a floating-point type. Linen would raise an unclear error later."""
    try:
        floating = jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except Exception:  # NumPy parses the text and may raise various errors
        floating = False
    if not floating:
        raise UsageError(f"{name}: `dtype` must be a floating-point type such as float32 or bfloat16, got {dtype!r}")


def dataset(config: ConfigDict, trusted: Trusted = ()) -> Dataset:
    """Builds the dataset of ``config.data``."""
    reader = _builder(trusted).named(config.data, "a dataset", (Dataset,), ("data",))
    return reader(**({"seed": config.seed} if reader.accepts("seed") else {}))


def optimizer(config: ConfigDict, trusted: Trusted = ()) -> optax.GradientTransformation:
    """Builds the optimizer of ``config.optimizer``. Its parameter ``steps``, if any, is the length of the schedule."""
    spec = {key: value for key, value in config.optimizer.items() if key not in OPTIMIZER_SETTINGS}
    named = _builder(trusted).named(spec, "an optimizer", (optax.GradientTransformation,), ("optimizers",))
    steps = config.train.schedule_steps or config.train.steps
    return named(**({"steps": steps} if named.accepts("steps") else {}))


def task_name(config: ConfigDict) -> str:
    """Returns the name of ``config.task``."""
    name: str = config.task.name
    return name


def task(config: ConfigDict, network: Any, spec: Any, trusted: Trusted = ()) -> Task:
    """Builds the task of ``config.task``, including the evaluators and reports of the config.

    Args:
        config: The config.
        network: A Linen module, which the task uses unchanged, or a factory of one that the task completes.
        spec: The spec of the dataset.
        trusted: See ``settings.names.resolve``.
    """
    return _completed(config, network, spec, trusted)[1]


def model_and_task(config: ConfigDict, spec: Any, trusted: Trusted = ()) -> tuple[nn.Module, Task]:
    """Builds the model and the task of a config for a dataset with this spec."""
    return _completed(config, model(config.model, trusted), spec, trusted)


def _completed(config: ConfigDict, network: Any, spec: Any, trusted: Trusted) -> tuple[nn.Module, Task]:
    """Builds the task, and returns it with the module that it made from ``network``."""
    build = _builder(trusted)
    named = build.named(config.task, "a task", (Task,), TASK_NAMESPACES)
    make_learner = learners.gradient_learner(config, optimizer(config, trusted))
    factory, modules = _recorded(network)
    built = named(model=factory, spec=spec, make_learner=make_learner)
    module = modules[0] if modules else tasks.complete(network, spec)
    added: dict[str, Any] = {"spec": spec, "model": module}
    if "predict" in built.endpoints:
        added["predict"] = built.endpoints["predict"].function
    if "generate" in built.endpoints:
        added["generate"] = built.endpoints["generate"].function

    def evaluator(setting: Any) -> ScheduledEvaluator:
        arguments = setting.to_dict() if isinstance(setting, ConfigDict) else setting
        names = [name for name in ("splits", "every") if arguments is not setting and name in arguments]
        schedule = {name: arguments.pop(name) for name in names}
        _check_schedule(schedule)
        named = build.named(arguments, "an evaluator", (Evaluator, ScheduledEvaluator), TASK_NAMESPACES)
        found = named(**{name: value for name, value in added.items() if named.accepts(name)})
        return (found if isinstance(found, ScheduledEvaluator) else ScheduledEvaluator(found))._replace(**schedule)

    def report(setting: Any) -> Any:
        named = build.named(setting, "a report", (), TASK_NAMESPACES)
        extra = {name: value for name, value in added.items() if named.accepts(name)}
        found = functools.partial(named.function, **{**extra, **named.arguments})
        try:
            inspect.signature(found).bind(None, None, None)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{named.name} must be a function of (variables, splits, key): {error}") from error
        return found

    evaluators = {name: evaluator(each) for name, each in config.get("evaluators", {}).items()}
    reports = {name: report(each) for name, each in config.get("reports", {}).items()}
    built = built._replace(evaluators={**built.evaluators, **evaluators}, reports={**built.reports, **reports})
    return module, learners.with_wrappers(config, built)


def _recorded(network: Any) -> tuple[Callable[..., nn.Module], list[nn.Module]]:
    """Returns a factory that appends the modules it returns to a list, and the list.

    A task may complete its model with another number of outputs than that of the spec.
    """
    modules: list[nn.Module] = []

    def factory(**sizes: Any) -> nn.Module:
        modules.append(network if isinstance(network, nn.Module) else network(**sizes))
        return modules[-1]

    any_sizes = inspect.Signature([inspect.Parameter("sizes", inspect.Parameter.VAR_KEYWORD)])
    known = any_sizes if isinstance(network, nn.Module) else inspect.signature(network)
    factory.__signature__ = known  # type: ignore[attr-defined]
    return factory, modules


def _check_schedule(schedule: Mapping[str, Any]) -> None:
    """Raises a ``UsageError`` unless ``splits`` is a list of split names and ``every`` a number of steps or None."""
    splits, every = schedule.get("splits", ()), schedule.get("every")
    if not (isinstance(splits, list | tuple) and all(isinstance(name, str) for name in splits)):
        raise UsageError(f"`splits` of an evaluator must be a list of split names, got {splits!r}")
    if every is not None and (type(every) is not int or every < 0):
        raise UsageError(f"`every` of an evaluator must be a number of steps or None, got {every!r}")


def _builder(trusted: Trusted) -> Builder:
    return Builder(trusted, lambda setting: _trained(setting, trusted))


def _trained(setting: Mapping[str, Any], trusted: Trusted) -> tasks.TrainedModel:
    """Opens a run that a config refers to, as a model with its variables."""
    folder, step = used_runs.read(setting)
    run = open_run(folder, step, trusted, "the step of a run in the config")
    variables = jax.device_get(run.variables)  # on the host, so that any devices can use them
    predict = run.task.endpoints.get("predict")
    return tasks.TrainedModel(run.model, variables, predict.function if predict else None, str(folder))


class Run(NamedTuple):
    """A trained run at one of its checkpoints.

    Attributes:
        workdir: The run folder.
        config: The config.
        spec: The spec of the data, such as a vocabulary.
        model: The Linen module.
        task: The task.
        step: The step of the checkpoint.
        variables: The variables of the model at that step.
        trusted: Packages outside jaxnets that the config may import.
    """

    workdir: Path
    config: ConfigDict
    spec: Any
    model: nn.Module
    task: Task
    step: int
    variables: Any
    trusted: Trusted = ()

    def dataset(self) -> Dataset:
        """Reads the run's data again. Raises a ``RunError`` if it is not the data that the run was trained on."""
        try:
            found = dataset(self.config, self.trusted)
        except UsageError as error:
            raise RunError(f"the data of this run: {error}") from error
        rundir.check_data(self.workdir, found)
        return found

    def inputs(self) -> Inputs | None:
        """Returns the preprocessing of raw inputs.

        Earlier versions did not save it. For their runs, the data is read again.
        """
        saved = "inputs" in rundir.read_description(self.workdir)
        return rundir.read_inputs(self.workdir) if saved else self.dataset().inputs


# Folders of the runs that are being opened, outermost first.
_opening: contextvars.ContextVar[tuple[Path, ...]] = contextvars.ContextVar("opening", default=())


def open_run(workdir: Path, step: str = "best", trusted: Trusted = (), flag: str = "--step") -> Run:
    """Opens a trained run at one of its checkpoints.

    Args:
        workdir: The run folder.
        step: ``best``, ``last`` or a number.
        trusted: Packages outside jaxnets that the config may import.
        flag: The name of ``step`` in error messages.

    Raises:
        RunError: The run or the checkpoint does not exist or cannot be read.
        UsageError: The step does not exist, or the config names a package that is not trusted.
    """
    config = rundir.load(workdir)
    spec, batch = rundir.data(workdir)
    if not (workdir / "checkpoints").is_dir():
        raise RunError(f"no checkpoint in {workdir}: train there first")
    with _not_recursive(workdir):
        network, task = model_and_task(config, spec, trusted)
    with run_errors(workdir):
        shapes = jax.eval_shape(lambda batch: initial_variables(task.learner, batch, config.seed), batch)
    if jax.process_count() > 1:  # every process reads the checkpoint
        replicated = partitioning.replicated(Mesh(jax.devices(), ("all",)))
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated), shapes)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        chosen, variables = checkpoints.restore_variables(step, shapes, flag)
    return Run(workdir, config, spec, network, task, chosen, variables, trusted)


@contextlib.contextmanager
def run_errors(workdir: Path) -> Iterator[None]:
    """Converts errors of a model, or of JAX in it, to ``RunError``, because the config may come from another person."""
    try:
        yield
    except (UsageError, RunError, MissingExtraError, OSError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:
        raise RunError(f"the model of the run in {workdir} cannot be used: {format_error(error)}") from error


@contextlib.contextmanager
def _not_recursive(workdir: Path) -> Iterator[None]:
    """Raises a ``UsageError`` if the run is being opened already, because a run must not use itself."""
    outer, folder = _opening.get(), workdir.resolve()
    if folder in outer:
        raise UsageError(f"runs use each other: {' -> '.join(map(str, (*outer, folder)))}")
    token = _opening.set((*outer, folder))
    try:
        yield
    finally:
        _opening.reset(token)
