"""Progress bar and logged metrics of a run."""

import contextlib
import sys
import time
from collections.abc import Iterator

from ml_collections import ConfigDict
from tqdm import tqdm

from jaxnets.tasks import Task
from jaxnets.training.reporting.metrics import MetricWriter, training_metric


class Clock:
    """A clock of the training time, which can be paused for other work.

    Args:
        before: Training time in seconds before the run was resumed.
    """

    def __init__(self, before: float = 0.0):
        self._start = time.monotonic() - before
        self._paused: float | None = None

    def seconds(self) -> float:
        """Returns the training time in seconds."""
        return (time.monotonic() if self._paused is None else self._paused) - self._start

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Context manager within which the clock is paused."""
        self._paused = time.monotonic()
        try:
            yield
        finally:
            self._start += time.monotonic() - self._paused
            self._paused = None


class Progress:
    """Averages the metrics of steps, shows them, and writes the means every ``log_every`` steps and at the end.

    Rows of metrics contain ``seconds``, the total training time, which continues when a run is resumed. Runs of earlier
    versions have no ``seconds``.

    Args:
        settings: ``config.train``.
        task: The task.
        step: The initial step.
        writer: The metric writer, or None in a process that neither writes nor prints.
    """

    def __init__(self, settings: ConfigDict, task: Task, step: int, writer: MetricWriter | None):
        self._writer = writer
        self._every = settings.log_every
        self._last = settings.steps
        self._unit = task.items.unit
        self._objective = task.objective[0] if task.objective is not None else None
        self._validation = ""
        before = 0.0 if writer is None or step == 0 else writer.seconds
        self._has_seconds = before is not None
        self._clock = Clock(before or 0.0)
        self._restart()
        self._bar = tqdm(
            total=settings.steps,
            initial=step,
            unit="step",
            disable=writer is None or not sys.stderr.isatty(),
            dynamic_ncols=True,
            mininterval=0.5,
            bar_format="step {n_fmt}/{total_fmt} {bar:12} {desc} ETA {remaining}",
        )

    def _restart(self) -> None:
        self._sums: dict[str, list[float]] = {}  # total and count
        self._steps = 0
        self._items = 0
        self._since = self._clock.seconds()

    def update(self, step: int, metrics: dict[str, tuple[float, float]], items: int) -> None:
        """Adds the metrics of a step, each a total and a count."""
        for name, (total, count) in metrics.items():
            sum_and_count = self._sums.setdefault(name, [0.0, 0.0])
            sum_and_count[0] += total
            sum_and_count[1] += count
        self._steps += 1
        self._items += items
        speed = self._speed()
        means = self._means()
        shown = training_metric(self._objective, means)
        loss = "" if shown is None else f"{shown.removeprefix('train/')} {means[shown]:.4f}"
        self._bar.set_description_str(f"{loss}{self._validation}  {speed:,.0f} {self._unit}s/s", refresh=False)
        self._bar.update()
        self._log_if_due(step)

    def _means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self._sums.items() if count}

    def _speed(self) -> float:
        return self._items / max(self._clock.seconds() - self._since, 1e-9)

    def _seconds(self) -> dict[str, float]:
        return {"seconds": self._clock.seconds()} if self._has_seconds else {}

    def _log_if_due(self, step: int) -> None:
        if step % self._every == 0 or step == self._last:
            self.log(step)

    def log(self, step: int) -> None:
        """Writes the means over the steps since the last call."""
        if self._writer is not None and self._steps:
            self._writer.write(step, {**self._means(), "items_per_second": self._speed(), **self._seconds()})
        self._restart()

    def skip(self, step: int, reason: str) -> None:
        """Reports a skipped update."""
        self._bar.update()
        self._report(step, "update skipped", reason, f"step {step}: {reason}; the update is skipped")
        self._log_if_due(step)

    def roll_back(self, step: int, reason: str) -> None:
        """Returns to the step of a checkpoint and removes later rows of metrics."""
        self._restart()
        self._bar.n = step
        self._bar.refresh()
        if self._writer is not None:
            self._writer.truncate(step)
        self._report(step, "rolled back", reason, f"{reason}; rolled back to step {step}, continuing with later data")

    def _report(self, step: int, event: str, reason: str, sentence: str) -> None:
        if self._writer is not None:
            self._writer.write_event(step, event, reason)
            tqdm.write(sentence, file=sys.stderr)

    def evaluated(self, step: int, metrics: dict[str, float]) -> None:
        """Writes and prints the metrics of an evaluation."""
        if self._writer is None:
            return
        self._writer.write(step, {**metrics, **self._seconds()})
        if self._objective in metrics:
            self._validation = f"  {self._objective} {metrics[self._objective]:.4f}"
        values = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        tqdm.write(f"step {step}: {values}", file=sys.stderr)

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Context manager for evaluations, checkpoints and reports, which do not count as training time."""
        return self._clock.paused()

    def close(self) -> None:
        """Closes the progress bar."""
        self._bar.close()
