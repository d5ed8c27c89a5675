"""Figures of anomaly scores over time."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxnets.data.statistics import Statistics
from jaxnets.ops.host.printable import printable
from jaxnets.reports.figures import escape_text

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

MAX_STEPS = 2000
MAX_CHANNELS = 3
MAX_NAME = 20  # characters of the name of a channel


class ScoredSteps(NamedTuple):
    """The scored steps of a split in time order, one series after the other.

    Attributes:
        values: ``[N, C]``, standardized.
        scores: ``[N]``.
        labels: bool ``[N]``, True for an anomaly.
        series: Integers ``[N]``, the index of the series.
    """

    values: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    series: np.ndarray


def scored_steps(score: Callable[[Any], np.ndarray], batches: Any) -> ScoredSteps:
    """Collects the steps of a split, without masked ones.

    Args:
        score: ``batch -> [B, S]``.
        batches: The batches, as in ``data.labeled_steps``.
    """
    parts = []
    for i in range(len(batches)):  # by index: an iterator would prefetch many batches
        batch = batches[i]
        mask, steps = batch["mask"], batch["mask"].shape[1]
        series = np.broadcast_to(batch["series"][:, None], mask.shape)
        arrays = (batch["inputs"][:, -steps:], score(batch), batch["labels"], series)
        parts.append([array[mask] for array in arrays])
    return ScoredSteps(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def scores_over_time(
    steps: ScoredSteps, threshold: float, names: Sequence[str], statistics: Statistics | None
) -> "Figure":
    """Draws a series and its scores, with the anomalies shaded and the threshold dashed.

    Of several series the one with the most anomalies is drawn, and of a long series the ``MAX_STEPS`` steps with the
    most anomalies.

    Args:
        steps: The scored steps.
        threshold: The threshold of the scores; NaN: none.
        names: Names of the C channels, of which at most three are drawn.
        statistics: Statistics that standardize the values; None if they are not standardized.
    """
    from matplotlib.figure import Figure

    at = _shown(steps)
    values, scores, labels = steps.values[at].astype(np.float64), steps.scores[at], steps.labels[at]
    if statistics is not None:
        values = values * statistics.std + (statistics.origin + statistics.offset)
    channels, xs = min(len(names), MAX_CHANNELS), np.arange(len(scores))
    figure = Figure(figsize=(11, 1.7 * channels + 2.4))
    panels = figure.subplots(channels + 1, 1, sharex=True)
    for channel, axes in enumerate(panels[:-1]):
        axes.plot(xs, values[:, channel], color="black", lw=0.7)
        axes.set_ylabel(escape_text(printable(names[channel], MAX_NAME)), fontsize=8)
    low = max(float(np.quantile(scores, 0.01)), 1e-6) if len(scores) else 1
    panels[-1].plot(xs, np.maximum(scores, low), color="C0", lw=0.7)
    panels[-1].set(yscale="log", xlabel="scored step", ylabel="anomaly score")
    if np.isfinite(threshold):
        panels[-1].axhline(threshold, color="C3", ls="--", lw=1, label=f"threshold {threshold:.3g}")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], labels.astype(int), [0]]))).reshape(-1, 2)
    for axes in panels:
        for i, (begin, end) in enumerate(edges):
            label = "anomaly" if axes is panels[-1] and i == 0 else None
            axes.axvspan(begin - 0.5, end - 0.5, color="C1", alpha=0.35, lw=0, label=label)
        axes.tick_params(labelsize=7)
        axes.margins(x=0)
    handles = panels[-1].get_legend_handles_labels()[0]
    if handles:  # above the series, so that it hides nothing
        place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2, "frameon": False}
        panels[0].legend(handles=handles, fontsize=8, **place)
    figure.tight_layout()
    return figure


def _shown(steps: ScoredSteps) -> slice:
    """Returns the range of steps to draw."""
    if not len(steps.scores):
        return slice(0, 0)
    joints = np.flatnonzero(np.diff(steps.series)) + 1
    bounds = np.concatenate([[0], joints, [len(steps.scores)]])
    series = int(np.argmax(np.add.reduceat(steps.labels.astype(int), bounds[:-1])))
    begin, end = int(bounds[series]), int(bounds[series + 1])
    if end - begin <= MAX_STEPS:
        return slice(begin, end)
    counts = np.concatenate([[0], np.cumsum(steps.labels[begin:end])])
    first = begin + int(np.argmax(counts[MAX_STEPS:] - counts[:-MAX_STEPS]))
    return slice(first, first + MAX_STEPS)
