"""The compiled functions of a run, built from its config: nothing here runs yet."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxnets.data import Dataset
from jaxnets.learning import evaluators, partitioning
from jaxnets.learning.evaluators import Evaluator, Measure
from jaxnets.learning.partitioning import count_rows
from jaxnets.tasks import Task
from jaxnets.training import learners
from jaxnets.training.distributed import sharding
from jaxnets.training.distributed.sharding import Share
from jaxnets.training.errors import RunError, UsageError, sentence
from jaxnets.training.nan_policy import POLICIES
from jaxnets.training.state import MEASURE, State, create, key_for, make_step


class Compiled(NamedTuple):
    """The jitted functions of a run."""

    mesh: Mesh
    step: Callable
    evaluators: dict[str, Measure]
    abstract: State  # shapes of the state and where its arrays lie
    create: Callable[..., State]  # of variables to begin with, or None
    observe: Callable[[State, Any], tuple[State, dict[str, jax.Array]]] | None
    renewed: Callable[[State], State]  # with the rows of its state at zero, as where a run begins
    train: Share
    splits: dict[str, Share]
    items: int  # what a training batch counts in the speed that is reported


def compile_run(config: ConfigDict, dataset: Dataset, task: Task) -> Compiled:
    """Builds the functions of a run; what does not fit together is an error here, before anything is compiled."""
    batch = dataset.train[0]
    settings, rows = config.train, count_rows(batch)
    _check(settings, rows)
    learner = task.learner
    mesh = sharding.make_mesh(config.devices, rows // settings.grad_accum_steps)
    initialize = lambda variables=None: create(learner, batch, config.seed, variables)
    try:
        shapes = jax.eval_shape(initialize)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except (UsageError, RunError):
        raise
    except Exception as error:  # a size that only NumPy or JAX refuses, deep within
        raise UsageError(f"{config.model.name}: {sentence(error)}") from error
    learners.check_frozen(config, learner.variables(shapes.learner))
    layout: Any = State(
        "replicated",  # type: ignore[arg-type]
        learner.layout(shapes.learner),
    )
    there = partitioning.of_layout(mesh, task.partition_rules, layout, shapes, config.devices.fsdp)
    whole = partitioning.everywhere(mesh)
    train, splits = _shares(dataset, mesh)
    ruled = lambda f: partitioning.with_rules(task.partition_rules, f)

    def observe(state: State, metrics: dict[str, float]) -> tuple[State, dict[str, jax.Array]]:
        assert learner.observe is not None
        new, told = learner.observe(state.learner, metrics)
        return state._replace(learner=new), told

    def renewed(state: State) -> State:
        anew = lambda name, part: jax.tree.map(jax.numpy.zeros_like, part) if name == "rows" else part
        return jax.tree.map(anew, layout, state)

    return Compiled(
        mesh=mesh,
        step=jax.jit(ruled(make_step(learner, config.seed)), donate_argnums=0, out_shardings=(there, whole)),
        evaluators={name: compiled(each.evaluator, mesh, ruled) for name, each in task.evaluators.items()},
        abstract=jax.tree.map(lambda a, at: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=at), shapes, there),
        create=jax.jit(initialize, out_shardings=there),
        observe=jax.jit(observe, donate_argnums=0, out_shardings=(there, whole)) if learner.observe else None,
        renewed=jax.jit(renewed, donate_argnums=0, out_shardings=there),
        train=train,
        splits=splits,
        items=task.items.number(batch),
    )


def compiled(evaluator: Evaluator, mesh: Mesh, ruled: Callable[[Callable], Callable] = lambda f: f) -> Measure:
    """The compiled functions of an evaluator; its outputs are whole on all devices."""

    placed: dict[Any, Callable] = {}  # traced once for each shape of a batch: it may trace the whole model

    def init(variables: Any, batch: Any) -> Any:
        key = tuple(leaf.shape for leaf in jax.tree.leaves(batch))
        if key not in placed:
            shapes = jax.eval_shape(evaluator.init, variables, batch)
            placed[key] = jax.jit(evaluator.init, out_shardings=partitioning.of_rows(mesh, shapes))
        return placed[key](variables, batch)

    measure = ruled(partitioning.by_rows(evaluator.measure))
    jitted = jax.jit(measure, out_shardings=(partitioning.everywhere(mesh), None))
    return Measure(evaluator, init, lambda *arguments: sharding.settled(jitted(*arguments)))


def evaluate(
    measures: dict[str, Measure], variables: Any, splits: dict[str, Share], seed: int, names: dict[str, tuple[str, ...]]
) -> dict[str, float]:
    """The metrics of evaluators.

    Args:
        measures: By name.
        variables: The model's.
        splits: Batches by name.
        seed: Of the run.
        names: By evaluator, the splits that it measures.
    """
    found: dict[str, float] = {}
    for name, splits_of in names.items():
        there = {split: splits[split].on_devices() for split in splits_of if split in splits}
        found |= evaluators.run(measures[name], variables, there, lambda number: key_for(seed, number, MEASURE))
    return found


def evaluate_run(task: Task, variables: Any, dataset: Dataset, split: str, seed: int) -> dict[str, float]:
    """All metrics of trained variables, on the first device, with a split in place of ``validation``."""
    return evaluate_splits(task, variables, dataset, [split], list(task.evaluators), seed)[split]


def evaluate_splits(
    task: Task, variables: Any, dataset: Dataset, splits: Sequence[str], names: Sequence[str], seed: int
) -> dict[str, dict[str, float]]:
    """By split, the metrics of some evaluators, on the first device, with the split in place of ``validation``."""
    batches = {name: sharding.on_one_device(part) for name, part in dataset.held_out.items()}
    mesh = next(iter(batches.values())).mesh
    measures = {name: compiled(task.evaluators[name].evaluator, mesh) for name in names}
    found = {}
    for split in splits:
        replaced = {
            name: tuple(split if each == "validation" else each for each in task.evaluators[name].splits)
            for name in names
        }
        found[split] = evaluate(measures, variables, batches, seed, replaced)
    return found


LEAST = {
    "steps": 1,
    "schedule_steps": 0,
    "report_every": 0,
    "evaluate_every": 1,
    "log_every": 1,
    "nan_limit": 1,
    "max_to_keep": 1,
    "keep_period": 0,
}


def _check(settings: ConfigDict, rows: int) -> None:
    """A ``UsageError`` where something in ``config.train`` is out of range."""
    if settings.max_minutes < 0:
        raise UsageError(
            f"--config.train.max_minutes must be at least 0, which is no limit, got {settings.max_minutes}"
        )
    if settings.grad_accum_steps < 1 or rows % settings.grad_accum_steps:
        raise UsageError(
            f"--config.train.grad_accum_steps must divide the batch of {rows}, got {settings.grad_accum_steps}"
        )
    if settings.nan_policy not in POLICIES:
        raise UsageError(f"--config.train.nan_policy must be one of {', '.join(POLICIES)}, got {settings.nan_policy}")
    for name, number in LEAST.items():
        if settings[name] < number:
            raise UsageError(f"--config.train.{name} must be at least {number}, got {settings[name]}")


def _shares(dataset: Dataset, mesh: Mesh) -> tuple[Share, dict[str, Share]]:
    """The batches that this process reads to train, and those of the other splits."""
    if jax.process_count() == 1:
        return Share(dataset.train, mesh), {name: Share(part, mesh) for name, part in dataset.held_out.items()}
    own = dataset.part(lambda count: sharding.rows_here(mesh, count))
    count = lambda batches: count_rows(batches[0])
    shared = {name: Share(part, mesh, count(dataset.splits[name])) for name, part in own.held_out.items()}
    return Share(own.train, mesh, count(dataset.train)), shared
