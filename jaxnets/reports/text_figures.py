"""Figures of text classifiers: a reliability diagram, and texts in which the words that mattered are marked."""

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxnets.learning.classification import calibration_bins, expected_calibration_error
from jaxnets.ops.host.printable import printable
from jaxnets.reports.figures import escape_text

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 110  # characters of a line
MAX_TOKEN = 40  # characters of a token
FONT_SIZE = 8  # points
CHARACTER = 0.602 * FONT_SIZE / 72  # inches, the width of a character of DejaVu Sans Mono
LINE = 1.6 * FONT_SIZE / 72  # inches


class MarkedText(NamedTuple):
    """A text whose tokens are marked.

    Attributes:
        kind: Heading; consecutive texts of a kind share it.
        outcome: A line above the text, such as the predicted class.
        tokens: The tokens, in readable form.
        effects: Effect of each token ``[T]``; positive numbers are blue and negative ones red.
        cut: Whether further tokens are left out.
    """

    kind: str
    outcome: str
    tokens: Sequence[str]
    effects: np.ndarray
    cut: bool = False


def marked_texts(texts: Sequence[MarkedText], separated: bool = True) -> "Figure":
    """Draws texts with a color behind each token, from red over white to blue; the scale of each text is its own.

    Args:
        texts: The texts.
        separated: Whether there are spaces between tokens.
    """
    from matplotlib.figure import Figure

    layouts = [_wrapped(text, separated) for text in texts]
    headings = len({text.kind for text in texts})
    lines = 2.0 + 1.6 * headings + sum(layout[-1][1] + 2.6 if layout else 2.0 for layout in layouts)
    figure = Figure(figsize=(COLUMNS * CHARACTER + 0.4, lines * LINE))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(-0.2 / CHARACTER, COLUMNS + 0.2 / CHARACTER), ylim=(lines, 0))
    axes.set_axis_off()
    legend = "blue: for the predicted class, red: against it (gradient times input)" if texts else "no texts"
    axes.text(0, 0.8, legend, fontsize=FONT_SIZE, color="gray", va="center")
    y, kind = 2.0, None
    for text, layout in zip(texts, layouts, strict=True):
        if text.kind != kind:
            axes.text(0, y, escape_text(text.kind), fontsize=FONT_SIZE + 2, weight="bold", va="center")
            kind, y = text.kind, y + 1.6
        outcome = escape_text(printable(text.outcome, COLUMNS))
        axes.text(0, y, outcome, fontsize=FONT_SIZE, color="gray", va="center", family="monospace")
        _draw_tokens(axes, layout, text, y + 1.1)
        y += layout[-1][1] + 2.6 if layout else 2.0
    return figure


def _wrapped(text: MarkedText, separated: bool) -> list[tuple[int, int, int, str]]:
    """Returns the column, the line, the width and the text of each token, and of the ellipsis of a text that is cut."""
    layout, column, line = [], 0, 0
    for token in [*text.tokens, *(["…"] if text.cut else [])]:
        shown = printable(token, MAX_TOKEN)
        width = sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in shown)
        if column and column + width > COLUMNS:
            column, line = 0, line + 1
        layout.append((column, line, width, shown))
        column += width + separated
    return layout


def _draw_tokens(axes: "Axes", layout: list[tuple[int, int, int, str]], text: MarkedText, top: float) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    effects = np.nan_to_num(np.asarray(text.effects, np.float64), posinf=0.0, neginf=0.0)
    largest = max(np.abs(effects).max(initial=0.0), np.finfo(np.float64).tiny)
    for i, (column, line, width, shown) in enumerate(layout):
        y = top + line
        if i < len(effects):
            color = colormaps["RdBu"](0.5 + 0.35 * effects[i] / largest)  # the ends are too dark for black letters
            axes.add_patch(Rectangle((column, y - 0.45), width, 0.9, color=color, lw=0))
        axes.text(column, y, shown.replace("$", r"\$"), fontsize=FONT_SIZE, va="center", family="monospace")


def reliability_diagram(logits: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> "Figure":
    """Draws the accuracy over the confidence, in 15 bins, with the number of examples of each bin.

    Args:
        logits: ``[..., C]``.
        targets: Class indices ``[...]``.
        mask: bool ``[...]``, True at the examples to count.
    """
    from matplotlib.figure import Figure

    counts = {name: np.asarray(value) for name, value in calibration_bins(logits, targets, mask).items()}
    count, bins = counts["count"], len(counts["count"])
    used, centers = count > 0, (np.arange(bins) + 0.5) / bins
    figure = Figure(figsize=(4.6, 5.4))
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color="gray", lw=1)
    accuracy, confidence = (counts[name][used] / count[used] for name in ("correct", "confidence"))
    axes.bar(centers[used], accuracy, 1 / bins, edgecolor="white", alpha=0.6)
    axes.plot(confidence, accuracy, "o-", ms=3, lw=1, color="black")
    error = expected_calibration_error(counts)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=f"expected calibration error {error:.3f}")
    below.bar(centers, count, 1 / bins, edgecolor="white", color="gray")
    below.set(xlabel="confidence", ylabel="examples")
    figure.tight_layout()
    return figure
