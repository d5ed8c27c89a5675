"""Figures that several tasks share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxnets.ops.printable import printable

if TYPE_CHECKING:  # imported where something is drawn: to evaluate or export needs none
    from matplotlib.figure import Figure

NAME = 30  # characters of a class's name in a figure
CELLS = 1000  # rows and columns of a confusion matrix at most: more are not to be seen, and need memory by their square


def literal(text: str) -> str:
    """A text from data, printable, for a figure, in which two dollar signs would enclose a formula."""
    return printable(text).replace("$", r"\$")


def confusion(targets: np.ndarray, chosen: np.ndarray, mask: np.ndarray, names: Sequence[str]) -> "Figure":
    """How often each class (rows) was taken for each class (columns); a row's colors sum to 1."""
    from matplotlib.figure import Figure

    classes = len(names)
    size = min(classes, CELLS)  # of more classes, neighbors share a row
    names = [literal(printable(name, NAME)) for name in names[:size]]
    targets, chosen = targets[mask].astype(int), chosen[mask].astype(int)
    counts = np.zeros((size, size), int)
    np.add.at(counts, (targets * size // classes, chosen * size // classes), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(3.4 + 0.42 * min(size, 20), 2.8 + 0.42 * min(size, 20)))
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if size <= 20:
        for row, column in zip(*np.nonzero(counts), strict=True):
            shade = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", fontsize=8, color=shade)
        axes.set_xticks(range(size), names, rotation=45 if max(map(len, names)) > 2 else 0)
        axes.set_yticks(range(size), names)
    right = np.count_nonzero(targets == chosen) / max(len(targets), 1)
    axes.set(xlabel="predicted", ylabel="true", title=f"{right:.1%} of {counts.sum():,} right")
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="share of the true class")
    figure.tight_layout()
    return figure


def mistakes(logits: np.ndarray, batch: dict[str, np.ndarray], names: Sequence[str], count: int = 12) -> "Figure":
    """The examples whose true class the model thought least likely.

    Series are drawn as lines, sets as points, rows of features as bars; more features, and pixels whose ``width`` is in
    the batch, as an image; images as they are.
    """
    from matplotlib.figure import Figure

    names = [literal(printable(name, NAME)) for name in names]
    shifted = logits - logits.max(-1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)
    of_truth = np.take_along_axis(probabilities, batch["targets"][:, None], -1)[:, 0]
    worst = [i for i in np.argsort(of_truth) if batch["mask"][i]][:count]
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
        true, taken = batch["targets"][i], int(np.argmax(logits[i]))
        said = f",\nsaid {names[taken]} {probabilities[i, taken]:.0%}" if taken != true else ""
        axes.set_title(f"{names[true]} {of_truth[i]:.0%}{said}", fontsize=9)
    figure.suptitle("the least expected of the held-out examples: true class and its probability, and the answer")
    figure.tight_layout()
    return figure


def filters(kernel: np.ndarray, count: int = 64) -> "Figure":
    """The filters of a first convolution ``[height, width, C, F]``, each with its own range of grays or colors."""
    from matplotlib.figure import Figure

    shown = np.moveaxis(np.asarray(kernel, np.float32), -1, 0)[:count]
    low, high = shown.min((1, 2, 3), keepdims=True), shown.max((1, 2, 3), keepdims=True)
    shown = (shown - low) / np.maximum(high - low, 1e-12)
    columns = min(8, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(0.8 * columns, 0.8 * rows + 0.4))
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, one in zip(figure.axes, shown, strict=False):
        axes.imshow(one if one.shape[-1] == 3 else one.mean(-1), cmap="gray", vmin=0, vmax=1)
    figure.suptitle(f"{len(shown)} of {kernel.shape[-1]} filters of the first convolution", fontsize=9)
    figure.tight_layout()
    return figure


def predicted(answers: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> "Figure":
    """Predicted against true values, a panel for each quantity, with the diagonal of perfect answers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(names), 4.4))
    for i, (axes, name) in enumerate(zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True)):
        true, given = targets[..., i].ravel(), answers[..., i].ravel()
        low, high = min(true.min(), given.min()), max(true.max(), given.max())
        axes.plot([low, high], [low, high], color="gray", lw=1)
        axes.plot(true, given, ".", ms=4, alpha=0.5)
        error = float(np.sqrt(np.mean((given - true.astype(np.float64)) ** 2)))  # squares may leave float32
        axes.set(
            xlabel="true",
            ylabel="predicted",
            title=f"{literal(name)}: root mean squared error {error:.3g}",
            aspect="equal",
        )
        axes.grid(alpha=0.3)
    figure.tight_layout()
    return figure
