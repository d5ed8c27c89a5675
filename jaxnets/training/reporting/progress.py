"""What a person sees while a run goes on: one line that is kept up to date, and a line for each evaluation."""

import sys
import time

from ml_collections import ConfigDict
from tqdm import tqdm

from jaxnets.tasks import Task
from jaxnets.training.reporting.metrics import MetricWriter


class Progress:
    """Gathers the numbers of steps, shows them, and writes their means every ``log_every`` steps and at the end.

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
        self._since = time.monotonic()

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
        shown = "train/loss" if "train/loss" in means else next(iter(means), None)
        loss = "" if shown is None else f"{shown.removeprefix('train/')} {means[shown]:.4f}"
        self._bar.set_description_str(f"{loss}{self._validation}  {speed:,.0f} {self._unit}s/s", refresh=False)
        self._bar.update()
        self._log(step)

    def _means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self._sums.items() if count}

    def _speed(self) -> float:
        return self._items / max(time.monotonic() - self._since, 1e-9)

    def _log(self, step: int) -> None:
        if step % self._every and step != self._last:
            return
        if self._writer is not None and self._steps:
            self._writer.write(step, {**self._means(), "items_per_second": self._speed()})
        self._restart()

    def skip(self, step: int, because: str) -> None:
        """Takes in that an update was left out."""
        self._bar.update()
        self._tell(step, "update skipped", because, f"step {step}: {because}; this update is left out")
        self._log(step)

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
        self._writer.write(step, validation)
        if self._objective in validation:
            self._validation = f"  {self._objective} {validation[self._objective]:.4f}"
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in validation.items())
        tqdm.write(f"step {step}: {numbers}", file=sys.stderr)

    def exclude(self, seconds: float) -> None:
        """Leaves the time of an evaluation out of the speed."""
        self._since += seconds

    def close(self) -> None:
        self._bar.close()
