"""Several runs side by side: a table of what they reached and what differs between their configs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxnets.ops.printable import printable
from jaxnets.reports import Table
from jaxnets.reports.comparison import Curve
from jaxnets.training import build, config, rundir
from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.reporting.metrics import is_number, read_metrics

LONGEST = 40  # characters of a setting in a table


class Trained(NamedTuple):
    """A run, as it is compared with others.

    Attributes:
        label: Its name in the table.
        settings: Its config, flat.
        rows: Of its metrics.
        objective: The metric by which its best step is chosen, and ``"min"`` or ``"max"``; None: the last step is.
        units: Of metrics, without their splits.
        parameters: How many numbers its model has; None before the first checkpoint.
    """

    label: str
    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    objective: tuple[str, str] | None
    units: dict[str, str]
    parameters: int | None

    def points(self, metric: str) -> list[tuple[int, float]]:
        """Steps at which a metric was measured, and its values."""
        return [(row["step"], row[metric]) for row in self.rows if is_number(row.get(metric))]

    def metrics(self) -> list[str]:
        """The names of what was measured."""
        return list(dict.fromkeys(name for row in self.rows for name in row if "/" in name and is_number(row[name])))

    def best_step(self) -> int | None:
        """The step of the best objective."""
        points = self.points(self.objective[0]) if self.objective else []
        if not points:
            return None
        sign = -1 if self.objective and self.objective[1] == "max" else 1
        return min(points, key=lambda point: sign * point[1])[0]


def open_trained(workdir: Path, label: str, trusted: tuple[str, ...] = ()) -> Trained:
    """A run of which metrics were written.

    Args:
        workdir: Its folder.
        label: Its name in the table.
        trusted: Modules outside jaxnets that its config may name.

    Raises:
        RunError: There is no run, it cannot be read, or it has no metrics yet.
        UsageError: A model that must not be imported.
    """
    settings = rundir.load(workdir)
    rows = read_metrics(workdir)
    spec, _ = rundir.data(workdir)
    task = build.described(settings, spec, trusted)[1]
    found = Trained(label, config.flatten(settings), rows, task.objective, task.units, _parameters(workdir))
    if not found.metrics():
        raise RunError(f"no metrics in {workdir / 'metrics.jsonl'}: train there first")
    return found


def _parameters(workdir: Path) -> int | None:
    """Those of the last checkpoint."""
    if not rundir.has_checkpoint(workdir):
        return None
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        shapes = checkpoints.shapes("last")
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def main_metric(runs: Sequence[Trained], asked: str | None) -> str:
    """The metric that is compared: the one that is asked for, or else the objective of the first run that has one.

    Raises:
        UsageError: No run has measured it.
    """
    known = list(dict.fromkeys(name for run in runs for name in run.metrics()))
    objectives = [run.objective[0] for run in runs if run.objective and run.points(run.objective[0])]
    name = asked or next(iter(objectives), known[0])
    if name not in known:
        raise UsageError(f"--metric must be one that a run has measured, got {name}{config.nearest(name, known)}")
    return name


def curve(run: Trained, metric: str) -> Curve | None:
    """A metric over the steps and seconds of a run; None where it was not measured."""
    rows = [row for row in run.rows if is_number(row.get(metric))]
    if not rows:
        return None
    timed = all(is_number(row.get("seconds")) for row in rows)
    seconds = [row["seconds"] for row in rows] if timed else None
    return Curve(run.label, [row["step"] for row in rows], seconds, [row[metric] for row in rows])


def table(runs: Sequence[Trained], metric: str) -> Table:
    """A row for each run: what differs in its config, how long it trained, and its metrics.

    The best step is that of the run's own objective. The metric that is compared is given there and at the last step,
    the other metrics of held-out data there only.
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
        values = [_at(run, metric, best), _at(run, metric, steps), *(_at(run, name, best) for name in others)]
        rows.append((run.label, *(_setting(run.settings, key) for key in differing), *reached, *values))
    return Table((*columns, *others), rows)


def _differing(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The settings that are not the same in all configs."""
    keys = dict.fromkeys(key for settings in configs for key in settings)
    values = lambda key: {json.dumps(settings[key]) if key in settings else None for settings in configs}
    return [key for key in keys if len(values(key)) > 1]


def _setting(settings: dict[str, Any], key: str) -> str | None:
    if key not in settings:
        return None
    value = settings[key]
    return printable(value if isinstance(value, str) else json.dumps(value), LONGEST)


def _at(run: Trained, metric: str, step: int) -> float | None:
    """The last value of a metric up to a step."""
    values = [value for at, value in run.points(metric) if at <= step]
    return values[-1] if values else None


def as_markdown(table: Table) -> str:
    """The table as one of Markdown."""
    lines = [map(_shown, line) for line in (table.columns, ["---"] * len(table.columns), *table.rows)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def as_text(table: Table, width: int) -> str:
    """The table for a terminal, a column for each run where its rows are wider than the terminal."""
    lines = [[_shown(value) for value in line] for line in (table.columns, *table.rows)]
    text = _aligned(lines)
    if len(text.partition("\n")[0]) > width:
        text = _aligned([list(column) for column in zip(*lines, strict=True)])
    return text


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    pad = lambda line: "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
    return "\n".join(pad(line).rstrip() for line in lines)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.5g}" if isinstance(value, float) else printable(value, 2 * LONGEST)
