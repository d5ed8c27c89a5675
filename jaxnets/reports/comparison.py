"""Comparison of the learning curves of several runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from jaxnets.reports.figures import escape_text

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure


class Curve(NamedTuple):
    """A learning curve.

    Attributes:
        label: Name of the run.
        steps: Number of updates at each point.
        seconds: Training time at each point; None if the run did not measure it.
        values: Values of the metric.
    """

    label: str
    steps: Sequence[int]
    seconds: Sequence[float] | None
    values: Sequence[float]


def plot_curves(curves: Sequence[Curve], ylabel: str) -> "Figure":
    """Returns a figure of curves in two panels: over training steps, and over training time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2))
    by_step, by_time = figure.subplots(1, 2, sharey=True)
    max_seconds = max((curve.seconds[-1] for curve in curves if curve.seconds), default=0.0)
    unit, size = ("minutes", 60) if max_seconds >= 60 else ("seconds", 1)
    for index, curve in enumerate(curves):
        style = {"marker": "o", "ms": 3, "color": f"C{index % 10}"}
        by_step.plot(curve.steps, curve.values, label=f"{escape_text(curve.label)}: {curve.values[-1]:.3f}", **style)
        if curve.seconds is not None:
            by_time.plot([seconds / size for seconds in curve.seconds], curve.values, **style)
    by_step.set(xlabel="step", ylabel=escape_text(ylabel))
    by_time.set(xlabel=f"training time ({unit})")
    by_step.legend()
    for axes in (by_step, by_time):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    return figure
