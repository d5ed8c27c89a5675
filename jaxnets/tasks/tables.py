"""Predictions as tables: what ``Endpoint.present`` gives for files that people read."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxnets.data import Classes, Labels, Quantities, Vocabulary
from jaxnets.reports import Table

MAX_COLUMNS = 20  # classes whose probabilities are all shown; of more, only those of the most likely
SHOWN = 5


def of_classes(logits: Any, classes: Classes) -> Table:
    """The most likely class of each row, or of each step of it, and probabilities.

    Args:
        logits: ``[N, C]`` or ``[N, T, C]``.
        classes: Their names.
    """
    logits = np.asarray(logits, np.float64)
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = shifted / shifted.sum(-1, keepdims=True)
    name_of = lambda i, p: classes.names[i] if np.isfinite(p).all() else ""  # no class where an output is NaN
    if classes.size <= MAX_COLUMNS:
        columns = ("class", *(f"p({name})" for name in classes.names))
        values = lambda p: (name_of(np.argmax(p), p), *p.tolist())
    else:
        columns = tuple(f"{what} {rank}" for rank in range(1, SHOWN + 1) for what in ("class", "probability"))
        best = lambda p: np.argsort(-p, kind="stable")[:SHOWN]
        values = lambda p: tuple(value for i in best(p) for value in (name_of(i, p), float(p[i])))
    places, names = _places(probabilities)
    return Table((*names, *columns), [(*place, *values(probabilities[place])) for place in places])


def of_labels(logits: Any, labels: Labels) -> Table:
    """The labels of each row whose probability is above one half, separated by ``;``, and all probabilities.

    Args:
        logits: ``[N, C]``.
        labels: Their names.
    """
    probabilities = np.exp(-np.logaddexp(0, -np.asarray(logits, np.float64)))
    found = (";".join(name for name, p in zip(labels.names, row, strict=True) if p > 0.5) for row in probabilities)
    rows = [(i, names, *row) for i, (names, row) in enumerate(zip(found, probabilities.tolist(), strict=True))]
    return Table(("row", "labels", *(f"p({name})" for name in labels.names)), rows)


def of_quantities(answers: Any, quantities: Quantities) -> Table:
    """The quantities of each row, or of each step of it.

    Args:
        answers: ``[N, Q]`` or ``[N, T, Q]``.
        quantities: Their names.
    """
    answers = np.asarray(answers)
    places, names = _places(answers)
    return Table((*names, *quantities.names), [(*place, *answers[place].tolist()) for place in places])


def of_choices(logits: Any) -> Table:
    """The chosen element of each set, and its probability.

    Args:
        logits: ``[N, M]``, minus infinity where there is no element.
    """
    logits = np.asarray(logits, np.float64)
    shifted = np.exp(logits - np.max(logits, axis=-1, initial=np.finfo(np.float64).min, keepdims=True))
    chosen = np.argmax(logits, axis=-1)
    probabilities = shifted[np.arange(len(logits)), chosen] / np.maximum(shifted.sum(-1), np.finfo(np.float64).tiny)
    rows = zip(range(len(logits)), chosen.tolist(), probabilities.tolist(), strict=True)
    return Table(("row", "element", "probability"), list(rows))


def of_tokens(tokens: Any, nats: Any, valid: Any, vocabulary: Vocabulary) -> Table:
    """The tokens of a text in their order, and ``-log p`` of each given those before it.

    Args:
        tokens, nats, valid: ``[N, S, T]``: rows follow each other, and so do steps and tokens within a row.
        vocabulary: What the tokens mean.
    """
    flat = lambda array: np.asarray(array).reshape(len(array), -1)
    real = flat(valid)
    found = zip(*np.nonzero(real), flat(tokens)[real].tolist(), flat(nats)[real].tolist(), strict=True)
    rows = [(int(row), int(place), vocabulary.show(token), value) for row, place, token, value in found]
    return Table(("row", "position", vocabulary.unit, "nats"), rows)


def _places(array: np.ndarray) -> tuple[Iterator[tuple[int, ...]], tuple[str, ...]]:
    """All places in the axes before the last, and what the axes are called."""
    return np.ndindex(array.shape[:-1]), ("row", "step", "position")[: array.ndim - 1]
