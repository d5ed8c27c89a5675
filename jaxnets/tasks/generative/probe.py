"""Linear probes: logistic regression on codes, on the inputs, and on their principal components."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxnets.learning import Evaluator
from jaxnets.ops.host import extras
from jaxnets.tasks.generative.pixels import flat_pixels

MAX_ROWS = 10_000  # of each split


def linear_probe(encode: Callable[[Any, Any], jax.Array]) -> Evaluator:
    """Creates an evaluator of the accuracy of logistic regressions, fitted to the split ``train``.

    The metrics are ``probe_codes``; ``probe_inputs``, on the inputs themselves; and ``probe_pca``, on as many principal
    components of the inputs as a code has numbers. Up to 10,000 rows of each split are used. Without training rows, as
    for a file, there are no metrics.

    Args:
        encode: ``(variables, inputs [B, ...]) -> codes [B, ...]``.
    """

    def measure(variables: Any, batch: Any, key: jax.Array, carry: Any) -> Any:
        inputs = batch["inputs"]
        codes = encode(variables, inputs).reshape(len(inputs), -1)
        return (codes, flat_pixels(inputs), batch["targets"], batch["mask"]), ()

    def add(parts: Any, outputs: Any) -> Any:
        parts = parts or []
        if sum(len(part[0]) for part in parts) < MAX_ROWS:
            *arrays, mask = map(np.asarray, outputs)
            parts.append([array[mask] for array in arrays])
        return parts

    def compute(splits: dict[str, Any]) -> dict[str, float]:
        if "train" not in splits:
            return {}
        rows = {
            split: [np.concatenate(arrays)[:MAX_ROWS] for arrays in zip(*parts, strict=True)]
            for split, parts in splits.items()
        }
        codes, inputs, targets = rows.pop("train")
        metrics: dict[str, float] = {}
        for split, (test_codes, test_inputs, test_targets) in rows.items():
            components, test_components = principal_components(inputs, test_inputs, codes.shape[-1])
            pairs = {
                "codes": (codes, test_codes),
                "inputs": (inputs, test_inputs),
                "pca": (components, test_components),
            }
            for name, (train, test) in pairs.items():
                metrics[f"{split}/probe_{name}"] = probe_accuracy(train, targets, test, test_targets)
        return metrics

    return Evaluator(lambda variables, batch: (), measure, add, compute)


def probe_accuracy(train: np.ndarray, train_targets: np.ndarray, test: np.ndarray, test_targets: np.ndarray) -> float:
    """Returns the accuracy of a logistic regression; NaN if the features are not finite.

    Features are divided by one number for all of them, the root of their mean variance, so that the strength of the
    regularization, that of scikit-learn, does not depend on the scale of the codes.

    Args:
        train, test: Features ``[N, D]``.
        train_targets, test_targets: Class indices ``[N]``.
    """
    extras.require(__name__, "train")
    from sklearn.linear_model import LogisticRegression  # the import takes a second

    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        return float("nan")
    train, test = train.astype(np.float64), test.astype(np.float64)
    mean, scale = train.mean(axis=0), max(float(np.sqrt(train.var(axis=0).mean())), 1e-12)
    if len(np.unique(train_targets)) < 2:
        return float(np.mean(test_targets == train_targets[0]))
    model = LogisticRegression(max_iter=1000).fit((train - mean) / scale, train_targets)
    return float(np.mean(model.predict((test - mean) / scale) == test_targets))


def principal_components(train: np.ndarray, test: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first principal components of both, in float64; the directions are those of ``train`` ``[N, D]``."""
    mean = train.mean(axis=0, dtype=np.float64)
    centered = train - mean
    directions = np.linalg.eigh(centered.T @ centered)[1][:, ::-1][:, :count]
    return centered @ directions, (test - mean) @ directions
