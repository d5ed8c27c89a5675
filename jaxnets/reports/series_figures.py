"""Figures of forecasts: windows with intervals, errors by step of the horizon, and autocorrelation of residuals."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnets.ops.host.printable import printable
from jaxnets.reports.figures import escape_text

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

PANELS = 6
MAX_CHANNELS = 3  # in the figure of windows
MAX_NAME = 20  # characters of the name of a channel
MAX_LAGS = 48
MAX_LINES = 10  # channels in the other figures


def forecasts(
    predict: Callable[[Any], dict[str, Any]],
    batches: Any,
    names: Sequence[str],
    in_units: Callable[[np.ndarray], np.ndarray],
) -> dict[str, "Figure"]:
    """Draws the forecasts of a split.

    Args:
        predict: ``batch -> {"forecast", "targets"}`` and, if there are intervals, ``"lower"`` and ``"upper"``, each
            standardized, ``[B, H, C]``.
        batches: The batches, in the order of time, one series after the other.
        names: Names of the C channels.
        in_units: Converts standardized values ``[B, T, C]`` to the units of the data, in float64.
    """
    sums, count, first, examples = 0.0, 0.0, [], []
    shown = {round(i * (len(batches) - 1) / max(PANELS - 1, 1)) for i in range(PANELS)}
    for i in range(len(batches)):  # by index: an iterator would prefetch many batches
        batch = batches[i]
        found = {name: in_units(np.asarray(values)) for name, values in predict(batch).items()}
        mask = batch["mask"]
        errors = np.where(mask, found["forecast"] - found["targets"], 0)
        sums, count = sums + (errors**2).sum(0), count + mask.sum(0)
        first.append(np.where(mask[:, 0], errors[:, 0], np.nan))
        if i in shown:
            row = {name: values[0] for name, values in found.items()}
            window = in_units(batch["inputs"][:1])[0]
            observed = batch["observed"][0] if "observed" in batch else np.ones(window.shape, bool)
            examples.append({**row, "window": np.where(observed, window, np.nan), "mask": mask[0]})
    labels = [escape_text(printable(name, MAX_NAME)) for name in names]
    rmse = np.sqrt(sums / np.maximum(count, 1))
    return {
        "forecasts": _windows(examples, labels),
        "error_by_step": _errors(rmse, labels),
        "autocorrelation": _autocorrelations(np.concatenate(first), labels),
    }


def autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:
    r"""Computes the autocorrelation of a series, ignoring missing values:

    .. math:: r_k = \frac{\sum_t (x_t - \bar x)(x_{t-k} - \bar x)}{\sum_t (x_t - \bar x)^2}

    Args:
        values: ``[T]``, NaN where missing.
        lags: The largest k.

    Returns:
        float64 ``[min(lags, T - 1)]`` for k = 1, ...
    """
    centered = (
        np.nan_to_num(values.astype(np.float64) - np.nanmean(values)) if np.isfinite(values).any() else values * 0
    )
    variance = (centered**2).sum()
    lags = min(lags, len(centered) - 1)
    return np.array([(centered[k:] * centered[:-k]).sum() / max(variance, 1e-300) for k in range(1, lags + 1)])


def _windows(examples: list[dict[str, np.ndarray]], labels: Sequence[str]) -> "Figure":
    from matplotlib.figure import Figure

    channels = min(len(labels), MAX_CHANNELS)
    figure = Figure(figsize=(5 * min(len(examples), 3), 2.2 * channels * -(-len(examples) // 3) + 0.6))
    panels = figure.subplots(channels * -(-len(examples) // 3), min(len(examples), 3), squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for i, example in enumerate(examples):
        length, horizon = len(example["window"]), len(example["forecast"])
        before, after = np.arange(-min(length, max(2 * horizon, 24)), 0), np.arange(horizon)
        style = {"marker": "." if horizon < 3 else ""}  # a line of one point is invisible
        for channel in range(channels):
            axes = panels[channels * (i // 3) + channel, i % 3]
            axes.set_axis_on()
            axes.plot(before + 1, example["window"][before, channel], color="0.5", lw=1)
            truth = np.where(example["mask"], example["targets"], np.nan)[:, channel]
            axes.plot(after + 1, truth, color="black", lw=1, label="truth", **style)
            axes.plot(after + 1, example["forecast"][:, channel], color="C0", lw=1.2, label="forecast", **style)
            if "lower" in example:
                lower, upper = example["lower"][:, channel], example["upper"][:, channel]
                middle, half = (lower + upper) / 2, (upper - lower) / 2
                axes.errorbar(after + 1, middle, half, fmt="none", color="C0", alpha=0.5) if horizon < 3 else None
                axes.fill_between(after + 1, lower, upper, color="C0", alpha=0.25, lw=0, label="90 %")
            axes.axvline(0.5, color="0.8", lw=0.8)
            axes.set_ylabel(labels[channel], fontsize=8)
            axes.tick_params(labelsize=7)
    panels[0, 0].legend(fontsize=7)
    figure.supxlabel("step", fontsize=8)
    figure.tight_layout()
    return figure


def _errors(rmse: np.ndarray, labels: Sequence[str]) -> "Figure":
    figure = _lines(rmse, labels, "." if len(rmse) < 3 else "-")
    figure.axes[0].set(xlabel="step of the horizon", ylabel="root mean squared error", ylim=(0, None))
    return figure


def _autocorrelations(residuals: np.ndarray, labels: Sequence[str]) -> "Figure":
    """Draws the autocorrelation of the errors one step ahead ``[N, C]``; values within the band are noise."""
    found = np.stack([autocorrelation(channel, MAX_LAGS) for channel in residuals.T[:MAX_LINES]], axis=1)
    figure = _lines(found, labels, ".-")
    bound = 1.96 / np.sqrt(max(len(residuals), 1))
    figure.axes[0].axhspan(-bound, bound, color="0.85")
    figure.axes[0].set(xlabel="lag", ylabel="autocorrelation of errors one step ahead")
    return figure


def _lines(values: np.ndarray, labels: Sequence[str], style: str) -> "Figure":
    """Draws the first channels of ``[N, C]`` against 1, ..., N."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="tight")
    axes = figure.subplots()
    for channel, label in zip(values.T[:MAX_LINES], labels, strict=False):
        axes.plot(np.arange(len(channel)) + 1, channel, style, lw=1, label=label)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    return figure
