"""Errors of class prevalences in bags of digits: trained quantifiers, compared with aggregated classifiers.

    python -m benchmarks.models.prevalence --runs=runs/prevalence,runs/prevalence_attention,runs/prevalence_pooled

"classify and count" counts the predictions of a classifier of single digits, trained on the same digits; "count
probabilities" averages its probabilities. For bags of n elements, K classes, prevalences p and predictions q, the
absolute error is the mean of abs(p - q). The relative error is the mean of abs(p' - q') / p' with
p' = (p + e) / (e K + 1) and e = 1 / (2 n).
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from benchmarks import harness
from jaxnets import program
from jaxnets.data import Dataset
from jaxnets.data.sources.problems.sets import digit_parts
from jaxnets.training import restore
from jaxnets.training.errors import UsageError

FLAGS = flags.FLAGS

flags.DEFINE_list("runs", None, "Folders of finished runs on data.prevalence.", required=True)
flags.DEFINE_string("json", None, "Output file of the result.")

Quantifier = Callable[[np.ndarray], np.ndarray]  # from bags [B, N, 64] to prevalences [B, K]


def errors(quantifier: Quantifier, dataset: Dataset) -> dict[str, float]:
    """Returns the mean absolute and relative errors on the test split."""
    batches = list(dataset.splits["test"])
    true = np.concatenate([batch["targets"] for batch in batches])
    predicted = np.concatenate([quantifier(batch["inputs"]) for batch in batches])
    smoothing = 1 / (2 * batches[0]["inputs"].shape[1])
    smooth = lambda prevalences: (prevalences + smoothing) / (smoothing * prevalences.shape[1] + 1)
    relative = np.abs(smooth(true) - smooth(predicted)) / smooth(true)
    return {"absolute": float(np.abs(true - predicted).mean()), "relative": float(relative.mean())}


def aggregated_classifiers() -> dict[str, Quantifier]:
    """Returns quantifiers that aggregate predictions of scikit-learn's perceptron and logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    images, labels = digit_parts()[0]
    quantifiers: dict[str, Quantifier] = {}
    for name, classifier in {
        "logistic regression": LogisticRegression(max_iter=2000),
        "perceptron (128, 32)": MLPClassifier((128, 32), max_iter=1000, random_state=0),
    }.items():
        classifier.fit(images, labels)
        quantifiers[f"classify and count, {name}"] = functools.partial(classify_and_count, classifier)
        quantifiers[f"count probabilities, {name}"] = functools.partial(count_probabilities, classifier)
    return quantifiers


def classify_and_count(classifier: Any, bags: np.ndarray) -> np.ndarray:
    return (_probabilities(classifier, bags).argmax(-1)[..., None] == np.arange(10)).mean(1)


def count_probabilities(classifier: Any, bags: np.ndarray) -> np.ndarray:
    return _probabilities(classifier, bags).mean(1)


def _probabilities(classifier: Any, bags: np.ndarray) -> np.ndarray:
    return classifier.predict_proba(bags.reshape(-1, bags.shape[-1])).reshape(*bags.shape[:2], -1)


def main(overrides: program.Overrides) -> None:
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), "errors": {}}
    if len({Path(folder).name for folder in FLAGS.runs}) != len(FLAGS.runs):
        raise UsageError(f"--runs must be folders with different names, got {FLAGS.runs}")
    runs = {Path(folder).name: restore.open_run(Path(folder)) for folder in FLAGS.runs}
    for folder, run in runs.items():
        if run.config.data.name != "data.prevalence":
            raise UsageError(f"--runs must be runs on data.prevalence, got {folder} on {run.config.data.name}")
        apply: Any = jax.jit(functools.partial(run.model.apply, run.variables))
        result["errors"][folder] = errors(apply, run.dataset())
    dataset = next(iter(runs.values())).dataset()
    for name, quantifier in aggregated_classifiers().items():
        result["errors"][name] = errors(quantifier, dataset)
    for name, values in result["errors"].items():
        print(f"{name:<44} absolute {values['absolute']:.4f}  relative {values['relative']:.3f}")
    if FLAGS.json:
        harness.write(FLAGS.json, result)


if __name__ == "__main__":
    program.run(main)
