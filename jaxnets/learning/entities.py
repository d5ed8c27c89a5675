"""Precision, recall and F1 of entities: exact spans and types, as computed by conlleval and seqeval."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnets.data.tokens.tag_schemes import PREFIXES, Span, spans, strict_spans
from jaxnets.learning.evaluators import Evaluator
from jaxnets.ops.checks import check_choice
from jaxnets.ops.host.printable import printable

STRICT = ("iob2", "iobes")  # schemes with strict scores
MAX_TYPES = 20  # with their own metrics
MAX_NAME = 60  # characters of a type in a metric


class EntityCounts(NamedTuple):
    """Numbers of entities by type.

    Attributes:
        correct: Predicted entities with the span and the type of a true one.
        predicted: Predicted entities.
        true: True entities.
    """

    correct: Counter[str]
    predicted: Counter[str]
    true: Counter[str]

    def plus(self, other: "EntityCounts") -> "EntityCounts":
        """Returns the sums of both numbers."""
        return EntityCounts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def count_entities(
    true: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]], scheme: str, strict: bool = False
) -> EntityCounts:
    """Counts the entities of sentences.

    Args:
        true, predicted: The tags of each sentence.
        scheme: ``"iob1"``, ``"iob2"`` or ``"iobes"``.
        strict: Whether entities must be complete in the scheme, as ``tag_schemes.strict_spans``; otherwise they are
            read as by ``tag_schemes.spans``.

    Raises:
        ValueError: The scheme is unknown, or is not ``"iob2"`` or ``"iobes"`` and ``strict`` is True.
    """
    check_choice("scheme", scheme, STRICT if strict else PREFIXES)
    read: Callable[[Sequence[str]], list[Span]] = (lambda tags: strict_spans(tags, scheme)) if strict else spans
    counts = EntityCounts(Counter(), Counter(), Counter())
    for pair in zip(true, predicted, strict=True):
        real, found = (set(read(tags)) for tags in pair)
        for counter, entities in zip(counts, (real & found, found, real), strict=True):
            counter.update(entity.type for entity in entities)
    return counts


def scores(counts: EntityCounts) -> dict[str, float]:
    """Returns the micro averages ``precision``, ``recall`` and ``f1``; a fraction of 0 entities is 0."""
    return _scores(*(sum(counter.values()) for counter in counts))


def scores_by_type(counts: EntityCounts) -> dict[str, dict[str, float]]:
    """Returns ``precision``, ``recall`` and ``f1`` of each type that is true or predicted somewhere, sorted."""
    types = sorted(counts.true.keys() | counts.predicted.keys())
    return {kind: _scores(*(counter[kind] for counter in counts)) for kind in types}


def _scores(correct: int, predicted: int, true: int) -> dict[str, float]:
    # F1 from precision and recall, since 2 correct / (predicted + true) is rounded differently from seqeval.
    precision, recall = correct / max(predicted, 1), correct / max(true, 1)
    f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def entity_f1(
    decode: Callable[[Any, Any], tuple[jax.Array, jax.Array, jax.Array]],
    names: Sequence[str],
    scheme: str,
    by_type: bool = False,
) -> Evaluator:
    """Creates an evaluator of entities.

    The metrics are ``entity_precision``, ``entity_recall`` and ``entity_f1``, with lenient reading of invalid sequences
    as conlleval and seqeval by default; and ``strict_entity_f1`` for IOB2 and IOBES, as seqeval with ``mode="strict"``.

    Args:
        decode: ``(variables, batch) -> (predicted [B, T], targets [B, T], mask [B, T])``, indices of tags. Each row is
            a sentence; words where the mask is False are left out.
        names: Names of the tags.
        scheme: ``"iob1"``, ``"iob2"`` or ``"iobes"``.
        by_type: Whether the metrics are instead ``entity_f1/<type>`` of up to 20 types.
    """
    check_choice("scheme", scheme, PREFIXES)
    modes = (False, True) if scheme in STRICT else (False,)

    def add(accumulator, outputs):
        predicted, targets, mask = map(np.asarray, outputs)
        named = lambda tags: [[names[tag] for tag in row[valid]] for row, valid in zip(tags, mask, strict=True)]
        found = [count_entities(named(targets), named(predicted), scheme, strict) for strict in modes]
        return [a.plus(b) for a, b in zip(accumulator, found, strict=True)] if accumulator else found

    def compute(splits):
        metrics: dict[str, float] = {}
        for split, (lenient, *strict) in splits.items():
            if by_type:
                types = list(scores_by_type(lenient).items())[:MAX_TYPES]
                metrics |= {f"{split}/entity_f1/{printable(kind, MAX_NAME)}": each["f1"] for kind, each in types}
                continue
            metrics |= {f"{split}/entity_{name}": value for name, value in scores(lenient).items()}
            metrics |= {f"{split}/strict_entity_f1": scores(counts)["f1"] for counts in strict}
        return metrics

    return Evaluator(
        lambda variables, batch: (), lambda variables, batch, key, carry: (decode(variables, batch), ()), add, compute
    )
