"""How well trained models know the shares of classes in bags of digits, beside counting what a classifier says.

    python -m benchmarks.models.prevalence --runs=runs/prevalence,runs/prevalence_attention,runs/prevalence_pooled

"classify and count" is a classifier of single digits, learned from the same ones, whose answers are counted; "count
probabilities" adds its probabilities up. For a bag of n, K classes, true shares p and answers q, the absolute error is
the mean of abs(p - q), the relative one that of abs(p' - q') / p' with p' = (p + e) / (e K + 1), e = 1 / (2 n).
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
flags.DEFINE_string("json", None, "Write the result to this file.")

Answer = Callable[[np.ndarray], np.ndarray]  # from bags [B, N, 64] to shares [B, K]


def errors(answer: Answer, dataset: Dataset) -> dict[str, float]:
    """The mean absolute and relative errors over the test part."""
    batches = list(dataset.splits["test"])
    true = np.concatenate([batch["targets"] for batch in batches])
    given = np.concatenate([answer(batch["inputs"]) for batch in batches])
    smoothing = 1 / (2 * batches[0]["inputs"].shape[1])
    smooth = lambda shares: (shares + smoothing) / (smoothing * shares.shape[1] + 1)
    relative = np.abs(smooth(true) - smooth(given)) / smooth(true)
    return {"absolute": float(np.abs(true - given).mean()), "relative": float(relative.mean())}


def counters() -> dict[str, Answer]:
    """Classify and count, with scikit-learn's perceptron and logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    images, labels = digit_parts()[0]
    found: dict[str, Answer] = {}
    for name, classifier in {
        "logistic regression": LogisticRegression(max_iter=2000),
        "perceptron (128, 32)": MLPClassifier((128, 32), max_iter=1000, random_state=0),
    }.items():
        classifier.fit(images, labels)
        found[f"classify and count, {name}"] = functools.partial(count, classifier)
        found[f"count probabilities, {name}"] = functools.partial(count_probabilities, classifier)
    return found


def count(classifier: Any, bags: np.ndarray) -> np.ndarray:
    return (_probabilities(classifier, bags).argmax(-1)[..., None] == np.arange(10)).mean(1)


def count_probabilities(classifier: Any, bags: np.ndarray) -> np.ndarray:
    return _probabilities(classifier, bags).mean(1)


def _probabilities(classifier: Any, bags: np.ndarray) -> np.ndarray:
    return classifier.predict_proba(bags.reshape(-1, bags.shape[-1])).reshape(*bags.shape[:2], -1)


def main(overrides: program.Overrides) -> None:
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), "errors": {}}
    if len({Path(folder).name for folder in FLAGS.runs}) != len(FLAGS.runs):
        raise UsageError(f"--runs: folders with names of their own; given {FLAGS.runs}")
    runs = {Path(folder).name: restore.open_run(Path(folder)) for folder in FLAGS.runs}
    for folder, run in runs.items():
        if run.config.data.name != "data.prevalence":
            raise UsageError(f"--runs: runs on data.prevalence; {folder} is one on {run.config.data.name}")
        apply: Any = jax.jit(functools.partial(run.model.apply, run.variables))
        result["errors"][folder] = errors(apply, run.dataset())
    dataset = next(iter(runs.values())).dataset()
    for name, answer in counters().items():
        result["errors"][name] = errors(answer, dataset)
    for name, found in result["errors"].items():
        print(f"{name:<44} absolute {found['absolute']:.4f}  relative {found['relative']:.3f}")
    if FLAGS.json:
        harness.write(FLAGS.json, result)


if __name__ == "__main__":
    program.run(main)
