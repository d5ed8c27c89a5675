"""Where a run's numbers go: ``metrics.jsonl``, TensorBoard and ``figures/curves.png``."""

import json
import os
from pathlib import Path

from tensorboardX import SummaryWriter

from jaxnets.training.errors import RunError


class MetricWriter:
    """Appends to ``metrics.jsonl`` and TensorBoard. A context manager.

    Args:
        workdir: The run's folder.
        step: Where the run goes on; what was written after it, by a run that was killed, is dropped.
    """

    def __init__(self, workdir: Path, step: int):
        self._path = workdir / "metrics.jsonl"
        try:
            kept = [row for row in read_metrics(workdir) if row["step"] <= step]
            fresh = self._path.with_suffix(".tmp")
            fresh.write_text("".join(json.dumps(row) + "\n" for row in kept))
            os.replace(fresh, self._path)
            self._file = self._path.open("a")
            self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1 if step else None)
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *exception) -> None:
        try:
            self._file.close()
            self._board.close()
        except OSError as error:
            if exception[0] is None:  # else the first error is the one to tell
                raise self._failed(error) from error

    def _failed(self, error: OSError) -> RunError:
        return RunError(f"cannot write metrics to {self._path}: {error.strerror}")

    def write(self, step: int, metrics: dict[str, float]) -> None:
        try:
            self._file.write(json.dumps({"step": step, **metrics}) + "\n")
            self._file.flush()
            for name, value in metrics.items():
                self._board.add_scalar(name, value, step)
        except OSError as error:
            raise self._failed(error) from error


def read_metrics(workdir: Path) -> list[dict[str, float]]:
    """The rows of ``metrics.jsonl``; a last line that was cut short by a kill is left out."""
    path = workdir / "metrics.jsonl"
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def draw_curves(workdir: Path, unit: str) -> None:
    """``figures/curves.png``: training and validation loss against the step."""
    from matplotlib import pyplot

    rows = read_metrics(workdir)
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for name, style in (("train/loss", {"lw": 1, "alpha": 0.7}), ("val/loss", {"lw": 2, "marker": "o", "ms": 3})):
        points = [(row["step"], row[name]) for row in rows if name in row]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, label=f"{name} (last {values[-1]:.3f}, best {min(values):.3f})", **style)
    values = [row[name] for row in rows for name in ("train/loss", "val/loss") if name in row]
    if len(values) > 50:  # the first few are far above the rest and would flatten it
        low, high = min(values), sorted(values)[int(0.97 * len(values))]
        axes.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))
    if values:
        axes.legend()
    axes.set(xlabel="step", ylabel=f"loss, nats per {unit}")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    save_figure(workdir, "curves", figure)


def save_figure(workdir: Path, name: str, figure) -> Path:
    """Writes a matplotlib figure to ``figures/<name>.png`` and closes it."""
    from matplotlib import pyplot

    path = workdir / "figures" / f"{name}.png"
    try:
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    finally:
        pyplot.close(figure)
    return path
