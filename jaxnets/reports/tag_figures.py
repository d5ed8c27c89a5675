"""Reports of taggers: sentences with marked errors, and the scores of transitions."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxnets.data.sources.tagging.word_arrays import text_of_characters
from jaxnets.data.targets import Tags
from jaxnets.ops.host.printable import printable
from jaxnets.reports.artifacts import Text
from jaxnets.reports.figures import MAX_NAME, escape_text

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

NUM_SENTENCES = 12
MAX_WORD = 20  # characters of a word
MAX_LINE = 110  # characters of a line
MAX_NAMED = 50  # tags with their names in a figure


def tagged_sentences(batches: Sequence[dict[str, np.ndarray]], spec: Tags) -> Text:
    """Returns sentences with an error, spread over the batches, as text: words, true tags, and wrong predicted tags.

    Args:
        batches: Batches with ``predicted`` ``[B, T]``, ids of tags.
        spec: The tags.
    """
    rows = [(batch, i) for batch in batches for i in range(len(batch["mask"])) if batch["mask"][i].any()]
    wrong = [(batch, i) for batch, i in rows if (batch["targets"] != batch["predicted"])[i][batch["mask"][i]].any()]
    indices = np.linspace(0, len(wrong) - 1, NUM_SENTENCES if wrong else 0).astype(int)
    chosen = [wrong[i] for i in np.unique(indices)]
    title = f"{len(wrong):,} of {len(rows):,} held-out sentences have an error; {len(chosen)} of them:\n"
    return Text("\n".join([title, *(_sentence(batch, i, spec) for batch, i in chosen)]))


def _sentence(batch: dict[str, np.ndarray], i: int, spec: Tags) -> str:
    columns = []
    for step in range(int(batch["lengths"][i])):
        true, predicted = int(batch["targets"][i, step]), int(batch["predicted"][i, step])
        is_known = bool(batch["mask"][i, step])
        cells = (
            _word(batch, i, step, spec),
            printable(spec.names[true], MAX_WORD) if is_known else "",
            "*" + printable(spec.names[predicted], MAX_WORD) if is_known and true != predicted else "",
        )
        columns.append([cell.ljust(max(map(len, cells))) for cell in cells])
    return "\n".join(_wrapped(columns, ("words", "true", "predicted")))


def _wrapped(columns: Iterable[list[str]], titles: Sequence[str]) -> list[str]:
    """Returns the lines of a table of columns, in blocks of at most ``MAX_LINE`` characters."""
    size = max(map(len, titles))
    start = [title.ljust(size) for title in titles]
    lines, block = [], list(start)
    for cells in columns:
        if len(block[0]) + len(cells[0]) + 2 > MAX_LINE and block != start:
            lines += block
            block = [" " * size] * len(titles)
        block = [f"{line}  {cell}" for line, cell in zip(block, cells, strict=True)]
    return [line.rstrip() for line in [*lines, *block]] + [""]


def _word(batch: dict[str, np.ndarray], i: int, step: int, spec: Tags) -> str:
    if spec.characters is not None:
        return printable(text_of_characters(batch["characters"][i, step], spec.characters), MAX_WORD)
    return printable(spec.tokenizer.show(int(batch["inputs"][i, step])), MAX_WORD)


def transition_matrix(transitions: np.ndarray, start: np.ndarray, end: np.ndarray, names: Sequence[str]) -> "Figure":
    """Draws the scores of transitions between tags, of the first and of the last tag; those of minus infinity are gray.

    Args:
        transitions: ``[K, K]``, from the tag of the row to the tag of the column.
        start, end: ``[K]``.
        names: Names of the K tags.
    """
    from matplotlib.figure import Figure

    size = len(names)
    scores = np.full((size + 1, size + 1), np.nan)
    scores[0, :size], scores[1:, :size], scores[1:, size] = start, transitions, end
    scores[~np.isfinite(scores)] = np.nan
    limit = max(float(np.nanmax(np.abs(scores), initial=0)), 1e-6)
    shown = min(size, MAX_NAMED)
    figure = Figure(figsize=(3.2 + 0.24 * shown, 2.4 + 0.24 * shown))
    axes = figure.subplots()
    axes.set_facecolor("0.8")
    image = axes.imshow(scores, cmap="RdBu_r", vmin=-limit, vmax=limit)
    if size <= MAX_NAMED:
        labels = [escape_text(printable(name, MAX_NAME)) for name in names]
        axes.set_xticks(range(size + 1), [*labels, "end"], rotation=90, fontsize=8)
        axes.set_yticks(range(size + 1), ["start", *labels], fontsize=8)
    axes.set(xlabel="to", ylabel="from", title="scores of transitions")
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    figure.tight_layout()
    return figure
