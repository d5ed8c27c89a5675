"""Figures of anomaly scores: histograms, ROC curves and precision-recall curves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxnets.ops.host import extras
from jaxnets.ops.host.printable import printable
from jaxnets.reports.figures import MAX_NAME, escape_text

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

BINS = 60
MAX_KINDS = 9  # of anomalies with curves of their own
TAIL = 0.03  # of the scores at either end is drawn in the first and the last bin


def detection_curves(scores: np.ndarray, targets: np.ndarray, names: Sequence[str], threshold: float) -> "Figure":
    """Draws histograms of scores by class, and for each kind of anomaly the ROC and the precision-recall curve.

    The base rate of each kind, the precision of random scores, is dotted. Scores that are not finite are omitted.

    Args:
        scores: ``[N]``, higher for anomalies.
        targets: Class indices ``[N]``, 0 for normal examples.
        names: Names of the classes.
        threshold: Drawn in the histogram; NaN: none.
    """
    extras.require(__name__, "train")
    from matplotlib.figure import Figure
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    finite = np.isfinite(scores)
    scores, targets = np.asarray(scores, np.float64)[finite], np.asarray(targets)[finite]
    figure = Figure(figsize=(13, 4))
    histogram, roc, precision_recall = figure.subplots(1, 3)
    low, high = np.quantile(scores, [TAIL, 1 - TAIL]) if len(scores) else (0.0, 1.0)
    bins = np.linspace(low, high if high > low else low + 1, BINS + 1)
    for kind, name in enumerate(names[: MAX_KINDS + 1]):
        label, color = escape_text(printable(name, MAX_NAME)), "black" if kind == 0 else f"C{kind - 1}"
        of_kind = scores[targets == kind]
        if len(of_kind):
            weights = np.full(len(of_kind), 1 / len(of_kind))
            clipped = np.clip(of_kind, bins[0], bins[-1])
            histogram.hist(clipped, bins, weights=weights, histtype="step", color=color, label=label)
        chosen = np.isin(targets, (0, kind))
        if kind == 0 or not len(of_kind) or len(of_kind) == np.sum(chosen):
            continue
        truth, values = targets[chosen] == kind, scores[chosen]
        area, mean_precision = roc_auc_score(truth, values), average_precision_score(truth, values)
        roc.plot(*roc_curve(truth, values)[:2], color=color, label=f"{label}, AUROC {area:.3f}")
        precision, recall, _ = precision_recall_curve(truth, values)
        precision_recall.plot(recall, precision, color=color, label=f"{label}, AUPRC {mean_precision:.3f}")
        precision_recall.axhline(np.mean(truth), color=color, ls=":", lw=1)
    if np.isfinite(threshold):
        histogram.axvline(threshold, color="gray", ls="--", lw=1, label="threshold")
    roc.plot([0, 1], [0, 1], color="gray", ls=":", lw=1)
    histogram.set(xlabel="anomaly score", ylabel="fraction of the class")
    roc.set(xlabel="false positive rate", ylabel="true positive rate")
    precision_recall.set(xlabel="recall", ylabel="precision", ylim=(0, 1.03))
    for axes in (histogram, roc, precision_recall):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7)
    figure.tight_layout()
    return figure
