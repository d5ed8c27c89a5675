"""Range-based areas under precision-recall curves, and VUS-PR: golden values of the authors' package, and bad input."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from jaxnets import series

GOLDEN = np.load(Path(__file__).parents[1] / "reference" / "range_metrics.npz")
CASES = sorted({name.partition("/")[0] for name in GOLDEN})
RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("name", CASES)
def test_values_equal_those_of_the_authors(name):
    scores, labels, areas = (GOLDEN[f"{name}/{key}"] for key in ("scores", "labels", "areas"))
    found = [series.range_auc_pr(scores, labels, buffer) for buffer in range(len(areas))]
    np.testing.assert_allclose(found, areas, rtol=0, atol=1e-12)
    assert series.vus_pr(scores, labels, len(areas) - 1) == pytest.approx(float(GOLDEN[f"{name}/volume"]), abs=1e-12)


def test_one_anomaly_without_a_buffer_is_the_average_precision():
    """With one segment, E is 1 as soon as the recall is positive."""
    scores, labels = RANDOM.permutation(200).astype(float), np.zeros(200, int)
    labels[50:80] = 1
    expected = average_precision_score(labels, scores)
    assert series.range_auc_pr(scores, labels, 0) == pytest.approx(expected, abs=1e-12)


def test_only_the_order_of_scores_matters():
    scores, labels = RANDOM.normal(size=300), RANDOM.random(300) < 0.1
    found = series.vus_pr(scores, labels, 8)
    for changed in (np.exp(scores), 100 * scores - 7, np.float32(scores)):
        assert series.vus_pr(changed, labels.astype(int), 8) == pytest.approx(found, abs=1e-12)


def direct_area(scores, labels, buffer, offsets):
    """The definition, threshold by threshold, with each series extended on its own."""
    weights, groups = labels.astype(float), []
    for begin, end in itertools.pairwise(offsets):
        own = labels[begin:end].astype(float)
        for t in range(end - begin):
            if not labels[begin + t]:
                continue
            if t == 0 or not labels[begin + t - 1]:
                last = t
                while last + 1 < end - begin and labels[begin + last + 1]:
                    last += 1
                for d in range(1, buffer // 2 + 1):
                    for near in (t - d, last + d):
                        if 0 <= near < end - begin:
                            own[near] += np.sqrt(1 - d / buffer)
                low, high = begin + max(t - buffer // 2, 0), begin + min(last + buffer // 2, end - begin - 1)
                if groups and groups[-1][0] >= begin and groups[-1][1] >= low:
                    groups[-1][1] = high
                else:
                    groups.append([low, high])
        weights[begin:end] = np.minimum(own, 1)
    area, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        above = scores >= threshold
        positives = (weights * above).sum()
        found = np.mean([above[low : high + 1].any() for low, high in groups])
        size = (labels.sum() + np.where(labels, 1, weights * above).sum()) / 2
        recall = min(positives / size, 1) * found
        area += (recall - before) * positives / above.sum()
        before = recall
    return area


@pytest.mark.parametrize("buffer", [0, 1, 2, 5, 12])
def test_buffers_end_with_their_series(buffer):
    """Anomalies at both sides of a joint, and a series without one."""
    offsets, labels = np.array([0, 40, 55, 100]), np.zeros(100, bool)
    labels[[3, 38, 39, 55, 56, 60, 99]] = True
    scores = np.round(RANDOM.normal(size=100), 1) + labels
    expected = direct_area(scores, labels, buffer, offsets)
    assert series.range_auc_pr(scores, labels, buffer, offsets) == pytest.approx(expected, abs=1e-12)
    if buffer > 1:
        assert series.range_auc_pr(scores, labels, buffer) != pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [0, 0], 3), "`labels` must have an anomaly, got none"),
        (([1.0, 2.0], [0, 2], 3), "`labels` must be 0 or 1, got 2"),
        (([1.0, np.nan], [0, 1], 3), "`scores` must be finite, got nan"),
        (([1.0, 2.0], [0, 1, 1], 3), r"`scores` and `labels` must have one shape \[N\], got \(2,\) and \(3,\)"),
        (([1.0, 2.0], [0, 1], -1), "`max_buffer` must be an integer of at least 0, got -1"),
        (([1.0, 2.0], [0, 1], 3, [0, 1]), r"`offsets` must be ascending from 0 to 2, got \[0 1\]"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        series.vus_pr(*arguments)
