"""The training loop: one for every task."""

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jaxnets.data import Dataset
from jaxnets.learning import Mean
from jaxnets.reports import Text
from jaxnets.tasks import Task
from jaxnets.training import nan_policy
from jaxnets.training.checkpointing import saved
from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.checkpointing.init_from import begin
from jaxnets.training.compiled import Compiled, evaluate
from jaxnets.training.distributed import processes, sharding
from jaxnets.training.distributed.processes import Agreement
from jaxnets.training.errors import RunError, is_out_of_memory
from jaxnets.training.interruption import Interruption
from jaxnets.training.nan_policy import NotFinite
from jaxnets.training.reporting.metrics import MetricWriter, draw_curves
from jaxnets.training.reporting.profile import Profile
from jaxnets.training.reporting.progress import Progress
from jaxnets.training.state import SAMPLE, State, key_for

TIME_IS_UP = 1  # a wish to end; larger ones are 1 + the number of a signal
SECONDS_BETWEEN_CURVES = 60  # while a run goes on; at its end they are drawn anyway


class Outcome(NamedTuple):
    """Attributes:
    step: Updates done.
    signal: What interrupted the run, or None.
    variables: The model's, at the end.
    texts: The reports that are texts, by name.
    """

    step: int
    signal: int | None
    variables: Any
    texts: dict[str, str]


class Run(NamedTuple):
    """What a run goes on with."""

    config: ConfigDict
    workdir: Path
    dataset: Dataset
    task: Task
    compiled: Compiled
    batches: Any
    checkpoints: Checkpoints
    progress: Progress
    writer: MetricWriter | None
    profile: Profile
    asked: Callable[[], int]  # the largest wish of all processes to end: 0, TIME_IS_UP or more

    @property
    def settings(self) -> ConfigDict:
        return self.config.train


def train(
    config: ConfigDict, workdir: Path, dataset: Dataset, task: Task, compiled: Compiled, profiled: int = 0
) -> Outcome:
    """Trains until the steps or minutes of the config, or a signal; goes on from the last checkpoint in ``workdir``.

    The first process traces as many steps as are to be ``profiled``.

    Raises:
        RunError: The loss or its gradient is not finite and the config does not pass over it, there is not enough
            memory, or something cannot be written. Checkpoints stay.
    """
    try:
        return _train(config, workdir, dataset, task, compiled, profiled)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            "there is not enough memory to train; a smaller --config.data.batch_size needs less, or a larger "
            "--config.train.grad_accum_steps, the number of parts of a batch that are computed one after the other"
        ) from error


def _train(
    config: ConfigDict, workdir: Path, dataset: Dataset, task: Task, compiled: Compiled, profiled: int
) -> Outcome:
    settings = config.train
    batches = iter(compiled.train.batches.to_iter_dataset(sharding.READING))
    agree = Agreement(compiled.mesh)
    with Checkpoints(
        workdir / "checkpoints", keep=settings.max_to_keep, keep_every=settings.keep_period
    ) as checkpoints:
        state, step = _begin(settings, checkpoints, task, compiled, batches)
        if step >= settings.steps:
            return Outcome(step, None, processes.whole(task.learner.variables(state.learner)), {})
        profile = Profile(workdir / "profile", profiled if processes.is_first() else 0)
        with Interruption() as interruption, _writer(workdir, step) as writer, profile:
            deadline = time.monotonic() + settings.max_minutes * 60 if settings.max_minutes else math.inf
            own = lambda: 1 + interruption.signal if interruption.signal else int(time.monotonic() >= deadline)
            asked = lambda: agree(own())
            progress = Progress(settings, task, step, writer)
            run = Run(config, workdir, dataset, task, compiled, batches, checkpoints, progress, writer, profile, asked)
            state, step, wish = _to_the_end(run, state, step)
            progress.close()
            checkpoints.wait()
            signal = wish - 1 if wish > TIME_IS_UP else None
            variables = processes.whole(task.learner.variables(state.learner))
            texts: dict[str, str] = {}
            if signal is None and writer is not None:  # after a signal somebody waits for the end
                draw_curves(workdir, task)
                texts = _report(run, variables, step)
        return Outcome(step, signal, variables, texts)


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
            if run.settings.nan_policy != "roll_back" or times > run.settings.nan_limit:
                raise nan_policy.stopped(because, run.checkpoints) from error
        del state  # there may not be room for two
        state, step = _begin(run.settings, run.checkpoints, run.task, run.compiled, run.batches)
        state = run.compiled.renewed(state)  # what goes on from batch to batch is that of other batches
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
        due = _due(run, step)
        reported = run.settings.report_every and step % run.settings.report_every == 0 and step < last
        if not (over or step % every == 0 or due or reported):
            continue
        _read(run, *pending)
        pending = None
        with run.progress.paused():
            if over:
                run.progress.log(step)
            measured = None
            if over or step % every == 0:
                if asked <= TIME_IS_UP or step % every == 0 or step >= last:
                    due = [name for name, each in run.task.evaluators.items() if each.every is None or name in due]
                    state, measured = _measure(run, state, step, due)
                _save(run, state, step, measured)
                if run.writer is not None and time.monotonic() - drawn > SECONDS_BETWEEN_CURVES:
                    draw_curves(run.workdir, run.task)
                    drawn = time.monotonic()
            elif due:
                state, _ = _measure(run, state, step, due)
            if reported:
                variables = processes.whole(run.task.learner.variables(state.learner))
                if run.writer is not None:
                    _report(run, variables, step)
        if over:
            return state, step, asked


def _due(run: Run, step: int) -> list[str]:
    """The evaluators with an interval of their own that measure at a step."""
    return [name for name, each in run.task.evaluators.items() if each.every and step % each.every == 0]


def _save(run: Run, state: State, step: int, measured: dict[str, float] | None) -> None:
    """Saves a checkpoint, with the score that the best one is chosen by."""
    score = None
    if measured is not None and run.task.objective is not None:
        name, direction = run.task.objective
        score = measured.get(name)
        score = -score if score is not None and direction == "max" else score
    tree = saved.split(run.task.learner, state)
    run.checkpoints.save(step, tree, run.batches.get_state(), measured, score)
    if not run.settings.async_checkpointing:
        run.checkpoints.wait()


def _begin(
    settings: ConfigDict, checkpoints: Checkpoints, task: Task, compiled: Compiled, batches: Any
) -> tuple[State, int]:
    """The state of the last checkpoint, with the data at its place, or a first one; and its step."""
    learner = task.learner
    found = checkpoints.restore(saved.split(learner, compiled.abstract))
    if found is None:
        state = sharding.settled(compiled.create(None))
        if settings.init_from:
            abstract = learner.variables(compiled.abstract.learner)
            variables = begin(settings, abstract, learner.variables(state.learner))
            del state  # there may not be room for two
            state = sharding.settled(compiled.create(variables))
        return state, 0
    step, tree, position = found
    check_position(position, batches.get_state())
    batches.set_state(position)
    return saved.join(learner, compiled.abstract, tree), step


def check_position(position: Any, like: Any) -> None:
    """A ``RunError`` where a checkpoint's position in the data is not one of the data that is read.

    Whatever reads batches takes what it is given, and fails later in a thread of its own.
    """
    shape = lambda tree: jax.tree.map(type, tree)
    numbers = [leaf for leaf in jax.tree.leaves(position) if type(leaf) is int]
    if shape(position) != shape(like) or any(not 0 <= n < 2**63 for n in numbers):
        raise RunError(f"the position in the data of a checkpoint must be like {like}, got {position}")


def _writer(workdir: Path, step: int) -> Any:
    """What the first process writes a run's numbers with; None in the others."""
    return MetricWriter(workdir, step) if processes.is_first() else contextlib.nullcontext()


def _read(run: Run, step: int, metrics: dict[str, Any], position: Any) -> None:
    """Waits for the metrics of a step and passes them on; ``NotFinite`` where they cannot be passed over."""
    flags = {name: int(metrics[name]) for name in ("finite", "skipped") if name in metrics}
    first_to_last = lambda name: (name != "loss", name.endswith("learning_rate"), name)
    names = sorted(metrics.keys() - flags.keys(), key=first_to_last)
    numbers = {f"train/{name}": _number(metrics[name]) for name in names}
    if flags.get("finite", True):
        run.progress.note(step, numbers, run.compiled.items)
        return
    because = nan_policy.find({name: total for name, (total, _) in numbers.items()}) or "an update is not finite"
    if 0 < flags.get("skipped", 0) <= run.settings.nan_limit:
        run.progress.skip(step, because)
    else:
        raise NotFinite(because, step, position)


def _number(metric: Any) -> tuple[float, float]:
    """A metric as a total and a count."""
    return (float(metric.total), float(metric.count)) if isinstance(metric, Mean) else (float(metric), 1.0)


def _measure(run: Run, state: State, step: int, names: list[str]) -> tuple[State, dict[str, float]]:
    """Measures a state with some evaluators, and writes the metrics; the state with what its learner learns of them."""
    splits = {name: run.task.evaluators[name].splits for name in names}
    variables = run.task.learner.variables(state.learner)
    metrics = evaluate(run.compiled.evaluators, variables, run.compiled.splits, run.config.seed, splits)
    objective = run.task.objective and run.task.objective[0]
    because = nan_policy.find({objective: metrics[objective]}) if objective in metrics else None
    if because is not None:
        raise NotFinite(because, step, run.batches.get_state())
    metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}  # NaN is what a split lacks
    # Not where a run ends between: so that one that goes on is as if it had not ended.
    if run.compiled.observe is not None and objective in metrics and step % run.settings.evaluate_every == 0:
        state, told = run.compiled.observe(state, metrics)
        metrics |= {name: float(value) for name, value in told.items()}
    run.progress.evaluated(step, metrics)
    return state, metrics


def _report(run: Run, variables: Any, step: int) -> dict[str, str]:
    """Writes the reports of a step; those that are texts."""
    assert run.writer is not None
    texts = {}
    key = key_for(run.config.seed, step, SAMPLE)
    for report in run.task.reports.values():
        for name, artifact in report(variables, run.dataset.held_out, key).items():
            run.writer.write_artifact(step, name, artifact)
            if isinstance(artifact, Text):
                texts[name] = artifact.text
    return texts
