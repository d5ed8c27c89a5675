"""Where a run's numbers go: ``metrics.jsonl``, TensorBoard and ``figures/curves.png``."""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from jaxnets.ops.files import open_for_append, read_regular, write_atomically
from jaxnets.reports.figures import literal
from jaxnets.tasks import Task
from jaxnets.training.errors import RunError
from jaxnets.training.reporting import artifacts

if TYPE_CHECKING:  # imported where something is drawn: to evaluate or export needs none
    from matplotlib.figure import Figure

LARGEST = 2**30  # bytes of metrics.jsonl


class MetricWriter:
    """Appends to ``metrics.jsonl`` and TensorBoard events, at once: what cannot be written is told at once too.

    Args:
        workdir: The run's folder.
        step: Where the run goes on; what was written after it, by a run that was killed, is dropped.

    Attributes:
        seconds: Those of the last row there that has any, or None.

    Raises:
        RunError: A file cannot be written.
    """

    def __init__(self, workdir: Path, step: int):
        self._path = workdir / "metrics.jsonl"
        with self._told():
            self._file = open_for_append(self._path)
            (workdir / "tensorboard").mkdir(exist_ok=True)
            # Not SummaryWriter: its thread dies on a full disk, and the loop then waits for it for ever.
            self._board = EventsWriter(str(workdir / "tensorboard" / "events"), f".{os.getpid()}")
        self.go_back(step)

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *exception) -> None:
        try:
            with self._told():
                self._file.close()
                self._board.close()
        except RunError:
            if exception[0] is None:  # else the first error is the one to tell
                raise

    def write(self, step: int, metrics: dict[str, float]) -> None:
        with self._told():
            self._line({"step": step, **metrics})
            for name, value in metrics.items():
                point = summary.scalar(name, value)
                self._board.write_event(event_pb2.Event(wall_time=time.time(), step=step, summary=point))
            self._board.flush()

    def write_artifact(self, step: int, name: str, artifact: Any) -> None:
        """A report's artifact, to a file of the run and to TensorBoard."""
        with self._told():
            shown = artifacts.write(self._path.parent, name, artifact)
            if shown is not None:
                self._board.write_event(event_pb2.Event(wall_time=time.time(), step=step, summary=shown))
                self._board.flush()

    def write_event(self, step: int, event: str, because: str) -> None:
        """A line of something that happened, without numbers: ``metrics.jsonl`` only."""
        with self._told():
            self._line({"step": step, "event": event, "because": because})

    def _line(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()

    def go_back(self, step: int) -> None:
        """Drops what was written after a step."""
        with self._told():
            kept = [row for row in read_metrics(self._path.parent) if row["step"] <= step]
            self.seconds = next((row["seconds"] for row in kept[::-1] if is_number(row.get("seconds"))), None)
            write_atomically(self._path, "".join(json.dumps(row) + "\n" for row in kept))
            self._file.close()
            self._file = open_for_append(self._path)
            begin = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._board.write_event(event_pb2.Event(wall_time=time.time(), step=step + 1, session_log=begin))
            self._board.flush()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(f"cannot write metrics to {self._path}: {error.strerror}") from error
        except ValueError as error:
            raise RunError(f"cannot write metrics: {error}") from error


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The rows of ``metrics.jsonl``: numbers by name, or what happened as ``event`` and ``because``.

    Lines that are not such rows are left out, such as a last one that was cut short by a kill.

    Raises:
        RunError: It cannot be read, or is not a regular file.
    """
    path = workdir / "metrics.jsonl"
    try:
        content = read_regular(path, LARGEST, follow=False)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RunError(str(error)) from error
    rows = []
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and type(row.get("step")) is int:
            rows.append(row)
    return rows


def is_number(value: Any) -> bool:
    """Whether something in a row is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def beside(objective: str | None, names: Iterable[str]) -> str | None:
    """The metric of training that is shown beside an objective: the same one, or else the first; None without any."""
    of_training = [name for name in names if name.startswith(TRAINING)]
    same = TRAINING + (objective or "").partition("/")[2]
    return same if same in of_training else next(iter(of_training), None)


def draw_curves(workdir: Path, task: Task) -> None:
    """``figures/curves.png``: the objective in training and in validation against the step; the other metrics below.

    An objective that training does not measure is above, and the first metric of training below it.
    """
    from matplotlib.figure import Figure

    rows = read_metrics(workdir)
    objective, direction = task.objective or (None, "min")
    training = beside(objective, dict.fromkeys(name for row in rows for name in row))
    measured = {name for row in rows for name in row if name.startswith(SPLITS)}
    above = [name for name in (training, objective) if name is not None]
    if training is not None and objective is not None and _quantity(training) != _quantity(objective):
        above = [objective]
    others = sorted((measured | {training} if training else measured) - set(above))
    figure = Figure(figsize=(7, 4.2 + 2.2 * len(others)))  # not pyplot, which would look for a display
    panels = figure.subplots(1 + len(others), 1, sharex=True, squeeze=False, height_ratios=[2, *[1] * len(others)])
    axes = panels[0, 0]
    for name in above:
        _curve(axes, rows, name, {"min": min, "max": max}[direction], _TRAINING if name == training else _VALIDATION)
    values = [row[name] for row in rows for name in above if name in row]
    if len(values) > 50:  # the first few are far above the rest and would flatten it
        low, high = min(values), sorted(values)[int(0.97 * len(values))]
        axes.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))
    if above:
        axes.set_ylabel(label(_quantity(above[-1]), task.units))
    for below, name in zip(panels[1:, 0], others, strict=True):
        best = max if name.endswith(HIGHER_IS_BETTER) else min
        _curve(below, rows, name, best, {**(_TRAINING if name == training else _VALIDATION), "color": "C1"})
        below.set_ylabel(literal(_quantity(name).replace("_", " ")))
    for axes in panels[:, 0]:
        if axes.lines:
            axes.legend()
        axes.grid(alpha=0.3)
    panels[-1, 0].set_xlabel("step")
    figure.tight_layout()
    save_figure(workdir, "curves", figure)


def _quantity(name: str) -> str:
    """The name of a metric without its split."""
    return name.partition("/")[2]


def label(quantity: str, units: Mapping[str, str]) -> str:
    """A metric without its split, as the label of an axis: with its unit, if it has one."""
    readable = quantity.replace("_", " ")
    return f"{readable}, {units[quantity]}" if quantity in units else readable


TRAINING = "train/"
SPLITS = ("validation", "test")
HIGHER_IS_BETTER = (
    *("accuracy", "auroc", "bleu", "elbo", "exact_match", "high_quality", "log_likelihood", "macro_f1"),
    *("mean_average_precision", "modes", "reconstruction"),
)
_TRAINING = {"lw": 1, "alpha": 0.7}
_VALIDATION = {"lw": 2, "marker": "o", "ms": 3}


def _curve(axes: Any, rows: list[dict[str, Any]], name: str, best: Callable, style: dict[str, Any]) -> None:
    points = [(row["step"], row[name]) for row in rows if name in row]
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, label=f"{literal(name)} (last {values[-1]:.3f}, best {best(values):.3f})", **style)


def save_figure(workdir: Path, name: str, figure: "Figure") -> None:
    """Writes a matplotlib figure to ``figures/<name>.png``."""
    path = workdir / "figures" / f"{name}.png"
    try:
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
