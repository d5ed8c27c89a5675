"""Curves of several runs in one figure, by step and by time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from jaxnets.reports.figures import literal

if TYPE_CHECKING:  # imported where something is drawn: to evaluate or export needs none
    from matplotlib.figure import Figure


class Curve(NamedTuple):
    """Attributes:
    label: The run's name.
    steps: Updates done.
    seconds: What they took, of each step; None: the run did not measure it.
    values: Of a metric, of each step.
    """

    label: str
    steps: Sequence[int]
    seconds: Sequence[float] | None
    values: Sequence[float]


def comparison(curves: Sequence[Curve], ylabel: str) -> "Figure":
    """Two panels with the same curves: against the step, and against the time of training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2))
    by_step, by_time = figure.subplots(1, 2, sharey=True)
    longest = max((curve.seconds[-1] for curve in curves if curve.seconds), default=0.0)
    unit, size = ("minutes", 60) if longest >= 60 else ("seconds", 1)
    for number, curve in enumerate(curves):
        style = {"marker": "o", "ms": 3, "color": f"C{number % 10}"}
        by_step.plot(curve.steps, curve.values, label=f"{literal(curve.label)}: {curve.values[-1]:.3f}", **style)
        if curve.seconds is not None:
            by_time.plot([second / size for second in curve.seconds], curve.values, **style)
    by_step.set(xlabel="step", ylabel=literal(ylabel))
    by_time.set(xlabel=f"{unit} of training")
    by_step.legend()
    for axes in (by_step, by_time):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    return figure
