"""Metrics of a run in ``metrics.jsonl``, in TensorBoard and in ``figures/curves.png``."""

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

from jaxnets.ops.host.files import open_for_append, read_regular, write_atomically
from jaxnets.reports.figures import escape_text
from jaxnets.tasks import Task
from jaxnets.training.errors import RunError
from jaxnets.training.reporting import artifacts

if TYPE_CHECKING:  # evaluation and export do not need matplotlib
    from matplotlib.figure import Figure

MAX_METRICS_BYTES = 2**30  # bytes of metrics.jsonl


class MetricWriter:
    """Writes metrics to ``metrics.jsonl`` and TensorBoard without buffering, so that errors are raised at once.

    Args:
        workdir: The folder of the run.
        step: The step from which the run resumes. Later rows, which a killed run has written, are removed.

    Attributes:
        seconds: The ``seconds`` of the last row that has them, or None.

    Raises:
        RunError: A file cannot be written.
    """

    def __init__(self, workdir: Path, step: int):
        self._path = workdir / "metrics.jsonl"
        with self._run_errors():
            self._file = open_for_append(self._path)
            (workdir / "tensorboard").mkdir(exist_ok=True)
            # On a full disk the thread of SummaryWriter would die and the loop would wait for it forever.
            self._board = EventsWriter(str(workdir / "tensorboard" / "events"), f".{os.getpid()}")
        self.truncate(step)

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *exception) -> None:
        try:
            with self._run_errors():
                self._file.close()
                self._board.close()
        except RunError:
            if exception[0] is None:  # do not hide the first error
                raise

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Writes a row of metrics."""
        with self._run_errors():
            self._append({"step": step, **metrics})
            for name, value in metrics.items():
                point = summary.scalar(name, value)
                self._board.write_event(event_pb2.Event(wall_time=time.time(), step=step, summary=point))
            self._board.flush()

    def write_artifact(self, step: int, name: str, artifact: Any) -> None:
        """Writes an artifact of a report to a file of the run and to TensorBoard."""
        with self._run_errors():
            entry = artifacts.write(self._path.parent, name, artifact, step)
            if entry is not None:
                self._board.write_event(event_pb2.Event(wall_time=time.time(), step=step, summary=entry))
                self._board.flush()

    def write_event(self, step: int, event: str, reason: str) -> None:
        """Writes an event, such as a skipped update, to ``metrics.jsonl`` only."""
        with self._run_errors():
            self._append({"step": step, "event": event, "because": reason})

    def _append(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()

    def truncate(self, step: int) -> None:
        """Removes the rows after a step."""
        with self._run_errors():
            rows = [row for row in read_metrics(self._path.parent) if row["step"] <= step]
            self.seconds = next((row["seconds"] for row in rows[::-1] if is_number(row.get("seconds"))), None)
            write_atomically(self._path, "".join(json.dumps(row) + "\n" for row in rows))
            self._file.close()
            self._file = open_for_append(self._path)
            begin = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._board.write_event(event_pb2.Event(wall_time=time.time(), step=step + 1, session_log=begin))
            self._board.flush()

    @contextlib.contextmanager
    def _run_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(f"cannot write metrics to {self._path}: {error.strerror}") from error
        except ValueError as error:
            raise RunError(f"cannot write metrics: {error}") from error


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """Reads the rows of ``metrics.jsonl``.

    A row contains ``step`` and either metrics or an ``event`` with its reason, ``because``. Invalid lines are ignored,
    such as an incomplete last line of a killed run.

    Raises:
        RunError: The file cannot be read or is not a regular file.
    """
    path = workdir / "metrics.jsonl"
    try:
        content = read_regular(path, MAX_METRICS_BYTES, follow=False)
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
    """Returns whether a value of a row is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def training_metric(objective: str | None, names: Iterable[str]) -> str | None:
    """Returns the training metric to show next to an objective: the same one, else a loss, else the first, or None."""
    training_metrics = [name for name in names if name.startswith(TRAINING)]
    same = TRAINING + (objective or "").partition("/")[2]
    losses = [name for name in training_metrics if name.endswith("loss")]
    return same if same in training_metrics else next(iter([*losses, *training_metrics]), None)


def draw_curves(workdir: Path, task: Task) -> None:
    """Writes ``figures/curves.png`` with the metrics over the steps.

    The top panel shows the objective in training and validation, and the panels below show the other metrics. If the
    objective is not a training metric, the first training metric has its own panel.
    """
    from matplotlib.figure import Figure

    rows = read_metrics(workdir)
    objective, direction = task.objective or (None, "min")
    training = training_metric(objective, dict.fromkeys(name for row in rows for name in row))
    evaluation_metrics = {name for row in rows for name in row if name.startswith(SPLITS)}
    top = [name for name in (training, objective) if name is not None]
    if training is not None and objective is not None and _without_split(training) != _without_split(objective):
        top = [objective]
    others = sorted((evaluation_metrics | {training} if training else evaluation_metrics) - set(top))
    figure = Figure(figsize=(7, 4.2 + 2.2 * len(others)))  # pyplot could require a display
    panels = figure.subplots(1 + len(others), 1, sharex=True, squeeze=False, height_ratios=[2, *[1] * len(others)])
    axes = panels[0, 0]
    for name in top:
        _curve(axes, rows, name, {"min": min, "max": max}[direction], _TRAINING if name == training else _VALIDATION)
    values = [row[name] for row in rows for name in top if name in row]
    if len(values) > 50:  # the first values are large and would flatten the curve
        low, high = min(values), sorted(values)[int(0.97 * len(values))]
        axes.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))
    if top:
        axes.set_ylabel(label(_without_split(top[-1]), task.units))
    for panel, name in zip(panels[1:, 0], others, strict=True):
        best = max if name.endswith(HIGHER_IS_BETTER) else min
        _curve(panel, rows, name, best, {**(_TRAINING if name == training else _VALIDATION), "color": "C1"})
        panel.set_ylabel(escape_text(_without_split(name).replace("_", " ")))
    for axes in panels[:, 0]:
        if axes.lines:
            axes.legend()
        axes.grid(alpha=0.3)
    panels[-1, 0].set_xlabel("step")
    figure.tight_layout()
    save_figure(workdir, "curves", figure)


def _without_split(name: str) -> str:
    """Returns the name of a metric without its split."""
    return name.partition("/")[2]


def label(quantity: str, units: Mapping[str, str]) -> str:
    """Returns the axis label of a metric, given without its split. The label includes the unit, if there is one."""
    readable = quantity.replace("_", " ")
    return f"{readable}, {units[quantity]}" if quantity in units else readable


TRAINING = "train/"
SPLITS = ("validation", "test")
HIGHER_IS_BETTER = (
    *("accuracy", "auprc", "auroc", "bleu", "elbo", "exact_match", "high_quality", "log_likelihood", "macro_f1"),
    *("mean_average_precision", "modes", "reconstruction"),
)
_TRAINING = {"lw": 1, "alpha": 0.7}
_VALIDATION = {"lw": 2, "marker": "o", "ms": 3}


def _curve(axes: Any, rows: list[dict[str, Any]], name: str, best: Callable, style: dict[str, Any]) -> None:
    points = [(row["step"], row[name]) for row in rows if name in row]
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, label=f"{escape_text(name)} (last {values[-1]:.3f}, best {best(values):.3f})", **style)


def save_figure(workdir: Path, name: str, figure: "Figure") -> None:
    """Writes a matplotlib figure to ``figures/<name>.png``."""
    path = workdir / "figures" / f"{name}.png"
    try:
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
