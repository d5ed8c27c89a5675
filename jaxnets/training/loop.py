"""The training loop: one for every task."""

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
from ml_collections import ConfigDict

from jaxnets.data import Dataset
from jaxnets.tasks import Task
from jaxnets.training import not_finite
from jaxnets.training.checkpointing.beginning import begin
from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.compiled import Compiled
from jaxnets.training.distributed import processes, sharding
from jaxnets.training.distributed.processes import Agreement
from jaxnets.training.distributed.sharding import Share
from jaxnets.training.errors import RunError
from jaxnets.training.interruption import Interruption
from jaxnets.training.not_finite import NotFinite
from jaxnets.training.reporting.metrics import MetricWriter, draw_curves, save_figure
from jaxnets.training.reporting.profile import Profile
from jaxnets.training.reporting.progress import Progress
from jaxnets.training.state import SAMPLE, State, in_use, key_for

TIME_IS_UP = 1  # a wish to end; larger ones are 1 + the number of a signal
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


class Run(NamedTuple):
    """What a run goes on with."""

    settings: ConfigDict  # config.train
    workdir: Path
    task: Task
    compiled: Compiled
    batches: Any
    checkpoints: Checkpoints
    progress: Progress
    writer: MetricWriter | None
    profile: Profile
    asked: Callable[[], int]  # the largest wish of all processes to end: 0, TIME_IS_UP or more


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


def train(
    config: ConfigDict, workdir: Path, dataset: Dataset, task: Task, compiled: Compiled, profiled: int = 0
) -> Outcome:
    """Trains until the steps or minutes of the config, or a signal; goes on from the last checkpoint in ``workdir``.

    The first process traces as many steps as are to be ``profiled``.

    Raises:
        RunError: The loss or its gradient is not finite and the config does not pass over it, or something cannot be
            written. Checkpoints stay.
    """
    settings = config.train
    batches = iter(compiled.train.batches.to_iter_dataset(READING))
    agree = Agreement(compiled.mesh)
    with Checkpoints(workdir / "checkpoints", keep=settings.keep, keep_every=settings.keep_every) as checkpoints:
        state, step, skipped = _begin(settings, checkpoints, compiled, batches)
        if step >= settings.steps:
            return Outcome(step, None, processes.whole(in_use(state.variables)))
        profile = Profile(workdir / "profile", profiled if processes.is_first() else 0)
        with Interruption() as interruption, _writer(workdir, step) as writer, profile:
            deadline = time.monotonic() + settings.minutes * 60 if settings.minutes else math.inf
            own = lambda: 1 + interruption.signal if interruption.signal else int(time.monotonic() >= deadline)
            asked = lambda: agree(own())
            progress = Progress(settings, task, step, writer, skipped)
            run = Run(settings, workdir, task, compiled, batches, checkpoints, progress, writer, profile, asked)
            state, step, wish = _to_the_end(run, state, step)
            progress.close()
            checkpoints.wait()
        signal = wish - 1 if wish > TIME_IS_UP else None
        variables = processes.whole(in_use(state.variables))
        if signal is None and writer is not None:  # after a signal somebody waits for the end
            _draw(workdir, dataset, task, variables)
        return Outcome(step, signal, variables)


def _to_the_end(run: Run, state: State, step: int) -> tuple[State, int, int]:
    """Advances, and goes back to the last checkpoint and on from it where the config says so."""
    back_to, times = None, 0
    while True:
        try:
            return _advance(run, state, step)
        except NotFinite as error:
            run.checkpoints.wait()
            because, position = str(error), error.position
            good = max(run.checkpoints.steps(), default=0)
            back_to, times = good, times + 1 if good == back_to else 1
            if run.settings.not_finite != "roll_back" or times > run.settings.not_finite_limit:
                raise not_finite.stopped(because, run.checkpoints) from error
        del state  # there may not be room for two
        state, step, _ = _begin(run.settings, run.checkpoints, run.compiled, run.batches)
        run.batches.set_state(position)
        run.progress.roll_back(step, because)


def _advance(run: Run, state: State, step: int) -> tuple[State, int, int]:
    """Trains until the run is over or asked to end; its state and step then, and what was asked.

    Raises:
        NotFinite: A number is not finite, and its update was not left out.
    """
    every, last = run.settings.evaluate_every, run.settings.steps
    drawn = time.monotonic()
    pending = None
    while True:
        batch = next(run.batches)
        step += 1
        with jax.profiler.StepTraceAnnotation("step", step_num=step):
            state, metrics = sharding.settled(run.compiled.step(state, run.compiled.train.put(batch)))
        run.profile.step(metrics)
        run.checkpoints.check()
        # The numbers of the step before are read while this one runs.
        if pending is not None:
            _read(run, *pending)
        pending = (step, metrics, run.batches.get_state())
        asked = run.asked()
        over = step >= last or asked > 0
        if not over and step % every:
            continue
        _read(run, *pending)
        pending = None
        paused = time.monotonic()
        validation = None
        if asked <= TIME_IS_UP or step % every == 0 or step >= last:
            state, validation = _validate(run, state, step)
        position = {**run.batches.get_state(), **({SKIPPED: run.progress.skipped} if run.progress.skipped else {})}
        run.checkpoints.save(step, state, position, validation)
        if not run.settings.background_saves:
            run.checkpoints.wait()
        if run.writer is not None and time.monotonic() - drawn > SECONDS_BETWEEN_CURVES:
            draw_curves(run.workdir, run.task)
            drawn = time.monotonic()
        run.progress.exclude(time.monotonic() - paused)
        if over:
            return state, step, asked


SKIPPED = "updates skipped"  # beside the position in the data: how many in a row, up to a checkpoint


def _begin(settings: ConfigDict, checkpoints: Checkpoints, compiled: Compiled, batches: Any) -> tuple[State, int, int]:
    """The state of the last checkpoint, with the data at its place, or a first one; its step, the updates skipped."""
    found = checkpoints.restore(compiled.abstract)
    if found is None:
        return begin(settings, compiled.abstract, sharding.settled(compiled.create())), 0, 0
    step, state, position = found
    skipped = position.pop(SKIPPED, 0)
    check_position(position, batches.get_state(), skipped)
    batches.set_state(position)
    return state, step, skipped


def check_position(position: Any, like: Any, skipped: Any) -> None:
    """A ``RunError`` where a checkpoint's position in the data is not one of the data that is read.

    Whatever reads batches takes what it is given, and fails later in a thread of its own.
    """
    shape = lambda tree: jax.tree.map(type, tree)
    numbers = [leaf for leaf in [*jax.tree.leaves(position), skipped] if type(leaf) is int]
    if shape(position) != shape(like) or type(skipped) is not int or any(not 0 <= n < 2**63 for n in numbers):
        raise RunError(f"the position in the data of a checkpoint must be like {like}, got {position}")


def _writer(workdir: Path, step: int) -> Any:
    """What the first process writes a run's numbers with; None in the others."""
    return MetricWriter(workdir, step) if processes.is_first() else contextlib.nullcontext()


def _read(run: Run, step: int, metrics: dict[str, jax.Array], position: Any) -> None:
    """Waits for the numbers of a step and passes them on; ``NotFinite`` where they cannot be passed over."""
    numbers = {f"train/{name}": float(metrics[name]) for name in ("loss", "gradient_norm")}
    because = not_finite.find(numbers)
    if because is None:
        run.progress.note(step, numbers, run.compiled.items)
    elif run.settings.not_finite == "skip" and run.progress.skipped < run.settings.not_finite_limit:
        run.progress.skip(step, because)
    else:
        raise NotFinite(because, step, position)


def _validate(run: Run, state: State, step: int) -> tuple[State, dict[str, float]]:
    """Measures a state, and writes what was found; the state with what its optimiser learns from that."""
    found = evaluate(run.task, run.compiled.evaluate, in_use(state.variables), run.compiled.validation)
    validation = {f"val/{name}": value for name, value in found.items()}
    because = not_finite.find({"val/loss": validation["val/loss"]})
    if because is not None:
        raise NotFinite(because, step, run.batches.get_state())
    # Not where a run ends between: so that one that goes on is as if it had not ended.
    if run.compiled.measured is not None and step % run.settings.evaluate_every == 0:
        optimizer, scale = run.compiled.measured(state.optimizer, validation["val/loss"])
        state = state._replace(optimizer=optimizer)
        validation["learning_rate_scale"] = float(scale)
    run.progress.evaluated(step, validation)
    return state, validation


def _draw(workdir: Path, dataset: Dataset, task: Task, variables: Any) -> None:
    draw_curves(workdir, task)
    for name, figure in task.draw(variables, dataset.validation).items():
        save_figure(workdir, name, figure)


def sample(config: ConfigDict, task: Task, outcome: Outcome) -> str | None:
    """What the trained model makes, drawn with the run's seed; None where it makes nothing."""
    return task.sample and task.sample(outcome.variables, key_for(config.seed, outcome.step, SAMPLE))
