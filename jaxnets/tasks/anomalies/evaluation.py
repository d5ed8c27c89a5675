"""Metrics of anomaly scores, at every threshold and at one that is chosen without anomalies."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxnets.learning import Evaluator
from jaxnets.learning.evaluators import auroc_of, from_scores_of_splits
from jaxnets.ops.host import extras

RECALL = 0.95  # of ``fpr_at_95_tpr``
Metrics = Callable[[np.ndarray, np.ndarray, float], dict[str, float]]


def detection(score: Any, false_alarms: float, metrics: Metrics | None = None) -> Evaluator:
    """Creates the evaluator of anomaly scores; the threshold is that of the validation split.

    Args:
        score: ``(variables, batch) -> (scores, targets, mask)`` as in ``learning.evaluators``. Targets, or their first
            column, are 1 for an anomaly.
        false_alarms: The fraction of the normal scores of the validation split above the threshold.
        metrics: ``(scores, targets, threshold) -> {name: value}``; None: ``detection_metrics``.
    """
    measure = metrics or detection_metrics

    def compute(splits):
        threshold = math.nan
        if "validation" in splits:
            scores, targets = splits["validation"]
            threshold = threshold_of(scores[targets.reshape(len(targets), -1)[:, 0] == 0], false_alarms)
        return {
            f"{split}/{name}": value
            for split, (scores, targets) in splits.items()
            if split != "validation"
            for name, value in measure(scores, targets, threshold).items()
        }

    return from_scores_of_splits(score, compute)


def threshold_of(scores: np.ndarray, false_alarms: float) -> float:
    """Returns the quantile ``1 - false_alarms`` of normal scores; NaN if there is none."""
    return float(np.quantile(scores, 1 - false_alarms)) if len(scores) else math.nan


def any_kind(scores: np.ndarray, targets: np.ndarray, threshold: float) -> dict[str, float]:
    """Computes ``detection_metrics`` for several kinds of anomalies, whose targets are positive, as one class."""
    return detection_metrics(scores, (targets > 0).astype(np.int32), threshold)


def areas_by_kind(scores: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Computes ``auroc`` of all anomalies, and ``auroc_<kind>`` of each kind against normal ones if there are several.

    Args:
        scores: ``[N]``, higher for anomalies.
        targets: Class indices ``[N]``, 0 for normal examples.
        names: Names of the classes.
    """
    areas = {"auroc": auroc_of(scores, (targets > 0).astype(np.int32))}
    for kind, name in enumerate(names[1:] if len(names) > 2 else (), start=1):
        chosen = np.isin(targets, (0, kind))
        areas[f"auroc_{name}"] = auroc_of(scores[chosen], (targets[chosen] == kind).astype(np.int32))
    return areas


def detection_metrics(scores: np.ndarray, targets: np.ndarray, threshold: float) -> dict[str, float]:
    """Computes the metrics of anomaly scores. Anomalies are the positive class.

    ``auroc``; ``auprc``, the average precision; ``base_rate``, the fraction of anomalies, which is the ``auprc`` of
    random scores; ``fpr_at_95_tpr``, the fraction of normal examples with a score at least as high as the threshold
    that finds 95 % of the anomalies; and ``f1`` and ``accuracy`` at a threshold.

    Args:
        scores: ``[N]``, higher for anomalies.
        targets: ``[N]``, 1 for an anomaly.
        threshold: Scores above it are reported as anomalies. NaN: no ``f1`` and ``accuracy``.
    """
    extras.require(__name__, "train")
    from sklearn.metrics import average_precision_score, f1_score, roc_curve  # the import takes a second

    metrics = {"base_rate": float(np.mean(targets))}
    if len(np.unique(targets)) == 2 and np.isfinite(scores).all():
        values = scores.astype(np.float64)
        metrics["auroc"] = auroc_of(values, targets)
        metrics["auprc"] = float(average_precision_score(targets, values))
        false_positive_rates, recalls, _ = roc_curve(targets, values)
        metrics["fpr_at_95_tpr"] = float(false_positive_rates[np.argmax(recalls >= RECALL)])
    if not math.isnan(threshold):
        predicted = scores > threshold
        metrics["f1"] = float(f1_score(targets, predicted, zero_division=0.0))
        metrics["accuracy"] = float(np.mean(predicted == targets))
    return metrics
