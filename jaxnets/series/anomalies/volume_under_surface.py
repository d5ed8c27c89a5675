"""Areas and volumes under range-based precision-recall curves of anomaly scores (Paparrizos et al. 2022)."""

from typing import Any, NamedTuple

import numpy as np

from jaxnets.ops.checks import check_integer

THRESHOLDS = 250  # of a curve, as in the authors' code


class _Ranking(NamedTuple):
    """Scores in descending order, with the thresholds of a curve.

    Attributes:
        order: The steps, int64 ``[N]``.
        thresholds: ``[K]``, descending.
        counts: The number of scores at or above each threshold, int64 ``[K]``.
    """

    order: np.ndarray
    thresholds: np.ndarray
    counts: np.ndarray


class _Segments(NamedTuple):
    """Segments of consecutive anomalies.

    Attributes:
        firsts, lasts: The first and the last step of each segment, int64 ``[G]``.
        begins, ends: The range of steps of the series of each segment, int64 ``[G]``.
    """

    firsts: np.ndarray
    lasts: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


def range_auc_pr(scores: Any, labels: Any, buffer: int, offsets: Any = None) -> float:
    r"""Computes the area under the range-based precision-recall curve of anomaly scores.

    Scores near an anomaly are partly right: the labels are extended by a buffer of :math:`\lfloor b / 2 \rfloor` steps
    on both sides of each segment of anomalies, with the weight :math:`\sqrt{1 - d / b}` at the distance d. Weights of
    several segments are added, up to 1. With the weights r, the labels y and the steps p above a threshold,

    .. math::
        \text{precision} = \frac{\sum r p}{\sum p}, \qquad
        \text{recall} = \frac{\sum r p}{\frac12 \left(\sum y + \sum \max(y, r p)\right)} \cdot E,

    where E is the fraction of extended segments that have a step above the threshold; segments whose buffers overlap
    are one. The recall is at most 1. Each score is a threshold, or 250 scores at equal distances of rank if there are
    more, and the area is the sum of precisions times the increments of recall, as for the average precision.

    This is the definition of VUS-PR in the authors' code, ``vus`` 0.0.6 and TSB-AD. The paper's recall counts the whole
    buffer, also where it is not above the threshold.

    Args:
        scores: ``[N]``, higher for anomalies, in time order.
        labels: ``[N]``, 1 or True for an anomaly, at least one.
        buffer: b, in steps; 0 for none.
        offsets: Integers ``[series + 1]``, the steps at which series begin, and N. A buffer ends with its series.
            None: one series.

    Raises:
        ValueError: If a score is not finite, a label is neither 0 nor 1, or there is no anomaly.
    """
    check_integer("buffer", buffer, minimum=0)
    values, truth, bounds = _checked(scores, labels, offsets)
    return _area(values, truth, buffer, _ranking(values), _segments(truth, bounds))


def vus_pr(scores: Any, labels: Any, max_buffer: int = 100, offsets: Any = None) -> float:
    """Computes VUS-PR, the mean of ``range_auc_pr`` over the buffers 0, 1, ..., ``max_buffer``.

    "Volume Under the Surface: A New Accuracy Evaluation Measure for Time-Series Anomaly Detection", Paparrizos et al.
    2022. It is the main measure of the benchmark TSB-AD. It needs no threshold, and no adjustment of scores by segments
    (point adjustment), which makes random scores look good.

    Args:
        scores, labels, offsets: As in ``range_auc_pr``.
        max_buffer: The largest buffer, such as the period of the series.

    Raises:
        ValueError: As in ``range_auc_pr``.
    """
    check_integer("max_buffer", max_buffer, minimum=0)
    values, truth, bounds = _checked(scores, labels, offsets)
    ranking, segments = _ranking(values), _segments(truth, bounds)
    return float(np.mean([_area(values, truth, buffer, ranking, segments) for buffer in range(max_buffer + 1)]))


def _checked(scores: Any, labels: Any, offsets: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns scores in float64, labels as bools, and offsets."""
    values, truth = np.asarray(scores, np.float64), np.asarray(labels)
    if values.ndim != 1 or truth.shape != values.shape:
        raise ValueError(f"`scores` and `labels` must have one shape [N], got {values.shape} and {truth.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"`scores` must be finite, got {values[~np.isfinite(values)][0]}")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError(f"`labels` must be 0 or 1, got {truth[~np.isin(truth, (0, 1))][0]}")
    if not truth.any():
        raise ValueError("`labels` must have an anomaly, got none")
    bounds = np.array([0, len(values)]) if offsets is None else np.asarray(offsets, np.int64)
    if (
        bounds.ndim != 1
        or len(bounds) < 2
        or bounds[0] != 0
        or bounds[-1] != len(values)
        or np.any(np.diff(bounds) < 0)
    ):
        raise ValueError(f"`offsets` must be ascending from 0 to {len(values)}, got {bounds}")
    return values, truth.astype(bool), bounds


def _ranking(scores: np.ndarray) -> _Ranking:
    order = np.argsort(-scores, kind="stable")
    thresholds = scores[order[np.linspace(0, len(scores) - 1, THRESHOLDS).astype(int)]]
    return _Ranking(order, thresholds, np.searchsorted(-scores[order], -thresholds, side="right"))


def _segments(labels: np.ndarray, offsets: np.ndarray) -> _Segments:
    """Returns the segments of anomalies; a segment ends with its series."""
    is_first = labels & ~np.concatenate([[False], labels[:-1]])
    joints = offsets[1:-1][offsets[1:-1] < len(labels)]
    is_first[joints] = labels[joints]
    is_last = labels & np.concatenate([~labels[1:] | is_first[1:], [True]])
    firsts, lasts = np.flatnonzero(is_first), np.flatnonzero(is_last)
    series = np.searchsorted(offsets, firsts, side="right") - 1
    return _Segments(firsts, lasts, offsets[series], offsets[series + 1])


def _area(scores: np.ndarray, labels: np.ndarray, buffer: int, ranking: _Ranking, segments: _Segments) -> float:
    weights = _weights(labels, buffer, segments)[ranking.order]
    at = ranking.counts - 1  # the last step above each threshold, in the order of the scores
    true_positives = np.cumsum(weights)[at]
    in_buffer = np.cumsum(np.where(labels[ranking.order], 0, weights))[at]
    found = np.sort(_maxima(scores, buffer, segments))
    existence = 1 - np.searchsorted(found, ranking.thresholds, side="left") / len(found)
    precision = true_positives / ranking.counts
    recall = np.minimum(true_positives / (labels.sum() + in_buffer / 2), 1) * existence
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def _weights(labels: np.ndarray, buffer: int, segments: _Segments) -> np.ndarray:
    """Returns the labels, extended by the weights of the buffers, ``[N]``."""
    weights = labels.astype(np.float64)
    distances = np.arange(1, buffer // 2 + 1)
    added = np.broadcast_to(np.sqrt(1 - distances / max(buffer, 1)), (len(segments.firsts), len(distances)))
    for edges, direction in ((segments.lasts, 1), (segments.firsts, -1)):
        steps = edges[:, None] + direction * distances
        inside = (steps >= segments.begins[:, None]) & (steps < segments.ends[:, None])
        np.add.at(weights, steps[inside], added[inside])
    return np.minimum(weights, 1)


def _maxima(scores: np.ndarray, buffer: int, segments: _Segments) -> np.ndarray:
    """Returns the highest score of each extended segment; segments whose buffers overlap are one."""
    half = buffer // 2
    begins = np.maximum(segments.firsts - half, segments.begins)
    ends = np.minimum(segments.lasts + half + 1, segments.ends)
    # As in the authors' code, buffers that share a step overlap.
    is_new = np.concatenate([[True], (begins[1:] >= ends[:-1]) | (segments.begins[1:] != segments.begins[:-1])])
    group = np.flatnonzero(is_new)
    last = np.concatenate([group[1:], [len(begins)]]) - 1
    padded = np.append(scores, -np.inf)  # for a group that ends with the last series
    bounds = np.stack([begins[group], ends[last]], axis=1).reshape(-1)
    return np.maximum.reduceat(padded, bounds)[::2]
