"""Baselines of anomaly detection from scikit-learn, fitted to the training split."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnets.learning import Evaluator
from jaxnets.ops.host import extras
from jaxnets.tasks.anomalies.evaluation import detection_metrics
from jaxnets.tasks.generative.pixels import flat_pixels

MAX_ROWS = 30_000  # of each split
NEIGHBORS = 5
MIN_VARIANCE = 1e-6  # of a component, relative to the mean variance

Scorer = Callable[[np.ndarray], np.ndarray]  # examples [N, D] to scores [N], higher for anomalies


def baselines(seed: int = 0) -> Evaluator:
    r"""Creates an evaluator of three detectors that are fitted to the split ``train``, up to 30,000 rows of it.

    - ``isolation_forest``: scikit-learn's ``IsolationForest`` with its defaults (Liu et al. 2008).
    - ``principal_components``: the sum of squared components, each divided by its variance,
      :math:`\sum_i z_i^2 / \lambda_i` (Shyu et al. 2003).
    - ``nearest_neighbors``: the distance to the fifth nearest training row.

    The metrics are those of ``evaluation.detection_metrics`` that need no threshold, such as
    ``isolation_forest_auroc``. Without training rows, as for a file, and for ragged examples there are no metrics.

    Args:
        seed: Seed of the isolation forest.
    """

    def measure(variables: Any, batch: Any, key: Any, carry: Any) -> Any:
        mask = batch["mask"] & ("lengths" not in batch)  # ragged examples are not vectors
        return (flat_pixels(batch["inputs"]), (batch["targets"] > 0).astype(jnp.int32), mask), ()

    def add(parts: Any, outputs: Any) -> Any:
        parts = parts or []
        if sum(len(part[0]) for part in parts) < MAX_ROWS:
            *arrays, mask = map(np.asarray, outputs)
            parts.append([array[mask] for array in arrays])
        return parts

    def compute(splits: dict[str, Any]) -> dict[str, float]:
        if not sum(len(part[0]) for part in splits.get("train", ())):
            return {}
        rows = {
            split: [np.concatenate(arrays)[:MAX_ROWS] for arrays in zip(*parts, strict=True)]
            for split, parts in splits.items()
        }
        detectors = fitted_baselines(rows.pop("train")[0].astype(np.float64), seed)
        return {
            f"{split}/{name}_{metric}": value
            for split, (inputs, targets) in rows.items()
            for name, score in detectors.items()
            for metric, value in detection_metrics(score(inputs.astype(np.float64)), targets, float("nan")).items()
            if metric != "base_rate"
        }

    return Evaluator(lambda variables, batch: (), measure, add, compute)


def fitted_baselines(rows: np.ndarray, seed: int) -> dict[str, Scorer]:
    """Fits the detectors of ``baselines`` to rows ``[N, D]`` in float64."""
    extras.require(__name__, "train")
    from sklearn.ensemble import IsolationForest  # the import takes a second
    from sklearn.neighbors import NearestNeighbors

    forest = IsolationForest(random_state=seed).fit(rows)
    count = min(NEIGHBORS, len(rows))
    neighbors = NearestNeighbors(n_neighbors=count).fit(rows)
    mean = rows.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(rows.T, bias=True).reshape(rows.shape[1], -1))
    variances = np.maximum(variances, MIN_VARIANCE * max(variances.mean(), 1e-300))
    return {
        "isolation_forest": lambda xs: -forest.score_samples(xs),
        "principal_components": lambda xs: np.sum(((xs - mean) @ directions) ** 2 / variances, axis=1),
        "nearest_neighbors": lambda xs: neighbors.kneighbors(xs)[0][:, -1],
    }
