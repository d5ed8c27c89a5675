"""The training loop, shared by all tasks."""

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
from jaxnets.training.checkpointing import init_from, state_trees
from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.checkpointing.positions import check_position
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

# Stop codes: 0 to continue, TIME_LIMIT, or 1 + the number of a signal.
TIME_LIMIT = 1
SECONDS_BETWEEN_CURVES = 60  # during training; the curves are always drawn at the end


class Outcome(NamedTuple):
    """The result of training.

    Attributes:
        step: Number of completed updates.
        signal: The signal that interrupted the run, or None.
        variables: The variables of the model.
        texts: The text reports by name.
    """

    step: int
    signal: int | None
    variables: Any
    texts: dict[str, str]


class Run(NamedTuple):
    """The objects that the loop needs at every step."""

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
    stop_code: Callable[[], int]  # the maximum over all processes

    @property
    def settings(self) -> ConfigDict:
        return self.config.train


def train(
    config: ConfigDict, workdir: Path, dataset: Dataset, task: Task, compiled: Compiled, profiled: int = 0
) -> Outcome:
    """Trains until ``train.steps`` or ``train.max_minutes`` is reached or a signal arrives.

    It resumes from the last checkpoint in ``workdir``.

    Args:
        config: The config of the run.
        workdir: The folder of the run.
        dataset: The dataset.
        task: The task.
        compiled: The jitted functions of the run.
        profiled: Number of steps that the first process profiles.

    Raises:
        RunError: The loss or its gradient is not finite and ``train.nan_policy`` does not tolerate it, memory is
            exhausted, or a file cannot be written. Saved checkpoints remain.
    """
    try:
        return _train(config, workdir, dataset, task, compiled, profiled)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            "not enough memory to train: reduce --config.data.batch_size, or increase "
            "--config.train.grad_accum_steps, the number of microbatches per update"
        ) from error


def _train(
    config: ConfigDict, workdir: Path, dataset: Dataset, task: Task, compiled: Compiled, profiled: int
) -> Outcome:
    settings = config.train
    batches = iter(compiled.train.batches.to_iter_dataset(sharding.READ_OPTIONS))
    agree = Agreement(compiled.mesh)
    retention = {"max_to_keep": settings.max_to_keep, "keep_period": settings.keep_period}
    with Checkpoints(workdir / "checkpoints", **retention) as checkpoints:
        state, step = _initial_state(settings, checkpoints, task, compiled, batches)
        if step >= settings.steps:
            return Outcome(step, None, processes.all_gather(task.learner.variables(state.learner)), {})
        profile = Profile(workdir / "profile", profiled if processes.is_first() else 0)
        with Interruption() as interruption, _make_writer(workdir, step) as writer, profile:
            deadline = time.monotonic() + settings.max_minutes * 60 if settings.max_minutes else math.inf
            own_code = lambda: 1 + interruption.signal if interruption.signal else int(time.monotonic() >= deadline)
            stop_code = lambda: agree(own_code())
            progress = Progress(settings, task, step, writer)
            run = Run(
                config, workdir, dataset, task, compiled, batches, checkpoints, progress, writer, profile, stop_code
            )
            state, step, code = _train_with_roll_back(run, state, step)
            progress.close()
            checkpoints.wait()
            signal = code - 1 if code > TIME_LIMIT else None
            variables = processes.all_gather(task.learner.variables(state.learner))
            texts: dict[str, str] = {}
            if signal is None and writer is not None:  # after a signal the program should end soon
                draw_curves(workdir, task)
                texts = _report(run, variables, step)
        return Outcome(step, signal, variables, texts)


def _train_with_roll_back(run: Run, state: State, step: int) -> tuple[State, int, int]:
    """Trains to the end, and rolls back to the last checkpoint if ``nan_policy`` requests it."""
    last_good, times = None, 0
    while True:
        try:
            return _advance(run, state, step)
        except NotFinite as error:
            run.checkpoints.wait()
            reason, position = str(error), error.position
            good = max(run.checkpoints.steps(), default=0)
            last_good, times = good, times + 1 if good == last_good else 1
            if run.settings.nan_policy != "roll_back" or times > run.settings.nan_limit:
                raise nan_policy.stopped(reason, run.checkpoints) from error
        del state  # memory may not suffice for two states
        state, step = _initial_state(run.settings, run.checkpoints, run.task, run.compiled, run.batches)
        state = run.compiled.reset_carry(state)  # the saved carry does not belong to the next batch
        run.batches.set_state(position)
        run.progress.roll_back(step, reason)


def _advance(run: Run, state: State, step: int) -> tuple[State, int, int]:
    """Trains until the last step or a stop code. Returns the state, the step and the stop code.

    Raises:
        NotFinite: A metric is not finite and the update was not skipped.
    """
    every, last = run.settings.evaluate_every, run.settings.steps
    last_curves = time.monotonic()
    pending = None
    while True:
        batch = next(run.batches)
        step += 1
        with jax.profiler.StepTraceAnnotation("step", step_num=step):
            state, metrics = sharding.block_if_simulated(run.compiled.step(state, run.compiled.train.put(batch)))
        run.profile.step(metrics)
        run.checkpoints.check()
        # The metrics of the previous step are read while this step runs.
        if pending is not None:
            _record(run, *pending)
        pending = (step, metrics, run.batches.get_state())
        stop_code = run.stop_code()
        done = step >= last or stop_code > 0
        due = _due(run, step)
        report_is_due = run.settings.report_every and step % run.settings.report_every == 0 and step < last
        if not (done or step % every == 0 or due or report_is_due):
            continue
        _record(run, *pending)
        pending = None
        with run.progress.paused():
            if done:
                run.progress.log(step)
            evaluation = None
            if done or step % every == 0:
                if stop_code <= TIME_LIMIT or step % every == 0 or step >= last:
                    evaluators = run.task.evaluators.items()
                    due = [name for name, scheduled in evaluators if scheduled.every is None or name in due]
                    state, evaluation = _evaluate(run, state, step, due)
                _save(run, state, step, evaluation)
                if run.writer is not None and time.monotonic() - last_curves > SECONDS_BETWEEN_CURVES:
                    draw_curves(run.workdir, run.task)
                    last_curves = time.monotonic()
            elif due:
                state, _ = _evaluate(run, state, step, due)
            if report_is_due:
                variables = processes.all_gather(run.task.learner.variables(state.learner))
                if run.writer is not None:
                    _report(run, variables, step)
        if done:
            return state, step, stop_code


def _due(run: Run, step: int) -> list[str]:
    """Returns the names of the evaluators whose own interval ends at a step."""
    evaluators = run.task.evaluators.items()
    return [name for name, scheduled in evaluators if scheduled.every and step % scheduled.every == 0]


def _save(run: Run, state: State, step: int, evaluation: dict[str, float] | None) -> None:
    """Saves a checkpoint with its score, the objective to minimize."""
    score = None
    if evaluation is not None and run.task.objective is not None:
        name, direction = run.task.objective
        score = evaluation.get(name)
        score = -score if score is not None and direction == "max" else score
    tree = state_trees.to_tree(run.task.learner, state)
    run.checkpoints.save(step, tree, run.batches.get_state(), evaluation, score)
    if not run.settings.async_checkpointing:
        run.checkpoints.wait()


def _initial_state(
    settings: ConfigDict, checkpoints: Checkpoints, task: Task, compiled: Compiled, batches: Any
) -> tuple[State, int]:
    """Restores the last checkpoint and its position in the data, or creates a new state. Returns the state and step."""
    learner = task.learner
    restored = checkpoints.restore(state_trees.to_tree(learner, compiled.abstract))
    if restored is None:
        state = sharding.block_if_simulated(compiled.create(None))
        if settings.init_from:
            abstract = learner.variables(compiled.abstract.learner)
            variables = init_from.load(settings, abstract, learner.variables(state.learner))
            del state  # memory may not suffice for two states
            state = sharding.block_if_simulated(compiled.create(variables))
        return state, 0
    step, tree, position = restored
    check_position(position, batches.get_state())
    batches.set_state(position)
    return state_trees.from_tree(learner, compiled.abstract, tree), step


def _make_writer(workdir: Path, step: int) -> Any:
    """Returns the metric writer in the first process, and a context manager of None in the others."""
    return MetricWriter(workdir, step) if processes.is_first() else contextlib.nullcontext()


def _record(run: Run, step: int, metrics: dict[str, Any], position: Any) -> None:
    """Waits for the metrics of a step and logs them. Raises ``NotFinite`` if ``nan_policy`` does not tolerate them."""
    flags = {name: int(metrics[name]) for name in ("finite", "skipped") if name in metrics}
    order = lambda name: (name != "loss", name.endswith("learning_rate"), name)
    names = sorted(metrics.keys() - flags.keys(), key=order)
    values = {f"train/{name}": _total_and_count(metrics[name]) for name in names}
    if flags.get("finite", True):
        run.progress.update(step, values, run.compiled.items)
        return
    reason = nan_policy.find({name: total for name, (total, _) in values.items()}) or "an update is not finite"
    if 0 < flags.get("skipped", 0) <= run.settings.nan_limit:
        run.progress.skip(step, reason)
    else:
        raise NotFinite(reason, step, position)


def _total_and_count(metric: Any) -> tuple[float, float]:
    """Returns a metric as a total and a count."""
    return (float(metric.total), float(metric.count)) if isinstance(metric, Mean) else (float(metric), 1.0)


def _evaluate(run: Run, state: State, step: int, names: list[str]) -> tuple[State, dict[str, float]]:
    """Runs evaluators, writes their metrics and passes them to ``Learner.observe``. Returns state and metrics."""
    splits = {name: run.task.evaluators[name].splits for name in names}
    variables = run.task.learner.variables(state.learner)
    metrics = evaluate(run.compiled.evaluators, variables, run.compiled.splits, run.config.seed, splits)
    objective = run.task.objective and run.task.objective[0]
    reason = nan_policy.find({objective: metrics[objective]}) if objective in metrics else None
    if reason is not None:
        raise NotFinite(reason, step, run.batches.get_state())
    metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}  # NaN: undefined for a split
    # The evaluation at the end of an interrupted run is not observed, so that a resumed run gives the same results.
    if run.compiled.observe is not None and objective in metrics and step % run.settings.evaluate_every == 0:
        state, logged = run.compiled.observe(state, metrics)
        metrics |= {name: float(value) for name, value in logged.items()}
    run.progress.evaluated(step, metrics)
    return state, metrics


def _report(run: Run, variables: Any, step: int) -> dict[str, str]:
    """Writes the reports of a step. Returns the text reports."""
    assert run.writer is not None
    texts = {}
    key = key_for(run.config.seed, step, SAMPLE)
    for report in run.task.reports.values():
        for name, artifact in report(variables, run.dataset.held_out, key).items():
            run.writer.write_artifact(step, name, artifact)
            if isinstance(artifact, Text):
                texts[name] = artifact.text
    return texts
