"""From a config to what it describes: model, data, optimizer and task, with what others add to a task."""

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
from jaxnets.learning import Evaluator, Scheduled, partitioning
from jaxnets.ops.extras import MissingExtraError
from jaxnets.tasks import Task
from jaxnets.training import learners, rundir, used_runs
from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.config import OF_OPTIMIZERS
from jaxnets.training.errors import RunError, UsageError, sentence
from jaxnets.training.settings.forms import Builder
from jaxnets.training.settings.names import FAMILIES, Trusted
from jaxnets.training.state import first_variables

EVERYTHING = (*FAMILIES, "tasks", "reports", "optimizers", "evaluators")  # what arguments of a task may name


def model(spec: Mapping[str, Any] | str, trusted: Trusted = ()) -> Callable[..., nn.Module]:
    """A factory of the Linen module of ``{"name": "recurrent.CharRNN", "cell": "recurrent.lstm", "hidden": 256, ...}``.

    A task calls it with the number of values that the model is to give.

    Args:
        spec: Name and arguments, as ``settings.forms`` says.
        trusted: As in ``settings.names.resolve``.

    Raises:
        UsageError: The name or an argument is wrong, or it does not make a Linen module.
    """
    made = _builder(trusted).named(spec, "a Linen module", (nn.Module,), FAMILIES)
    if "dtype" in made.arguments:
        _check_dtype(made.name, made.arguments["dtype"])
    return made


def _check_dtype(what: str, given: Any) -> None:
    """A ``UsageError`` where something names no type of floating point numbers; Linen would tell deep within."""
    try:
        floating = jnp.issubdtype(jnp.dtype(given), jnp.floating)
    except Exception:  # NumPy parses the text, and raises whatever its parser does
        floating = False
    if not floating:
        raise UsageError(f"{what}: dtype: a type such as float32 or bfloat16 expected; given {given!r}")


def dataset(config: ConfigDict, trusted: Trusted = ()) -> Dataset:
    """The data of ``config.data``."""
    reader = _builder(trusted).named(config.data, "a dataset", (Dataset,), ("data",))
    return reader(**({"seed": config.seed} if reader.accepts("seed") else {}))


def optimizer(config: ConfigDict, trusted: Trusted = ()) -> optax.GradientTransformation:
    """The optimizer of ``config.optimizer``; one with a parameter ``steps`` gets the length of the schedule."""
    given = {key: value for key, value in config.optimizer.items() if key not in OF_OPTIMIZERS}
    made = _builder(trusted).named(given, "an optimizer", (optax.GradientTransformation,), ("optimizers",))
    steps = config.train.schedule_steps or config.train.steps
    return made(**({"steps": steps} if made.accepts("steps") else {}))


def task_name(config: ConfigDict) -> str:
    """The name of ``config.task``."""
    name: str = config.task.name
    return name


def task(config: ConfigDict, network: Any, spec: Any, trusted: Trusted = ()) -> Task:
    """The task of ``config.task`` for a model, finished or not, and data of the kind that it learns.

    The evaluators and reports of the config are added to its own.
    """
    build = _builder(trusted)
    made = build.named(config.task, "a task", (Task,), EVERYTHING)
    built = made(model=network, spec=spec, make_learner=learners.learn(config, optimizer(config, trusted)))
    added: dict[str, Any] = {"spec": spec}
    if config.get("evaluators") or config.get("reports"):
        added["model"] = tasks.complete(network, spec)
    if "predict" in built.endpoints:
        added["predict"] = built.endpoints["predict"].function

    def evaluator(given: Any) -> Scheduled:
        rest = given.to_dict() if isinstance(given, ConfigDict) else given
        schedule = {name: rest.pop(name) for name in ("splits", "every") if rest is not given and name in rest}
        _check_schedule(schedule)
        made = build.named(rest, "an evaluator", (Evaluator, Scheduled), EVERYTHING)
        found = made(**{name: value for name, value in added.items() if made.accepts(name)})
        return (found if isinstance(found, Scheduled) else Scheduled(found))._replace(**schedule)

    def report(given: Any) -> Any:
        made = build.named(given, "a report", (), EVERYTHING)
        own = {name: value for name, value in added.items() if made.accepts(name)}
        found = functools.partial(made.function, **{**own, **made.arguments})
        try:
            inspect.signature(found).bind(None, None, None)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{made.name} must be a function of (variables, splits, key): {error}") from error
        return found

    evaluators = {name: evaluator(each) for name, each in config.get("evaluators", {}).items()}
    reports = {name: report(each) for name, each in config.get("reports", {}).items()}
    return learners.wrapped(
        config,
        built._replace(evaluators={**built.evaluators, **evaluators}, reports={**built.reports, **reports}),
    )


def _check_schedule(schedule: Mapping[str, Any]) -> None:
    """Raises a ``UsageError`` unless ``splits`` are names of splits and ``every`` is a number of steps."""
    splits, every = schedule.get("splits", ()), schedule.get("every")
    if not (isinstance(splits, list | tuple) and all(isinstance(name, str) for name in splits)):
        raise UsageError(f"splits of an evaluator must be a list of names of splits, got {splits!r}")
    if every is not None and (type(every) is not int or every < 0):
        raise UsageError(f"every of an evaluator must be a number of steps, or None, got {every!r}")


def _builder(trusted: Trusted) -> Builder:
    return Builder(trusted, lambda given: _trained(given, trusted))


def _trained(given: Mapping[str, Any], trusted: Trusted) -> tasks.Trained:
    """What another run has learned."""
    folder, step = used_runs.read(given)
    run = open_run(folder, step, trusted, "the step of a run in the config")
    return tasks.Trained(run.model, jax.device_get(run.variables))  # for whatever devices use it


class Run(NamedTuple):
    """Attributes:
    workdir: Its folder.
    config: Its config.
    spec: Meaning of the numbers in its data, such as a vocabulary.
    model, task: Built from the config.
    step: The checkpoint's.
    variables: The model's at that step.
    trusted: Packages outside jaxnets that its config may name.
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
        """The run's data, read again; a ``RunError`` where it is no longer what the run learned from."""
        try:
            found = dataset(self.config, self.trusted)
        except UsageError as error:
            raise RunError(f"the data of this run: {error}") from error
        rundir.check_data(self.workdir, found)
        return found

    def inputs(self) -> Inputs | None:
        """What became of raw inputs. An earlier version did not save this: then the data is read again."""
        saved = "inputs" in rundir.described(self.workdir)
        return rundir.inputs(self.workdir) if saved else self.dataset().inputs


_within: contextvars.ContextVar[tuple[Path, ...]] = contextvars.ContextVar("within", default=())


def open_run(workdir: Path, step: str = "best", trusted: Trusted = (), flag: str = "--step") -> Run:
    """The run in a folder at one of its checkpoints.

    Args:
        workdir: Its folder.
        step: ``best``, ``last`` or a number.
        trusted: Packages outside jaxnets that its config may name.
        flag: What ``step`` is called in messages.

    Raises:
        RunError: There is no run or no checkpoint, or it cannot be read.
        UsageError: No such step, or something that must not be imported.
    """
    config = rundir.load(workdir)
    spec, batch = rundir.data(workdir)
    if not (workdir / "checkpoints").is_dir():
        raise RunError(f"no checkpoint in {workdir}: train there first")
    with _entered(workdir):
        network, made = described(config, spec, trusted)
    with built(workdir):
        shapes = jax.eval_shape(lambda batch: first_variables(made.learner, batch, config.seed), batch)
    if jax.process_count() > 1:  # each of them must read it
        whole = partitioning.everywhere(Mesh(jax.devices(), ("all",)))
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), shapes)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        chosen, variables = checkpoints.restore_variables(step, shapes, flag)
    return Run(workdir, config, spec, network, made, chosen, variables, trusted)


def described(config: ConfigDict, spec: Any, trusted: Trusted = ()) -> tuple[nn.Module, Task]:
    """The model and the task of a config, for data of this meaning."""
    network = tasks.complete(model(config.model, trusted), spec)
    return network, task(config, network, spec, trusted)


@contextlib.contextmanager
def built(workdir: Path) -> Iterator[None]:
    """Within it, what a model or JAX below it raises is a ``RunError``: its config may come from somebody else."""
    try:
        yield
    except (UsageError, RunError, MissingExtraError, OSError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:
        raise RunError(f"the model of the run in {workdir} cannot be used: {sentence(error)}") from error


@contextlib.contextmanager
def _entered(workdir: Path) -> Iterator[None]:
    """Within it, a run that is opened must not be one that is being opened already."""
    inside, folder = _within.get(), workdir.resolve()
    if folder in inside:
        raise UsageError(f"runs that use each other: {' -> '.join(map(str, (*inside, folder)))}")
    token = _within.set((*inside, folder))
    try:
        yield
    finally:
        _within.reset(token)
