"""What a person sees while a run goes on: one line that is kept up to date, and a line for each evaluation."""

import sys
import time

from ml_collections import ConfigDict
from tqdm import tqdm

from jaxnets.tasks import Task
from jaxnets.training.reporting.metrics import MetricWriter


class Progress:
    """Gathers the numbers of steps, shows them, and writes their means every ``log_every`` steps.

    Args:
        settings: ``config.train``.
        task: Names the items.
        step: Where the run begins.
        writer: Where they are written; None: in a process that neither writes nor shows.
        skipped: Updates that were left out in a row, up to there.

    Attributes:
        skipped: The same, by now.
    """

    def __init__(self, settings: ConfigDict, task: Task, step: int, writer: MetricWriter | None, skipped: int = 0):
        self.skipped = skipped
        self._writer = writer
        self._every = settings.log_every
        self._unit = task.unit
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
        self._sums: dict[str, float] = {}
        self._steps = 0
        self._items = 0
        self._since = time.monotonic()

    def note(self, step: int, metrics: dict[str, float], items: int) -> None:
        """Takes in one step's numbers."""
        self.skipped = 0
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        self._items += items
        speed = self._speed()
        loss = self._sums["train/loss"] / self._steps
        self._bar.set_description_str(f"loss {loss:.4f}{self._validation}  {speed:,.0f} {self._unit}s/s", refresh=False)
        self._bar.update()
        self._log(step)

    def _speed(self) -> float:
        return self._items / max(time.monotonic() - self._since, 1e-9)

    def _log(self, step: int) -> None:
        if step % self._every:
            return
        if self._writer is not None and self._steps:
            means = {name: total / self._steps for name, total in self._sums.items()}
            self._writer.write(step, {**means, "items_per_second": self._speed()})
        self._restart()

    def skip(self, step: int, because: str) -> None:
        """Takes in that an update was left out."""
        self.skipped += 1
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
        self._validation = f"  val {validation['val/loss']:.4f}"
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in validation.items())
        tqdm.write(f"step {step}: {numbers}", file=sys.stderr)

    def exclude(self, seconds: float) -> None:
        """Leaves the time of an evaluation out of the speed."""
        self._since += seconds

    def close(self) -> None:
        self._bar.close()
