"""Reports of word vectors: a map of frequent words, their neighbors, and analogies."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxnets.data.targets import Words
from jaxnets.reports import Table, Text
from jaxnets.reports.figures import escape_text
from jaxnets.tasks.words.endpoints import ANSWERS, answer_artifacts
from jaxnets.text import evaluate_analogies, nearest, solve_analogies

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

COMMON = 40  # the most frequent words are function words, whose vectors say little
ON_MAP = 120
IN_TABLE = 30
EXAMPLES = (  # shown if all of their words are known
    "man king woman",
    "king queen man",
    "father mother son",
    "father mother brother",
    "he him she",
    "is was are",
    "return returns call",
    "file files module",
    "open close start",
    "read reading write",
    "key value name",
    "string strings list",
)


def of_words(spec: Words, table: Callable[[Any], jax.Array], questions: Mapping[str, Any]) -> Callable[..., Any]:
    """Returns the report of word vectors.

    Args:
        spec: The words.
        table: ``variables -> [V, D]``, the vectors.
        questions: Analogies by section, for a table of their accuracies.
    """

    def report(variables, splits, key):
        vectors = np.asarray(table(variables))
        artifacts = {"map": _map(spec, vectors), "neighbors": _neighbors(spec, vectors)}
        artifacts["words"] = Text("\n".join(spec.tokenizer.symbols))
        examples = [ids for line in EXAMPLES if (ids := spec.tokenizer.ids(line.split())).all()]
        if examples:
            asked = np.stack(examples)
            answers, scores = map(np.asarray, solve_analogies(vectors, asked, ANSWERS))
            artifacts["analogies"] = answer_artifacts(spec, asked, answers, scores)["text"]
        if questions:
            found = evaluate_analogies(("", *spec.tokenizer.symbols), vectors, questions)
            rows = [(name, each.correct, each.answered, each.total) for name, each in found.items()]
            artifacts["sections"] = Table(("section", "correct", "answered", "questions"), rows)
        return artifacts

    return report


def _frequent(spec: Words, number: int) -> np.ndarray:
    """Returns the ids of frequent words without the most frequent ones."""
    first = 1 + min(COMMON, max(0, spec.size - 1 - number))
    return np.arange(first, min(first + number, spec.size))


def _neighbors(spec: Words, vectors: np.ndarray) -> Table:
    words = _frequent(spec, IN_TABLE)
    found, scores = nearest(vectors, vectors[words], ANSWERS, np.stack([words, np.zeros_like(words)], axis=1))
    table = answer_artifacts(spec, words[:, None], np.asarray(found), np.asarray(scores))["answers"]
    rows = [(word, spec.counts[id], *rest) for id, (_, word, *rest) in zip(words, table.rows, strict=True)]
    return Table(("word", "count", *table.columns[2:]), rows)


def _map(spec: Words, vectors: np.ndarray) -> "Figure":
    """Draws frequent words at their first two principal components."""
    from matplotlib.figure import Figure

    words = _frequent(spec, ON_MAP)
    unit = vectors[words] / np.maximum(np.linalg.norm(vectors[words], axis=1, keepdims=True), 1e-12)
    centered = (unit - unit.mean(0)).astype(np.float64)
    left, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    points = (left * sizes)[:, :2]
    figure = Figure(figsize=(12, 9))
    axes = figure.subplots()
    axes.scatter(points[:, 0], points[:, 1], s=4, color="C0")
    for (x, y), word in zip(points, words, strict=True):
        axes.annotate(escape_text(spec.tokenizer.show(int(word))), (x, y), (2, 2), textcoords="offset points", size=8)
    share = np.sum(sizes[:2] ** 2) / max(np.sum(sizes**2), 1e-12)
    axes.set(xticks=[], yticks=[], title=f"{len(words)} frequent words, first two principal components ({share:.0%})")
    figure.tight_layout()
    return figure
