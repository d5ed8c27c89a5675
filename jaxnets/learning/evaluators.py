"""``Evaluator``: a metric over all batches of one or more splits; means, and the area under the ROC curve."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnets.learning.contract import Mean, zeros_of
from jaxnets.ops import extras

__all__ = ["Evaluator", "Scheduled", "auroc", "means"]


class Evaluator(NamedTuple):
    """Attributes:
    init: ``(variables, batch) -> carry``, before a split's first batch; ``()`` unless state goes on between batches.
    measure: ``(variables, batch, key, carry) -> (outputs, carry)``, pure and compiled. The rows of a batch are divided
        over devices; all processes get whole outputs, in the order of batches.
    add: ``(accumulator, outputs) -> accumulator`` on the host, with None as the first accumulator.
    compute: ``{split: accumulator} -> {name: number}`` on the host. A name begins with its split: ``validation/loss``.
    """

    init: Callable[[Any, Any], Any]
    measure: Callable[[Any, Any, jax.Array, Any], tuple[Any, Any]]
    add: Callable[[Any, Any], Any]
    compute: Callable[[dict[str, Any]], dict[str, float]]


class Scheduled(NamedTuple):
    """Attributes:
    evaluator: What is measured.
    splits: Of the data, over which; one that the data lacks is left out.
    every: Steps between measurements in training; None: ``train.evaluate_every``; 0: not in training, but by
        ``jaxnets.evaluate``.
    """

    evaluator: Evaluator
    splits: tuple[str, ...] = ("validation",)
    every: int | None = None


def means(
    measure: Callable[[Any, Any, jax.Array, Any], tuple[dict[str, Mean], Any]],
    derive: Mapping[str, Callable[[dict[str, float]], float]] | None = None,
) -> Evaluator:
    """The evaluator of metrics that are means.

    Args:
        measure: ``(variables, batch, key, carry) -> ({name: Mean}, carry)``; the carry None asks for a first one.
        derive: ``{name: function of the means}``, metrics that follow from the others; of a split without items there
            are none.
    """

    def init(variables, batch):
        return zeros_of(jax.eval_shape(measure, variables, batch, jax.random.key(0), None)[1])

    def add(sums, outputs):
        sums = sums or {}
        for name, (total, count) in outputs.items():
            row = sums.setdefault(name, [0.0, 0.0])
            row[0] += float(total)
            row[1] += float(count)
        return sums

    def compute(splits):
        found: dict[str, float] = {}
        for split, sums in splits.items():
            values = {name: total / count for name, (total, count) in sums.items() if count}
            if values:
                values |= {name: function(values) for name, function in (derive or {}).items()}
            found |= {f"{split}/{name}": value for name, value in values.items()}
        return found

    return Evaluator(init, measure, add, compute)


def gathered(
    score: Callable[[Any, Any], tuple[jax.Array, jax.Array, jax.Array]],
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]],
) -> Evaluator:
    """The evaluator of metrics that need all scores of a split at once.

    Args:
        score: ``(variables, batch) -> (scores, targets, mask)``; the mask, bool, is False at padding, and scores and
            targets have its axes, and perhaps more.
        metrics: ``(scores, targets) -> {name: number}`` on the host, of what is not padding.
    """

    def measure(variables, batch, key, carry):
        return score(variables, batch), ()

    def add(kept, outputs):
        scores, targets, mask = map(np.asarray, outputs)
        return [*(kept or []), (scores[mask], targets[mask])]

    def compute(splits):
        whole = {split: map(np.concatenate, zip(*kept, strict=True)) for split, kept in splits.items()}
        return {f"{split}/{name}": v for split, columns in whole.items() for name, v in metrics(*columns).items()}

    return Evaluator(lambda variables, batch: (), measure, add, compute)


def auroc(score: Callable[[Any, Any], tuple[jax.Array, jax.Array, jax.Array]]) -> Evaluator:
    """The evaluator of the area under the ROC curve: the probability that a positive example scores above a negative.

    Args:
        score: ``(variables, batch) -> (scores, targets, mask)``, each ``[B]``: the higher the score, the more likely
            the target is 1 (or True) and not 0; the mask is False at padding.

    Its metric ``auroc`` is that of ``sklearn.metrics.roc_auc_score``: ties count half; NaN where a split has one kind
    of targets only.
    """
    return gathered(score, lambda scores, targets: {"auroc": _auroc(scores, targets)})


def multilabel(score: Callable[[Any, Any], tuple[jax.Array, jax.Array, jax.Array]]) -> Evaluator:
    """The evaluator of ``macro_f1`` and ``mean_average_precision`` of labels of which an example has any number.

    Args:
        score: ``(variables, batch) -> (logits [B, C], targets bool [B, C], mask [B])``; a label is predicted where its
            logit is above 0.

    Both are means over labels, as ``sklearn.metrics.f1_score`` and ``average_precision_score`` with
    ``average="macro"``: F1 is 0 where a label is neither there nor predicted. The average precision is that of the
    labels which some example of the split has; NaN where there are none.
    """
    return gathered(score, _multilabel)


def _multilabel(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    extras.require(__name__, "train")
    from sklearn.metrics import average_precision_score, f1_score  # a second to import

    there = targets.any(0)
    if not there.any() or not np.all(np.isfinite(logits)):
        return {"macro_f1": math.nan, "mean_average_precision": math.nan}
    columns = logits[:, there].astype(np.float64).T
    precisions = [average_precision_score(*pair) for pair in zip(targets[:, there].T, columns, strict=True)]
    chosen = (logits > 0).astype(np.int32)
    f1 = [f1_score(*pair, zero_division=0.0) for pair in zip(targets.T.astype(np.int32), chosen.T, strict=True)]
    return {"macro_f1": float(np.mean(f1)), "mean_average_precision": float(np.mean(precisions))}


def _auroc(scores: np.ndarray, targets: np.ndarray) -> float:
    extras.require(__name__, "train")
    from sklearn.metrics import roc_auc_score  # a second to import

    if len(np.unique(targets)) < 2 or not np.all(np.isfinite(scores)):
        return math.nan
    return float(roc_auc_score(targets, scores.astype(np.float64)))


class Measure(NamedTuple):
    """The compiled functions of an evaluator."""

    evaluator: Evaluator
    init: Callable
    measure: Callable


def run(
    measure: Measure, variables: Any, splits: Mapping[str, Any], key_of: Callable[[int], jax.Array]
) -> dict[str, float]:
    """The metrics of an evaluator over splits.

    Args:
        measure: Its functions, compiled.
        variables: The model's.
        splits: ``{name: batches on their devices}``.
        key_of: The key of a batch by its number.
    """
    found = {}
    for split, batches in splits.items():
        accumulator, carry = None, None
        for number, batch in enumerate(batches):
            if carry is None:
                carry = measure.init(variables, batch)
            outputs, carry = measure.measure(variables, batch, key_of(number), carry)
            accumulator = measure.evaluator.add(accumulator, outputs)
        if accumulator is not None:
            found[split] = accumulator
    return measure.evaluator.compute(found)
