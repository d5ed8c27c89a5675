"""Comparison of runs: a table of their results and of the settings that differ."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxnets.ops.host.printable import printable
from jaxnets.reports import Table
from jaxnets.reports.comparison import Curve
from jaxnets.training import build, config, rundir
from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.reporting.metrics import is_number, read_metrics

MAX_SETTING_LENGTH = 40  # characters in a table


class ComparedRun(NamedTuple):
    """A run to compare with others.

    Attributes:
        label: The name of the run in the table.
        settings: The flat config.
        rows: The rows of metrics.
        objective: The metric that selects the best step, and ``"min"`` or ``"max"``. None: the last step is the best.
        units: The units of metrics, which are given without their splits.
        parameters: Number of parameters of the model. None before the first checkpoint.
    """

    label: str
    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    objective: tuple[str, str] | None
    units: dict[str, str]
    parameters: int | None

    def points(self, metric: str) -> list[tuple[int, float]]:
        """Returns the steps and values of a metric."""
        return [(row["step"], row[metric]) for row in self.rows if is_number(row.get(metric))]

    def metrics(self) -> list[str]:
        """Returns the names of all metrics."""
        return list(dict.fromkeys(name for row in self.rows for name in row if "/" in name and is_number(row[name])))

    def best_step(self) -> int | None:
        """Returns the step with the best objective, or None without an objective."""
        points = self.points(self.objective[0]) if self.objective else []
        if not points:
            return None
        sign = -1 if self.objective and self.objective[1] == "max" else 1
        return min(points, key=lambda point: sign * point[1])[0]


def open_for_comparison(workdir: Path, label: str, trusted: tuple[str, ...] = ()) -> ComparedRun:
    """Opens a run for a comparison.

    Args:
        workdir: The folder of the run.
        label: The name of the run in the table.
        trusted: Modules outside jaxnets that the config may import.

    Raises:
        RunError: There is no run, it cannot be read, or it has no metrics.
        UsageError: The config imports a module that is not trusted.
    """
    settings = rundir.load(workdir)
    rows = read_metrics(workdir)
    spec, _ = rundir.data(workdir)
    task = build.model_and_task(settings, spec, trusted)[1]
    found = ComparedRun(label, config.flatten(settings), rows, task.objective, task.units, _parameters(workdir))
    if not found.metrics():
        raise RunError(f"no metrics in {workdir / 'metrics.jsonl'}: train there first")
    return found


def _parameters(workdir: Path) -> int | None:
    """Returns the number of parameters in the last checkpoint."""
    if not rundir.has_checkpoint(workdir):
        return None
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        shapes = checkpoints.shapes("last")
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def main_metric(runs: Sequence[ComparedRun], requested: str | None) -> str:
    """Returns the metric to compare: the requested one, or the objective of the first run that has an objective.

    Raises:
        UsageError: No run has the requested metric.
    """
    known = list(dict.fromkeys(name for run in runs for name in run.metrics()))
    objectives = [run.objective[0] for run in runs if run.objective and run.points(run.objective[0])]
    name = requested or next(iter(objectives), known[0])
    if name not in known:
        raise UsageError(f"--metric must be a metric of one of the runs, got {name}{config.nearest(name, known)}")
    return name


def curve(run: ComparedRun, metric: str) -> Curve | None:
    """Returns a metric over the steps and seconds of a run, or None if the run does not have it."""
    rows = [row for row in run.rows if is_number(row.get(metric))]
    if not rows:
        return None
    timed = all(is_number(row.get("seconds")) for row in rows)
    seconds = [row["seconds"] for row in rows] if timed else None
    return Curve(run.label, [row["step"] for row in rows], seconds, [row[metric] for row in rows])


def table(runs: Sequence[ComparedRun], metric: str) -> Table:
    """Returns a table with one row per run: the settings that differ, the training time and the metrics.

    The best step is the one with the best objective of the run. ``metric`` is listed at the best and at the last step,
    the other evaluation metrics at the best step.
    """
    differing = _differing([run.settings for run in runs])
    others = dict.fromkeys(name for run in runs for name in run.metrics() if not name.startswith("train/"))
    others.pop(metric, None)
    columns = ("run", *differing, "steps", "minutes", "parameters", "best step", f"best {metric}", f"last {metric}")
    rows = []
    for run in runs:
        steps = max(row["step"] for row in run.rows)
        best = steps if (found := run.best_step()) is None else found
        seconds = [row["seconds"] for row in run.rows if is_number(row.get("seconds"))]
        reached = [steps, round(seconds[-1] / 60, 2) if seconds else None, run.parameters, best]
        values = [
            _value_at(run, metric, best),
            _value_at(run, metric, steps),
            *(_value_at(run, name, best) for name in others),
        ]
        rows.append((run.label, *(_setting(run.settings, key) for key in differing), *reached, *values))
    return Table((*columns, *others), rows)


def _differing(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the keys whose values differ between configs."""
    keys = dict.fromkeys(key for settings in configs for key in settings)
    values = lambda key: {json.dumps(settings[key]) if key in settings else None for settings in configs}
    return [key for key in keys if len(values(key)) > 1]


def _setting(settings: dict[str, Any], key: str) -> str | None:
    if key not in settings:
        return None
    value = settings[key]
    return printable(value if isinstance(value, str) else json.dumps(value), MAX_SETTING_LENGTH)


def _value_at(run: ComparedRun, metric: str, step: int) -> float | None:
    """Returns the last value of a metric up to a step."""
    values = [value for metric_step, value in run.points(metric) if metric_step <= step]
    return values[-1] if values else None


def as_markdown(table: Table) -> str:
    """Formats a table as Markdown."""
    lines = [map(_format, line) for line in (table.columns, ["---"] * len(table.columns), *table.rows)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def as_text(table: Table, width: int) -> str:
    """Formats a table for a terminal. If it is wider than ``width``, each run becomes a column."""
    lines = [[_format(value) for value in line] for line in (table.columns, *table.rows)]
    text = _aligned(lines)
    if len(text.partition("\n")[0]) > width:
        text = _aligned([list(column) for column in zip(*lines, strict=True)])
    return text


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    pad = lambda line: "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
    return "\n".join(pad(line).rstrip() for line in lines)


def _format(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.5g}" if isinstance(value, float) else printable(value, 2 * MAX_SETTING_LENGTH)
