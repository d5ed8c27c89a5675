"""What a run computes with, built from its config: nothing here runs yet."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxnets.data import Dataset
from jaxnets.tasks import Task
from jaxnets.training import build
from jaxnets.training.distributed import sharding
from jaxnets.training.distributed.sharding import Share
from jaxnets.training.errors import RunError, UsageError, sentence
from jaxnets.training.not_finite import POLICIES
from jaxnets.training.optimizer import OPTIMIZERS, on_plateau
from jaxnets.training.parameters import matching, named
from jaxnets.training.state import State, create, first_variables, make_step


class Compiled(NamedTuple):
    """The jitted functions of a run."""

    mesh: Mesh
    step: Callable
    evaluate: Callable
    abstract: State  # shapes of the state and where its arrays lie
    create: Callable[[], State]
    measured: Callable[[Any, float], tuple[Any, jax.Array]] | None  # that of ``on_plateau``, where there is one
    train: Share
    validation: Share
    items: int  # what a training batch counts in the speed that is reported


def compile_run(config: ConfigDict, dataset: Dataset, task: Task) -> Compiled:
    """Builds what a run computes with; what does not fit together is told here, before anything is compiled."""
    batch = dataset.train[0]
    settings, rows = config.train, sharding.count_rows(batch)
    _check(settings, rows)
    transform, measured = _optimizer(settings.steps, config.optimizer)
    average, frozen = config.optimizer.average, config.optimizer.frozen
    mesh = sharding.make_mesh(config.devices, rows // settings.accumulate)
    try:
        if frozen:
            params = jax.eval_shape(lambda: first_variables(task, batch, config.seed)["params"])
            matching("optimizer.frozen", frozen, named({"params": params}))
        initialise = lambda: create(task, transform, batch, config.seed, average, frozen)
        shapes = jax.eval_shape(initialise)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except (UsageError, RunError):
        raise
    except Exception as error:  # a size that only NumPy or JAX refuses, deep within
        raise UsageError(f"{config.model.name}: {sentence(error)}") from error
    train, validation = _shares(dataset, mesh)
    there = _shardings(mesh, shapes, config.devices.fully_sharded)
    whole = sharding.everywhere(mesh)
    skip = settings.not_finite == "skip"
    update = make_step(task, transform, config.seed, settings.accumulate, average, skip, frozen)
    return Compiled(
        mesh=mesh,
        step=jax.jit(update, donate_argnums=0, out_shardings=(there, whole)),
        evaluate=jax.jit(sharding.by_rows(task.evaluate), out_shardings=(whole, None)),
        abstract=jax.tree.map(lambda a, at: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=at), shapes, there),
        create=jax.jit(initialise, out_shardings=there),
        measured=measured and jax.jit(measured, donate_argnums=0, out_shardings=(there.optimizer, whole)),
        train=train,
        validation=validation,
        items=task.items(batch),
    )


LEAST = {"steps": 1, "evaluate_every": 1, "log_every": 1, "not_finite_limit": 1, "keep": 1, "keep_every": 0}


def _check(settings: ConfigDict, rows: int) -> None:
    """A ``UsageError`` where something in ``config.train`` is out of range."""
    if settings.minutes < 0:
        raise UsageError(f"--config.train.minutes={settings.minutes}: not below 0 expected; 0 is no limit")
    if settings.accumulate < 1 or rows % settings.accumulate:
        raise UsageError(f"--config.train.accumulate={settings.accumulate}: a divisor of the batch of {rows} expected")
    if settings.not_finite not in POLICIES:
        raise UsageError(f"--config.train.not_finite={settings.not_finite}: one of {', '.join(POLICIES)} expected")
    for name, number in LEAST.items():
        if settings[name] < number:
            raise UsageError(f"--config.train.{name}={settings[name]}: at least {number} expected")


def _shares(dataset: Dataset, mesh: Mesh) -> tuple[Share, Share]:
    """What this process reads to train and to validate."""
    if jax.process_count() == 1:
        return Share(dataset.train, mesh), Share(dataset.validation, mesh)
    own = dataset.part(lambda count: sharding.rows_here(mesh, count))
    count = lambda batches: sharding.count_rows(batches[0])
    return Share(own.train, mesh, count(dataset.train)), Share(own.validation, mesh, count(dataset.validation))


def _shardings(mesh: Mesh, state: State, fully: bool) -> State:
    """Where the arrays of a state lie."""
    whole: Any = sharding.everywhere(mesh)
    variables, optimizer = sharding.of_parameters(mesh, (state.variables, state.optimizer), fully)
    return State(whole, variables, optimizer, sharding.of_rows(mesh, state.carry))


def _optimizer(steps: int, config: ConfigDict) -> tuple[Any, Callable | None]:
    """The optimiser, and what it learns from a validation loss."""
    others = ("name", "average", "frozen", "plateau", "patience")
    arguments = {key: value for key, value in config.items() if key not in others}
    if not 0 <= config.average < 1:
        raise UsageError(f"--config.optimizer.average={config.average}: from 0 to below 1 expected; 0 keeps no average")
    name = config.get("name", "adamw")
    if name not in OPTIMIZERS:
        raise UsageError(f"--config.optimizer.name={name}: one of {', '.join(OPTIMIZERS)} expected")
    transform = build.call(f"the optimizer {name}", OPTIMIZERS[name], {"steps": steps, **arguments})
    if not config.plateau:
        return transform, None
    reduction = {"transform": transform, "plateau": config.plateau, "patience": config.patience}
    return build.call("the plateau", on_plateau, reduction)
