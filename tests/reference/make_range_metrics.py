"""Golden values of range-based areas under precision-recall curves: generator of ``range_metrics.npz``.

    pip install --no-deps vus==0.0.6; pip install pandas scikit-learn tqdm
    python tests/reference/make_range_metrics.py

The script needs the package ``vus`` of the authors; the tests do not. Each case has scores, labels, the area for each
buffer from 0 to the largest one, and their mean, which the package calls VUS_PR.
"""

from pathlib import Path

import numpy as np
from vus.utils.metrics import metricor

RANDOM = np.random.default_rng(0)


def labels_of(length, *segments):
    labels = np.zeros(length, int)
    for first, last in segments:
        labels[first : last + 1] = 1
    return labels


def informative(labels, strength=1.0):
    """Returns noise that is larger near anomalies."""
    near = np.convolve(labels, np.ones(5) / 5, mode="same")
    return RANDOM.normal(size=len(labels)) + strength * near


TWO = labels_of(120, (20, 29), (70, 74))
CASES = {
    "noise": (RANDOM.normal(size=120), TWO, 20),
    "informative": (informative(TWO, 3), TWO, 20),
    "perfect": (TWO + 0.0, TWO, 12),
    "inverted": (-informative(TWO, 3), TWO, 12),
    "negative": (informative(TWO, 2) - 100, TWO, 12),
    "ends": (informative(labels := labels_of(90, (0, 4), (85, 89)), 2), labels, 30),
    "single_steps": (informative(labels := labels_of(100, (0, 0), (40, 40), (42, 42), (99, 99)), 2), labels, 9),
    "adjacent": (informative(labels := labels_of(100, (30, 33), (35, 38), (45, 46)), 2), labels, 25),
    "ties": (np.round(informative(TWO, 2)), TWO, 15),
    "constant": (np.ones(120), TWO, 10),
    "no_buffer": (informative(TWO, 2), TWO, 0),
    "buffer_of_one": (informative(TWO, 2), TWO, 1),
    "mostly_anomalous": (informative(labels := labels_of(60, (5, 50)), 1), labels, 40),
    "all_anomalous": (RANDOM.normal(size=30), np.ones(30, int), 6),
    "short": (informative(labels := labels_of(7, (3, 3)), 1), labels, 8),
    "many_thresholds": (informative(labels := labels_of(700, (50, 69), (300, 305), (690, 699)), 2), labels, 24),
}


def main():
    arrays = {}
    for name, (scores, labels, largest) in CASES.items():
        recall, _, precision, _, _, volume = metricor().RangeAUC_volume_opt(labels, scores, largest)
        areas = np.sum(np.diff(recall[:, :-1], axis=1) * precision[:, 1:], axis=1)
        assert np.isclose(areas.mean(), volume)
        arrays |= {f"{name}/scores": scores, f"{name}/labels": labels.astype(bool)}
        arrays |= {f"{name}/areas": areas, f"{name}/volume": np.float64(volume)}
    np.savez_compressed(Path(__file__).with_name("range_metrics.npz"), **arrays)


if __name__ == "__main__":
    main()
