"""Figures that several tasks share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxnets.ops.host.printable import printable

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

MAX_NAME = 30  # characters of a class name in a figure
MAX_CELLS = 1000  # rows and columns of a confusion matrix; memory is quadratic in their number


def escape_text(text: str) -> str:
    """Makes text from data printable and escapes its dollar signs, which delimit formulas in matplotlib."""
    return printable(text).replace("$", r"\$")


def confusion_matrix(targets: np.ndarray, predicted: np.ndarray, mask: np.ndarray, names: Sequence[str]) -> "Figure":
    """Draws the counts of true classes (rows) and predicted classes (columns); colors are normalized by row.

    Args:
        targets, predicted: Class indices ``[...]``.
        mask: bool ``[...]``, True at the examples to count.
        names: Names of the classes.
    """
    from matplotlib.figure import Figure

    classes = len(names)
    size = min(classes, MAX_CELLS)  # if there are more classes, adjacent classes share a row
    names = [escape_text(printable(name, MAX_NAME)) for name in names[:size]]
    targets, predicted = targets[mask].astype(int), predicted[mask].astype(int)
    counts = np.zeros((size, size), int)
    np.add.at(counts, (targets * size // classes, predicted * size // classes), 1)
    fractions = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(3.4 + 0.42 * min(size, 20), 2.8 + 0.42 * min(size, 20)))
    axes = figure.subplots()
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    if size <= 20:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if fractions[row, column] > 0.6 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", fontsize=8, color=color)
        axes.set_xticks(range(size), names, rotation=45 if max(map(len, names)) > 2 else 0)
        axes.set_yticks(range(size), names)
    accuracy = np.count_nonzero(targets == predicted) / max(len(targets), 1)
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {accuracy:.1%} on {counts.sum():,} examples")
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="fraction of the true class")
    figure.tight_layout()
    return figure


def mistakes(logits: np.ndarray, batch: dict[str, np.ndarray], names: Sequence[str], count: int = 12) -> "Figure":
    """Draws the examples with the lowest predicted probability of the true class.

    Series of up to 3 features are drawn as lines, sets as points, and rows of features as bars. Series of more features
    and pixel series with ``width`` in the batch are drawn as images.

    Args:
        logits: ``[N, C]``.
        batch: The examples, with ``inputs``, ``targets`` and ``mask``.
        names: Names of the classes.
        count: Maximum number of examples.
    """
    from matplotlib.figure import Figure

    names = [escape_text(printable(name, MAX_NAME)) for name in names]
    shifted = logits - logits.max(-1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)
    true_probability = np.take_along_axis(probabilities, batch["targets"][:, None], -1)[:, 0]
    worst = [i for i in np.argsort(true_probability) if batch["mask"][i]][:count]
    rows = max(1, -(-len(worst) // 4))
    figure = Figure(figsize=(10, 2.3 * rows + 0.5))
    panels = figure.subplots(rows, 4, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, i in zip(panels.flat, worst, strict=False):
        length = batch["lengths"][i] if "lengths" in batch else len(batch["inputs"][i])
        series = batch["inputs"][i][:length]
        if "valid" in batch:
            series = series[batch["valid"][i]]
        if "width" in batch:
            series = series.reshape(-1, batch["width"][i])
        axes.set_axis_on()
        if series.ndim == 1:
            axes.bar(np.arange(len(series)), series)
        elif series.ndim == 3:
            axes.imshow(series if series.shape[-1] == 3 else series.mean(-1), cmap="gray")
            axes.set_xticks([])
        elif "valid" in batch and 2 <= series.shape[-1] <= 3:
            axes.scatter(*series[:, :2].T, s=4)
            axes.set(aspect="equal", xticks=[])
        elif series.shape[-1] <= 3:
            axes.plot(series, "." if "valid" in batch else "-", lw=1)
            axes.set_xticks([0, max(length - 1, 1)])
        elif len(series):
            axes.imshow(series, cmap="gray_r", aspect="equal" if len(series) < 4 * series.shape[-1] else "auto")
            axes.set_xticks([])
        axes.set_yticks([])
        true, predicted = batch["targets"][i], int(np.argmax(logits[i]))
        wrong = f",\npredicted {names[predicted]} {probabilities[i, predicted]:.0%}" if predicted != true else ""
        axes.set_title(f"{names[true]} {true_probability[i]:.0%}{wrong}", fontsize=9)
    figure.suptitle("held-out examples with the lowest probability of the true class")
    figure.tight_layout()
    return figure


def filters(kernel: np.ndarray, count: int = 64) -> "Figure":
    """Draws the filters of a first convolution, each normalized to its own range.

    Args:
        kernel: ``[height, width, C, F]``.
        count: Maximum number of filters.
    """
    from matplotlib.figure import Figure

    shown = np.moveaxis(np.asarray(kernel, np.float32), -1, 0)[:count]
    low, high = shown.min((1, 2, 3), keepdims=True), shown.max((1, 2, 3), keepdims=True)
    shown = (shown - low) / np.maximum(high - low, 1e-12)
    columns = min(8, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(0.8 * columns, 0.8 * rows + 0.4))
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, image in zip(figure.axes, shown, strict=False):
        axes.imshow(image if image.shape[-1] == 3 else image.mean(-1), cmap="gray", vmin=0, vmax=1)
    figure.suptitle(f"{len(shown)} of {kernel.shape[-1]} filters of the first convolution", fontsize=9)
    figure.tight_layout()
    return figure


def predicted_vs_true(predictions: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> "Figure":
    """Draws predicted over true values, one panel for each quantity, with the diagonal of perfect predictions.

    Args:
        predictions, targets: ``[..., Q]``.
        names: Names of the first quantities to draw.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(names), 4.4))
    for i, (axes, name) in enumerate(zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True)):
        true, predicted = targets[..., i].ravel(), predictions[..., i].ravel()
        low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
        axes.plot([low, high], [low, high], color="gray", lw=1)
        axes.plot(true, predicted, ".", ms=4, alpha=0.5)
        error = float(np.sqrt(np.mean((predicted - true.astype(np.float64)) ** 2)))  # squares may overflow float32
        axes.set(
            xlabel="true",
            ylabel="predicted",
            title=f"{escape_text(name)}: root mean squared error {error:.3g}",
            aspect="equal",
        )
        axes.grid(alpha=0.3)
    figure.tight_layout()
    return figure
