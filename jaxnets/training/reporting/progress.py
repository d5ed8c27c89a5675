"""What a person sees while a run goes on: one line that is kept up to date, and a line for each evaluation."""

import contextlib
import sys
import time
from collections.abc import Iterator

from ml_collections import ConfigDict
from tqdm import tqdm

from jaxnets.tasks import Task
from jaxnets.training.reporting.metrics import MetricWriter, beside


class Clock:
    """The seconds that updates have taken; other work is left out where it is ``paused`` for it.

    Args:
        before: Seconds of the same run before it was started again.
    """

    def __init__(self, before: float = 0.0):
        self._begin = time.monotonic() - before
        self._paused: float | None = None

    def seconds(self) -> float:
        return (time.monotonic() if self._paused is None else self._paused) - self._begin

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        self._paused = time.monotonic()
        try:
            yield
        finally:
            self._begin += time.monotonic() - self._paused
            self._paused = None


class Progress:
    """Gathers the numbers of steps, shows them, and writes their means every ``log_every`` steps and at the end.

    Rows of metrics have ``seconds``, the time of all updates since the run began. A run that is started again goes on
    from those of its last row. One that an earlier version began has none.

    Args:
        settings: ``config.train``.
        task: Names the items.
        step: Where the run begins.
        writer: Where they are written; None: in a process that neither writes nor shows.
    """

    def __init__(self, settings: ConfigDict, task: Task, step: int, writer: MetricWriter | None):
        self._writer = writer
        self._every = settings.log_every
        self._last = settings.steps
        self._unit = task.items.unit
        self._objective = task.objective[0] if task.objective is not None else None
        self._validation = ""
        before = 0.0 if writer is None or step == 0 else writer.seconds
        self._timed = before is not None
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

    def note(self, step: int, metrics: dict[str, tuple[float, float]], items: int) -> None:
        """Takes in the metrics of one step, each a total and a count."""
        for name, (total, count) in metrics.items():
            row = self._sums.setdefault(name, [0.0, 0.0])
            row[0] += total
            row[1] += count
        self._steps += 1
        self._items += items
        speed = self._speed()
        means = self._means()
        shown = beside(self._objective, means)
        loss = "" if shown is None else f"{shown.removeprefix('train/')} {means[shown]:.4f}"
        self._bar.set_description_str(f"{loss}{self._validation}  {speed:,.0f} {self._unit}s/s", refresh=False)
        self._bar.update()
        self._log_if_due(step)

    def _means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self._sums.items() if count}

    def _speed(self) -> float:
        return self._items / max(self._clock.seconds() - self._since, 1e-9)

    def _seconds(self) -> dict[str, float]:
        return {"seconds": self._clock.seconds()} if self._timed else {}

    def _log_if_due(self, step: int) -> None:
        if step % self._every == 0 or step == self._last:
            self.log(step)

    def log(self, step: int) -> None:
        """Writes the means of the steps since those that were written, if any."""
        if self._writer is not None and self._steps:
            self._writer.write(step, {**self._means(), "items_per_second": self._speed(), **self._seconds()})
        self._restart()

    def skip(self, step: int, because: str) -> None:
        """Takes in that an update was left out."""
        self._bar.update()
        self._tell(step, "update skipped", because, f"step {step}: {because}; this update is left out")
        self._log_if_due(step)

    def roll_back(self, step: int, because: str) -> None:
        """Goes back to the step of a checkpoint: what was written after it is dropped."""
        self._restart()
        self._bar.n = step
        self._bar.refresh()
        if self._writer is not None:
            self._writer.go_back(step)
        told = f"{because}; back to step {step}, and on with the data after it"
        self._tell(step, "rolled back", because, told)

    def _tell(self, step: int, event: str, because: str, sentence: str) -> None:
        if self._writer is not None:
            self._writer.write_event(step, event, because)
            tqdm.write(sentence, file=sys.stderr)

    def evaluated(self, step: int, validation: dict[str, float]) -> None:
        """Writes them, and prints a line that stays."""
        if self._writer is None:
            return
        self._writer.write(step, {**validation, **self._seconds()})
        if self._objective in validation:
            self._validation = f"  {self._objective} {validation[self._objective]:.4f}"
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in validation.items())
        tqdm.write(f"step {step}: {numbers}", file=sys.stderr)

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Within it time is left out of the speed and of ``seconds``: that of evaluations, checkpoints and reports."""
        return self._clock.paused()

    def close(self) -> None:
        self._bar.close()
