"""Evaluators: metrics over all batches of one or more splits."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.learning.contract import Mean, zeros_like_shapes
from jaxnets.ops.array_types import Array, Bool, Shaped
from jaxnets.ops.host import extras
from jaxnets.ops.masks import masked_sum

__all__ = ["Evaluator", "ScheduledEvaluator", "auroc", "mean_over", "means"]


class Evaluator(NamedTuple):
    """A tuple of functions that computes metrics over the batches of one or more splits.

    Attributes:
        init: ``(variables, batch) -> carry``, called before the first batch of a split. ``()`` if no state passes
            between batches.
        measure: ``(variables, batch, key, carry) -> (outputs, carry)``, pure and jitted. The rows of a batch are
            sharded over devices. The outputs are gathered to all processes, in batch order.
        add: ``(accumulator, outputs) -> accumulator``, on the host. The first accumulator is None.
        compute: ``{split: accumulator} -> {name: value}``, on the host. Names start with the split:
            ``validation/loss``.
    """

    init: Callable[[Any, Any], Any]
    measure: Callable[[Any, Any, jax.Array, Any], tuple[Any, Any]]
    add: Callable[[Any, Any], Any]
    compute: Callable[[dict[str, Any]], dict[str, float]]


class ScheduledEvaluator(NamedTuple):
    """An evaluator with its splits and its interval.

    Attributes:
        evaluator: The evaluator.
        splits: Names of the splits to evaluate. Splits that the dataset does not have are ignored. ``train``, the
            full batches of one epoch, is only evaluated by ``jaxnets.evaluate``.
        every: Number of training steps between evaluations. None uses ``train.evaluate_every``; with 0 only
            ``jaxnets.evaluate`` runs the evaluator.
    """

    evaluator: Evaluator
    splits: tuple[str, ...] = ("validation",)
    every: int | None = None


def means(
    measure: Callable[[Any, Any, jax.Array, Any], tuple[dict[str, Mean], Any]],
    derive: Mapping[str, Callable[[dict[str, float]], float]] | None = None,
) -> Evaluator:
    """Creates an evaluator of metrics that are means over items.

    Args:
        measure: ``(variables, batch, key, carry) -> ({name: Mean}, carry)``. With a carry of None it creates the
            initial carry.
        derive: ``{name: function}``, metrics computed from the dict of means. Splits without items are skipped.
    """

    def init(variables, batch):
        return zeros_like_shapes(jax.eval_shape(measure, variables, batch, jax.random.key(0), None)[1])

    def add(sums, outputs):
        sums = sums or {}
        for name, (total, count) in outputs.items():
            sum_and_count = sums.setdefault(name, [0.0, 0.0])
            sum_and_count[0] += float(total)
            sum_and_count[1] += float(count)
        return sums

    def compute(splits):
        metrics: dict[str, float] = {}
        for split, sums in splits.items():
            values = {name: total / count for name, (total, count) in sums.items() if count}
            if values:
                values |= {name: function(values) for name, function in (derive or {}).items()}
            metrics |= {f"{split}/{name}": value for name, value in values.items()}
        return metrics

    return Evaluator(init, measure, add, compute)


def mean_over(values: Shaped[Array, "*shape"], mask: Bool[Array, "*shape"]) -> Mean:
    """Returns the mean of values where ``mask`` is True, as a metric for ``means``."""
    return Mean(masked_sum(values, mask), jnp.sum(mask, dtype=jnp.float32))


def from_all_scores(
    score: Callable[[Any, Any], tuple[jax.Array, jax.Array, jax.Array]],
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]],
) -> Evaluator:
    """Creates an evaluator of metrics that need all scores of a split at once.

    Args:
        score: ``(variables, batch) -> (scores, targets, mask)``. The boolean mask is False at padding. Scores and
            targets have the axes of the mask first, and may have further axes.
        metrics: ``(scores, targets) -> {name: value}``, computed on the host without the padding.
    """

    def of_splits(splits):
        return {f"{split}/{name}": value for split, pair in splits.items() for name, value in metrics(*pair).items()}

    return from_scores_of_splits(score, of_splits)


def from_scores_of_splits(
    score: Callable[[Any, Any], tuple[jax.Array, jax.Array, jax.Array]],
    metrics: Callable[[dict[str, tuple[np.ndarray, np.ndarray]]], dict[str, float]],
) -> Evaluator:
    """Creates an evaluator of metrics that need all scores of several splits, such as a threshold from one of them.

    Args:
        score: As in ``from_all_scores``.
        metrics: ``{split: (scores, targets)} -> {name: value}``, computed on the host without the padding.
    """

    def measure(variables, batch, key, carry):
        return score(variables, batch), ()

    def add(pairs, outputs):
        scores, targets, mask = map(np.asarray, outputs)
        return [*(pairs or []), (scores[mask], targets[mask])]

    def compute(splits):
        joined = lambda parts: np.concatenate(list(parts))
        return metrics({s: (joined(p for p, _ in pairs), joined(t for _, t in pairs)) for s, pairs in splits.items()})

    return Evaluator(lambda variables, batch: (), measure, add, compute)


def auroc(score: Callable[[Any, Any], tuple[jax.Array, jax.Array, jax.Array]]) -> Evaluator:
    """Creates an evaluator of the area under the ROC curve.

    The area is the probability that a positive example has a higher score than a negative example. The metric
    ``auroc`` equals ``sklearn.metrics.roc_auc_score``: ties count one half. It is NaN if a split contains only one
    class.

    Args:
        score: ``(variables, batch) -> (scores, targets, mask)``, each ``[B]``. A higher score means that the target 1
            (or True) is more likely. The mask is False at padding.
    """
    return from_all_scores(score, lambda scores, targets: {"auroc": auroc_of(scores, targets)})


def multilabel(score: Callable[[Any, Any], tuple[jax.Array, jax.Array, jax.Array]]) -> Evaluator:
    """Creates an evaluator of ``macro_f1`` and ``mean_average_precision`` for multi-label classification.

    Both are means over labels, as ``sklearn.metrics.f1_score`` and ``average_precision_score`` with
    ``average="macro"``. The F1 score of a label is 0 if the label is neither present nor predicted in the split. The
    average precision is averaged over labels that are present in the split; it is NaN if no label is.

    Args:
        score: ``(variables, batch) -> (logits [B, C], targets bool [B, C], mask [B])``. A label is predicted if its
            logit is positive.
    """
    return from_all_scores(score, _multilabel)


def _multilabel(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    extras.require(__name__, "train")
    from sklearn.metrics import average_precision_score, f1_score  # the import takes a second

    present = targets.any(0)
    if not present.any() or not np.all(np.isfinite(logits)):
        return {"macro_f1": math.nan, "mean_average_precision": math.nan}
    columns = logits[:, present].astype(np.float64).T
    precisions = [average_precision_score(*pair) for pair in zip(targets[:, present].T, columns, strict=True)]
    predicted = (logits > 0).astype(np.int32)
    f1 = [f1_score(*pair, zero_division=0.0) for pair in zip(targets.T.astype(np.int32), predicted.T, strict=True)]
    return {"macro_f1": float(np.mean(f1)), "mean_average_precision": float(np.mean(precisions))}


def auroc_of(scores: np.ndarray, targets: np.ndarray) -> float:
    """Returns the area under the ROC curve; NaN if there is one class only, or a score is not finite."""
    extras.require(__name__, "train")
    from sklearn.metrics import roc_auc_score  # the import takes a second

    if len(np.unique(targets)) < 2 or not np.all(np.isfinite(scores)):
        return math.nan
    return float(roc_auc_score(targets, scores.astype(np.float64)))


class CompiledEvaluator(NamedTuple):
    """An evaluator and its jitted functions.

    Attributes:
        evaluator: The evaluator.
        init: Its ``init``, jitted.
        measure: Its ``measure``, jitted.
    """

    evaluator: Evaluator
    init: Callable
    measure: Callable


def run(
    compiled: CompiledEvaluator, variables: Any, splits: Mapping[str, Any], key_of: Callable[[int], jax.Array]
) -> dict[str, float]:
    """Computes the metrics of an evaluator over splits.

    Args:
        compiled: The evaluator.
        variables: The variables of the model.
        splits: ``{name: iterable of batches on devices}``.
        key_of: Maps the index of a batch to its random key.
    """
    accumulators = {}
    for split, batches in splits.items():
        accumulator, carry = None, None
        for index, batch in enumerate(batches):
            if carry is None:
                carry = compiled.init(variables, batch)
            outputs, carry = compiled.measure(variables, batch, key_of(index), carry)
            accumulator = compiled.evaluator.add(accumulator, outputs)
        if accumulator is not None:
            accumulators[split] = accumulator
    return compiled.evaluator.compute(accumulators)
