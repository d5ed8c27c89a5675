"""Jitted functions of a run."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxnets.data import Dataset
from jaxnets.learning import evaluators, partitioning
from jaxnets.learning.evaluators import CompiledEvaluator, Evaluator
from jaxnets.learning.partitioning import count_rows
from jaxnets.tasks import Task
from jaxnets.training import learners
from jaxnets.training.distributed import sharding
from jaxnets.training.distributed.sharding import ProcessBatches
from jaxnets.training.errors import RunError, UsageError, format_error
from jaxnets.training.nan_policy import POLICIES
from jaxnets.training.state import MEASURE, State, create, key_for, make_step


class Compiled(NamedTuple):
    """The jitted functions of a run and its batches.

    Attributes:
        mesh: The device mesh.
        step: ``(state, batch) -> (state, metrics)``.
        evaluators: The evaluators of the task.
        abstract: Shapes and shardings of the state.
        create: ``(variables or None) -> state``, the initial state.
        observe: ``(state, metrics) -> (state, metrics)``, as in ``Learner``, or None.
        reset_carry: ``state -> state`` with the initial carry, zeros.
        train: The training batches.
        splits: The batches of the other splits.
        items: Number of items in a training batch, for the throughput.
    """

    mesh: Mesh
    step: Callable
    evaluators: dict[str, CompiledEvaluator]
    abstract: State
    create: Callable[..., State]
    observe: Callable[[State, Any], tuple[State, dict[str, jax.Array]]] | None
    reset_carry: Callable[[State], State]
    train: ProcessBatches
    splits: dict[str, ProcessBatches]
    items: int


def compile_run(config: ConfigDict, dataset: Dataset, task: Task) -> Compiled:
    """Builds the jitted functions of a run.

    Raises:
        UsageError: A setting is out of range, or model, data and task do not fit together. It is raised before
            anything is compiled.
    """
    batch = dataset.train[0]
    settings, rows = config.train, count_rows(batch)
    _check(settings, rows)
    learner = task.learner
    learners.check_full_batch(config, learner, rows, dataset.train_rows)
    mesh = sharding.make_mesh(config.devices, rows // settings.grad_accum_steps)
    initialize = lambda variables=None: create(learner, batch, config.seed, variables)
    try:
        shapes = jax.eval_shape(initialize)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except (UsageError, RunError):
        raise
    except Exception as error:  # an invalid size can raise any error of NumPy or JAX
        raise UsageError(f"{config.model.name}: {format_error(error)}") from error
    learners.check_frozen(config, learner.variables(shapes.learner))
    layout: Any = State(
        "replicated",  # type: ignore[arg-type]
        learner.layout(shapes.learner),
    )
    shardings = partitioning.layout_shardings(mesh, task.partition_rules, layout, shapes, config.devices.fsdp)
    replicated = partitioning.replicated(mesh)
    train, splits = _process_batches(dataset, mesh)
    with_rules = lambda f: partitioning.with_partition_rules(task.partition_rules, f)
    step = with_rules(make_step(learner, config.seed))

    def observe(state: State, metrics: dict[str, float]) -> tuple[State, dict[str, jax.Array]]:
        assert learner.observe is not None
        new, logged = learner.observe(state.learner, metrics)
        return state._replace(learner=new), logged

    def reset_carry(state: State) -> State:
        reset = lambda name, part: jax.tree.map(jax.numpy.zeros_like, part) if name == "rows" else part
        return jax.tree.map(reset, layout, state)

    return Compiled(
        mesh=mesh,
        step=jax.jit(step, donate_argnums=0, out_shardings=(shardings, replicated)),
        evaluators={
            name: compile_evaluator(scheduled.evaluator, mesh, with_rules)
            for name, scheduled in task.evaluators.items()
        },
        abstract=jax.tree.map(lambda a, at: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=at), shapes, shardings),
        create=jax.jit(initialize, out_shardings=shardings),
        observe=jax.jit(observe, donate_argnums=0, out_shardings=(shardings, replicated)) if learner.observe else None,
        reset_carry=jax.jit(reset_carry, donate_argnums=0, out_shardings=shardings),
        train=train,
        splits=splits,
        items=task.items.number(batch),
    )


def compile_evaluator(
    evaluator: Evaluator, mesh: Mesh, with_rules: Callable[[Callable], Callable] = lambda f: f
) -> CompiledEvaluator:
    """Jits the functions of an evaluator. The outputs of ``measure`` are replicated on all devices."""

    init_by_shape: dict[Any, Callable] = {}  # ``init`` may trace the whole model, so it is traced once per batch shape

    def init(variables: Any, batch: Any) -> Any:
        key = tuple(leaf.shape for leaf in jax.tree.leaves(batch))
        if key not in init_by_shape:
            shapes = jax.eval_shape(evaluator.init, variables, batch)
            init_by_shape[key] = jax.jit(evaluator.init, out_shardings=partitioning.row_shardings(mesh, shapes))
        return init_by_shape[key](variables, batch)

    measure = with_rules(partitioning.with_row_sharding(evaluator.measure))
    jitted = jax.jit(measure, out_shardings=(partitioning.replicated(mesh), None))
    return CompiledEvaluator(evaluator, init, lambda *arguments: sharding.block_if_simulated(jitted(*arguments)))


def evaluate(
    compiled: dict[str, CompiledEvaluator],
    variables: Any,
    splits: dict[str, ProcessBatches],
    seed: int,
    splits_by_name: dict[str, tuple[str, ...]],
) -> dict[str, float]:
    """Computes the metrics of evaluators.

    Args:
        compiled: The evaluators by name.
        variables: The variables of the model.
        splits: The batches of each split.
        seed: The seed of the run.
        splits_by_name: The names of the splits of each evaluator to run.
    """
    metrics: dict[str, float] = {}
    for name, split_names in splits_by_name.items():
        batches = {split: splits[split].on_devices() for split in split_names if split in splits}
        metrics |= evaluators.run(compiled[name], variables, batches, lambda index: key_for(seed, index, MEASURE))
    return metrics


def evaluate_run(task: Task, variables: Any, dataset: Dataset, split: str, seed: int) -> dict[str, float]:
    """Computes all metrics of trained variables on the first device, with ``split`` instead of ``validation``."""
    return evaluate_splits(task, variables, dataset, [split], list(task.evaluators), seed)[split]


def evaluate_splits(
    task: Task, variables: Any, dataset: Dataset, splits: Sequence[str], names: Sequence[str], seed: int
) -> dict[str, dict[str, float]]:
    """Computes metrics on the first device, once for each split.

    The split is used instead of ``validation`` by evaluators that do not name it. One that names it receives all of its
    splits, such as the validation split for a threshold; its metrics of another requested split are listed there.

    Args:
        task: The task with its evaluators.
        variables: The variables of the model.
        dataset: The dataset.
        splits: Names of splits.
        names: Names of evaluators.
        seed: The seed of the run.

    Returns:
        ``{split: metrics}``.
    """
    batches = {name: sharding.single_device(split) for name, split in dataset.held_out.items()}
    mesh = next(iter(batches.values())).mesh
    if dataset.train_rows and any("train" in task.evaluators[name].splits for name in names):
        epoch = max(dataset.train_rows // count_rows(dataset.train[0]), 1)
        batches["train"] = sharding.single_device(dataset.train[:epoch])
    compiled = {name: compile_evaluator(task.evaluators[name].evaluator, mesh) for name in names}
    metrics = {}
    for split in splits:
        used = {}
        for name in names:
            of_task = task.evaluators[name].splits
            replaced = tuple(split if default == "validation" else default for default in of_task)
            used[name] = of_task if split in of_task else replaced
        found = evaluate(compiled, variables, batches, seed, used)
        others = tuple(f"{other}/" for other in splits if other != split)
        metrics[split] = {name: value for name, value in found.items() if not name.startswith(others)}
    return metrics


MINIMUMS = {
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
    """Raises a ``UsageError`` if a value in ``config.train`` is out of range."""
    if settings.max_minutes < 0:
        raise UsageError(f"--config.train.max_minutes must be at least 0 (0: no limit), got {settings.max_minutes}")
    if settings.grad_accum_steps < 1 or rows % settings.grad_accum_steps:
        raise UsageError(
            f"--config.train.grad_accum_steps must divide the batch size {rows}, got {settings.grad_accum_steps}"
        )
    if settings.nan_policy not in POLICIES:
        raise UsageError(f"--config.train.nan_policy must be one of {', '.join(POLICIES)}, got {settings.nan_policy}")
    for name, minimum in MINIMUMS.items():
        if settings[name] < minimum:
            raise UsageError(f"--config.train.{name} must be at least {minimum}, got {settings[name]}")


def _process_batches(dataset: Dataset, mesh: Mesh) -> tuple[ProcessBatches, dict[str, ProcessBatches]]:
    """Returns the training batches of this process, and its batches of the other splits."""
    if jax.process_count() == 1:
        held_out = {name: ProcessBatches(split, mesh) for name, split in dataset.held_out.items()}
        return ProcessBatches(dataset.train, mesh), held_out
    local = dataset.part(lambda batch_size: sharding.local_rows(mesh, batch_size))
    batch_size = lambda batches: count_rows(batches[0])
    held_out = {
        name: ProcessBatches(split, mesh, batch_size(dataset.splits[name])) for name, split in local.held_out.items()
    }
    return ProcessBatches(local.train, mesh, batch_size(dataset.train)), held_out
