"""Tables of predictions, for ``Endpoint.present``."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxnets.data import Classes, Labels, Quantities, Vocabulary
from jaxnets.reports import Table

MAX_CLASSES = 20  # up to this number of classes, a table has the probabilities of all classes
TOP = 5  # classes in the table if there are more


def class_table(logits: Any, classes: Classes) -> Table:
    """Returns the most likely class and the class probabilities of each row or step.

    Args:
        logits: ``[N, C]`` or ``[N, T, C]``.
        classes: Spec of the classes.
    """
    logits = np.asarray(logits, np.float64)
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = shifted / shifted.sum(-1, keepdims=True)
    name_of = lambda i, p: classes.names[i] if np.isfinite(p).all() else ""  # empty if an output is NaN
    if classes.size <= MAX_CLASSES:
        columns = ("class", *(f"p({name})" for name in classes.names))
        values = lambda p: (name_of(np.argmax(p), p), *p.tolist())
    else:
        columns = tuple(f"{name} {rank}" for rank in range(1, TOP + 1) for name in ("class", "probability"))
        best = lambda p: np.argsort(-p, kind="stable")[:TOP]
        values = lambda p: tuple(value for i in best(p) for value in (name_of(i, p), float(p[i])))
    indices, names = _leading_indices(probabilities)
    return Table((*names, *columns), [(*index, *values(probabilities[index])) for index in indices])


def label_table(logits: Any, labels: Labels) -> Table:
    """Returns the labels with a probability above 0.5, separated by ``;``, and all probabilities of each row.

    Args:
        logits: ``[N, C]``.
        labels: Spec of the labels.
    """
    probabilities = np.exp(-np.logaddexp(0, -np.asarray(logits, np.float64)))
    found = (";".join(name for name, p in zip(labels.names, row, strict=True) if p > 0.5) for row in probabilities)
    rows = [(i, names, *row) for i, (names, row) in enumerate(zip(found, probabilities.tolist(), strict=True))]
    return Table(("row", "labels", *(f"p({name})" for name in labels.names)), rows)


def quantity_table(predictions: Any, quantities: Quantities) -> Table:
    """Returns the predicted quantities of each row or step.

    Args:
        predictions: ``[N, Q]`` or ``[N, T, Q]``.
        quantities: Spec of the quantities.
    """
    predictions = np.asarray(predictions)
    indices, names = _leading_indices(predictions)
    return Table((*names, *quantities.names), [(*index, *predictions[index].tolist()) for index in indices])


def choice_table(logits: Any) -> Table:
    """Returns the chosen element of each set and its probability.

    Args:
        logits: ``[N, M]``, minus infinity at padding.
    """
    logits = np.asarray(logits, np.float64)
    shifted = np.exp(logits - np.max(logits, axis=-1, initial=np.finfo(np.float64).min, keepdims=True))
    chosen = np.argmax(logits, axis=-1)
    probabilities = shifted[np.arange(len(logits)), chosen] / np.maximum(shifted.sum(-1), np.finfo(np.float64).tiny)
    rows = zip(range(len(logits)), chosen.tolist(), probabilities.tolist(), strict=True)
    return Table(("row", "element", "probability"), list(rows))


def token_table(tokens: Any, nats: Any, valid: Any, vocabulary: Vocabulary) -> Table:
    """Returns the tokens of a text in order, each with its negative log-likelihood given the previous tokens.

    Args:
        tokens, nats, valid: ``[N, S, T]``, in the order of the text.
        vocabulary: Vocabulary of the tokens.
    """
    flat = lambda array: np.asarray(array).reshape(len(array), -1)
    mask = flat(valid)
    columns = (*np.nonzero(mask), flat(tokens)[mask].tolist(), flat(nats)[mask].tolist())
    rows = [
        (int(row), int(position), vocabulary.show(token), value)
        for row, position, token, value in zip(*columns, strict=True)
    ]
    return Table(("row", "position", vocabulary.unit, "nats"), rows)


def _leading_indices(array: np.ndarray) -> tuple[Iterator[tuple[int, ...]], tuple[str, ...]]:
    """Returns all indices into the axes before the last, and the names of these axes."""
    return np.ndindex(array.shape[:-1]), ("row", "step", "position")[: array.ndim - 1]
