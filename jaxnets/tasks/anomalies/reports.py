"""Reports of anomaly scores: curves, and the most and the least unusual examples."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxnets.reports import ImageGrid, Table
from jaxnets.reports.detection_figures import detection_curves
from jaxnets.tasks.anomalies.evaluation import threshold_of
from jaxnets.tasks.generative.pixels import to_pixels

EXTREMES = 32  # at either end
COLUMNS = 16  # of a grid of images


def detection_reports(
    score: Callable[[Any, Any], Any], variables: Any, splits: Any, names: Sequence[str], false_alarms: float
) -> dict[str, Any]:
    """Returns the curves of the test split, and its examples with the highest and the lowest scores.

    Without a test split, the validation split is used. Images are drawn in order of their scores, the highest first;
    other examples are listed in a table, with their position in the split.

    Args:
        score: ``(variables, batch) -> scores [B]``.
        variables: The variables of the model.
        splits: Batches of the splits.
        names: Names of the classes, the normal one first.
        false_alarms: The fraction of the normal scores of the validation split above the threshold.
    """
    scores, targets, inputs = scored_examples(score, variables, splits["test" if "test" in splits else "validation"])
    normal = scored_examples(score, variables, splits["validation"])[0] if "test" in splits else scores
    order = np.argsort(-scores, kind="stable")
    ends = order if len(order) <= 2 * EXTREMES else np.concatenate([order[:EXTREMES], order[-EXTREMES:]])
    threshold = threshold_of(normal, false_alarms)
    found: dict[str, Any] = {"anomaly_scores": detection_curves(scores, targets, names, threshold)}
    if inputs.ndim == 4:
        found["most_and_least_unusual"] = ImageGrid(np.asarray(to_pixels(inputs[ends])), COLUMNS)
    else:
        rows = [(int(row), names[int(targets[row])], float(scores[row])) for row in ends]
        found["most_and_least_unusual"] = Table(("row", "class", "score"), rows)
    return found


def scored_examples(
    score: Callable[[Any, Any], Any], variables: Any, batches: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Collects the scores ``[N]``, the targets ``[N]`` and the inputs of a split, without masked examples."""
    parts = []
    for i in range(len(batches)):  # by index: an iterator would prefetch many batches
        batch = batches[i]
        arrays = (np.asarray(score(variables, batch)), batch["targets"], batch["inputs"])
        parts.append([array[batch["mask"]] for array in arrays])
    scores, targets, inputs = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return scores, targets, inputs
