"""The training loop: one for every task."""

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxnets.data import Dataset
from jaxnets.tasks import Task
from jaxnets.training import build, processes, sharding
from jaxnets.training.checkpoints import Checkpoints
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.interruption import Interruption
from jaxnets.training.metrics import MetricWriter, draw_curves, save_figure
from jaxnets.training.optimizer import OPTIMIZERS
from jaxnets.training.processes import Agreement
from jaxnets.training.progress import Progress
from jaxnets.training.sharding import Share
from jaxnets.training.state import SAMPLE, State, create, in_use, key_for, make_step

TIME_IS_UP = 1  # a wish to end that is no signal: those begin with 2
SECONDS_BETWEEN_CURVES = 60  # while a run goes on; at its end they are drawn anyway
READING = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)


class Outcome(NamedTuple):
    """Attributes:
    step: Updates done.
    signal: What interrupted the run, or None.
    variables: The model's, at the end.
    """

    step: int
    signal: int | None
    variables: Any


class Compiled(NamedTuple):
    """The jitted functions of a run."""

    mesh: Mesh
    step: Callable
    evaluate: Callable
    abstract: State  # shapes of the state and where its arrays lie
    create: Callable[[], State]
    train: Share
    validation: Share
    items: int  # what a training batch counts in the speed that is reported


def compile_run(config: ConfigDict, dataset: Dataset, task: Task) -> Compiled:
    """Builds what a run computes with; what does not fit together is told here, before anything is compiled."""
    batch = dataset.train[0]
    settings = config.train
    if settings.minutes < 0:
        raise UsageError(f"--config.train.minutes={settings.minutes}: not below 0 expected; 0 is no limit")
    rows = sharding.count_rows(batch)
    if settings.accumulate < 1 or rows % settings.accumulate:
        raise UsageError(f"--config.train.accumulate={settings.accumulate}: a divisor of the batch of {rows} expected")
    for name in ("steps", "evaluate_every", "log_every"):
        if settings[name] < 1:
            raise UsageError(f"--config.train.{name}={settings[name]}: at least 1 expected")
    transform, average = _optimizer(settings.steps, config.optimizer)
    mesh = sharding.make_mesh(config.devices, rows // settings.accumulate)
    try:
        initialise = lambda: create(task, transform, batch, config.seed, average)
        shapes = jax.eval_shape(initialise)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
    own = dataset if jax.process_count() == 1 else dataset.part(lambda count: sharding.rows_here(mesh, count))
    there = _shardings(mesh, shapes, config.devices.fully_sharded)
    whole = sharding.everywhere(mesh)
    update = make_step(task, transform, config.seed, settings.accumulate, average)
    return Compiled(
        mesh=mesh,
        step=jax.jit(update, donate_argnums=0, out_shardings=(there, whole)),
        evaluate=jax.jit(sharding.by_rows(task.evaluate), out_shardings=(whole, None)),
        abstract=jax.tree.map(lambda a, at: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=at), shapes, there),
        create=jax.jit(initialise, out_shardings=there),
        train=Share(own.train, rows, mesh),
        validation=Share(own.validation, sharding.count_rows(dataset.validation[0]), mesh),
        items=task.items(batch),
    )


def _shardings(mesh: Mesh, state: State, fully: bool) -> State:
    """Where the arrays of a state lie."""
    whole: Any = sharding.everywhere(mesh)
    variables, optimizer = sharding.of_parameters(mesh, (state.variables, state.optimizer), fully)
    return State(whole, variables, optimizer, sharding.of_rows(mesh, state.carry))


def _optimizer(steps: int, config: ConfigDict) -> tuple[Any, float]:
    """The optimiser, and the decay of the average of parameters."""
    arguments = dict(config)
    average = arguments.pop("average", 0.0)
    if not 0 <= average < 1:
        raise UsageError(f"--config.optimizer.average={average}: from 0 to below 1 expected; 0 keeps no average")
    name = arguments.pop("name", "adamw")
    if name not in OPTIMIZERS:
        raise UsageError(f"--config.optimizer.name={name}: one of {', '.join(OPTIMIZERS)} expected")
    return build.call(f"the optimizer {name}", OPTIMIZERS[name], {"steps": steps, **arguments}), average


def evaluate(task: Task, compiled: Callable, variables: Any, share: Share) -> dict[str, float]:
    """Mean metrics over batches, and what the task derives from them.

    Args:
        task: What is measured.
        compiled: ``jax.jit(task.evaluate)``.
        variables: The model's.
        share: The batches; what ``carry`` has is of one shape.
    """
    sums: dict[str, list[float]] = {}
    carry = None
    # By itself a map dataset reads 500 batches ahead, gigabytes of images.
    for batch in map(share.put, share.batches.to_iter_dataset(READING)):
        if carry is None:
            zeros = jax.eval_shape(compiled, variables, batch, None)[1]
            nothing = lambda zeros=zeros: jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), zeros)
            carry = jax.jit(nothing, out_shardings=sharding.of_rows(share.mesh, zeros))()
        metrics, carry = sharding.settled(compiled(variables, batch, carry))
        for name, (total, number) in metrics.items():
            row = sums.setdefault(name, [0.0, 0.0])
            row[0] += float(total)
            row[1] += float(number)
    means = {name: total / number for name, (total, number) in sums.items()}
    return {**means, **{name: derived(means) for name, derived in task.derive.items()}}


def train(config: ConfigDict, workdir: Path, dataset: Dataset, task: Task, compiled: Compiled) -> Outcome:
    """Trains until the steps or minutes of the config, or a signal; goes on from the last checkpoint in ``workdir``.

    Raises:
        RunError: The loss or its gradient is not finite, or something cannot be written. Checkpoints stay.
    """
    settings = config.train
    batches = iter(compiled.train.batches.to_iter_dataset(READING))
    agree = Agreement(compiled.mesh)
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        state, step = _begin(checkpoints, compiled, batches)
        if step >= settings.steps:
            return Outcome(step, None, processes.whole(in_use(state.variables)))
        with Interruption() as interruption, _writer(workdir, step) as writer:
            progress = Progress(settings, task, step, writer)
            deadline = time.monotonic() + settings.minutes * 60 if settings.minutes else math.inf
            drawn = time.monotonic()
            pending = None
            while True:
                batch = next(batches)
                state, metrics = sharding.settled(compiled.step(state, compiled.train.put(batch)))
                step += 1
                checkpoints.check()
                # The numbers of the step before are read while this one runs.
                if pending is not None:
                    _read(progress, checkpoints, *pending)
                pending = (step, metrics, compiled.items)
                asked = agree(interruption.signal or (TIME_IS_UP if time.monotonic() >= deadline else 0))
                over = step >= settings.steps or asked > 0
                if not over and step % settings.evaluate_every:
                    continue
                _read(progress, checkpoints, *pending)
                pending = None
                paused = time.monotonic()
                validation = None
                if asked <= TIME_IS_UP or step % settings.evaluate_every == 0 or step >= settings.steps:
                    variables = in_use(state.variables)
                    found = evaluate(task, compiled.evaluate, variables, compiled.validation)
                    validation = {f"val/{name}": value for name, value in found.items()}
                    _check_finite(step, "val/loss", validation["val/loss"], checkpoints)
                    progress.evaluated(step, validation)
                checkpoints.save(step, state, batches.get_state(), validation)
                if writer is not None and time.monotonic() - drawn > SECONDS_BETWEEN_CURVES:
                    draw_curves(workdir, task)
                    drawn = time.monotonic()
                progress.exclude(time.monotonic() - paused)
                if over:
                    break
            progress.close()
            checkpoints.wait()
        signal = asked if asked > TIME_IS_UP else None
        variables = processes.whole(in_use(state.variables))
        if signal is None and writer is not None:  # after a signal somebody waits for the end
            _draw(workdir, dataset, task, variables)
        return Outcome(step, signal, variables)


def _begin(checkpoints: Checkpoints, compiled: Compiled, batches: Any) -> tuple[State, int]:
    """The state and step of the last checkpoint, with the data at its place, or a fresh state."""
    found = checkpoints.restore(compiled.abstract)
    if found is None:
        return sharding.settled(compiled.create()), 0
    step, state, position = found
    batches.set_state(position)
    return state, step


def _writer(workdir: Path, step: int) -> Any:
    """What the first process writes a run's numbers with; None in the others."""
    return MetricWriter(workdir, step) if processes.is_first() else contextlib.nullcontext()


def _read(progress: Progress, checkpoints: Checkpoints, step: int, metrics: dict, items: int):
    """Waits for the numbers of a step, stops the run where one is not finite, and passes them on."""
    numbers = {f"train/{name}": float(metrics[name]) for name in ("loss", "gradient_norm")}
    for name, value in numbers.items():
        _check_finite(step, name, value, checkpoints)
    progress.note(step, numbers, items)


def _check_finite(step: int, name: str, value: float, checkpoints: Checkpoints) -> None:
    if math.isfinite(value):
        return
    checkpoints.wait()
    good = max(checkpoints.steps(), default=None)
    kept = f"the checkpoint of step {good} is kept" if good is not None else "no checkpoint was made before"
    raise RunError(
        f"{name} is {value} at step {step}; stopped, {kept}. "
        "A smaller --config.optimizer.learning_rate or --config.optimizer.clip may help"
    )


def _draw(workdir: Path, dataset: Dataset, task: Task, variables: Any) -> None:
    draw_curves(workdir, task)
    for name, figure in task.draw(variables, dataset.validation).items():
        save_figure(workdir, name, figure)


def sample(config: ConfigDict, task: Task, outcome: Outcome) -> str | None:
    """What the trained model makes, drawn with the run's seed; None where it makes nothing."""
    return task.sample and task.sample(outcome.variables, key_for(config.seed, outcome.step, SAMPLE))
