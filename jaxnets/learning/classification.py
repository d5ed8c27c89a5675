"""Evaluators of classifiers: macro F1 and calibration."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.learning.evaluators import Evaluator

__all__ = ["BINS", "calibration", "calibration_bins", "expected_calibration_error", "macro_f1"]

BINS = 15  # of the expected calibration error, as in Guo et al. 2017

Score = Callable[[Any, Any], tuple[jax.Array, jax.Array, jax.Array]]


def macro_f1(score: Score) -> Evaluator:
    r"""Creates an evaluator of ``macro_f1``, the mean over classes of the F1 score of the most likely class:

    .. math:: F_c = \frac{2\, TP_c}{P_c + N_c}

    for the numbers of correct predictions TP, predictions P and targets N of class c. As in
    ``sklearn.metrics.f1_score(average="macro")``, the mean is over the classes with a target or a prediction in the
    split. It is NaN if a logit is not finite.

    Args:
        score: ``(variables, batch) -> (logits [..., C], targets [...], mask [...])``. The mask is False at padding.
    """

    def count(variables: Any, batch: Any) -> dict[str, jax.Array]:
        logits, targets, mask = score(variables, batch)
        predicted = jnp.argmax(logits, axis=-1).astype(targets.dtype)
        number = lambda classes, mask: jnp.sum(
            jax.nn.one_hot(classes, logits.shape[-1], dtype=jnp.bool_) & mask[..., None],
            axis=tuple(range(mask.ndim)),
            dtype=jnp.int32,
        )
        return {
            "correct": number(targets, mask & (predicted == targets)),
            "predicted": number(predicted, mask),
            "targets": number(targets, mask),
            "wrong": _not_finite(logits, mask),
        }

    def of_counts(counts: dict[str, np.ndarray]) -> dict[str, float]:
        total = counts["predicted"] + counts["targets"]
        if counts["wrong"] or not total.any():
            return {"macro_f1": math.nan}
        known = total > 0
        return {"macro_f1": float(np.mean(2 * counts["correct"][known] / total[known]))}

    return _from_counts(count, of_counts)


def calibration(score: Score) -> Evaluator:
    """Creates an evaluator of ``calibration_error``, as in ``expected_calibration_error``, with 15 bins.

    It is NaN if a logit is not finite.

    Args:
        score: As in ``macro_f1``.
    """

    def count(variables: Any, batch: Any) -> dict[str, jax.Array]:
        logits, targets, mask = score(variables, batch)
        return {**calibration_bins(logits, targets, mask), "wrong": _not_finite(logits, mask)}

    def of_counts(counts: dict[str, np.ndarray]) -> dict[str, float]:
        return {"calibration_error": math.nan if counts["wrong"] else expected_calibration_error(counts)}

    return _from_counts(count, of_counts)


def calibration_bins(logits: Any, targets: Any, mask: Any, bins: int = BINS) -> dict[str, jax.Array]:
    """Counts predictions by their confidence, the probability of the most likely class.

    Bin m of M holds the confidences in ((m - 1) / M, m / M].

    Args:
        logits: ``[..., C]``.
        targets: Class indices ``[...]``.
        mask: bool ``[...]``, True at the examples to count.
        bins: M.

    Returns:
        ``count``, ``correct`` and ``confidence`` (a sum), each ``[M]``.
    """
    logits = jnp.asarray(logits)
    flat = jnp.where(jnp.asarray(mask)[..., None], logits, 0).reshape(-1, logits.shape[-1])
    valid, labels = jnp.ravel(jnp.asarray(mask)), jnp.ravel(jnp.asarray(targets))
    confidence = jnp.max(jax.nn.softmax(flat.astype(jnp.float32), axis=-1), axis=-1)
    is_correct = valid & (jnp.argmax(flat, axis=-1).astype(labels.dtype) == labels)
    index = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    members = jax.nn.one_hot(index, bins, dtype=jnp.bool_) & valid[:, None]
    return {
        "count": jnp.sum(members, axis=0, dtype=jnp.int32),
        "correct": jnp.sum(members & is_correct[:, None], axis=0, dtype=jnp.int32),
        "confidence": jnp.sum(jnp.where(members, confidence[:, None], 0), axis=0),
    }


def expected_calibration_error(counts: dict[str, Any]) -> float:
    r"""Returns the expected calibration error of the result of ``calibration_bins``; NaN without examples.

    .. math:: \sum_m \frac{|B_m|}{n} \left| \mathrm{accuracy}(B_m) - \mathrm{confidence}(B_m) \right|

    (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599, section 2).
    """
    correct, confidence = (np.asarray(counts[name], np.float64) for name in ("correct", "confidence"))
    total = float(np.sum(counts["count"]))
    return float(np.abs(correct - confidence).sum() / total) if total else math.nan


def _not_finite(logits: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.sum(mask & ~jnp.all(jnp.isfinite(logits), axis=-1), dtype=jnp.int32)


def _from_counts(
    count: Callable[[Any, Any], dict[str, jax.Array]],
    metrics: Callable[[dict[str, np.ndarray]], dict[str, float]],
) -> Evaluator:
    """Creates an evaluator of metrics of counts, which are added up over batches in 64 bits."""

    def add(total: dict[str, np.ndarray] | None, outputs: dict[str, jax.Array]) -> dict[str, np.ndarray]:
        wide = {
            name: np.asarray(a).astype(np.int64 if a.dtype == np.int32 else np.float64) for name, a in outputs.items()
        }
        return wide if total is None else {name: total[name] + value for name, value in wide.items()}

    def compute(splits: dict[str, Any]) -> dict[str, float]:
        return {f"{split}/{name}": value for split, sums in splits.items() for name, value in metrics(sums).items()}

    return Evaluator(lambda variables, batch: (), lambda v, batch, key, carry: (count(v, batch), ()), add, compute)
