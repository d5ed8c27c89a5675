"""Evaluators: means with a carry between batches, and the area under the ROC curve against scikit-learn."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from sklearn.metrics import roc_auc_score

from jaxnets import data, tasks
from jaxnets.learning import Mean, gradient
from jaxnets.learning.evaluators import CompiledEvaluator, auroc, means, run
from jaxnets.learning.optimizers import sgd

RANDOM = np.random.default_rng(0)
AUROC = auroc(lambda variables, batch: (batch["scores"], batch["targets"], batch["mask"]))


def make_batches(scores, targets, mask, rows=20):
    arrays = {"scores": scores.astype(np.float32), "targets": targets, "mask": mask}
    return [{name: array[i : i + rows] for name, array in arrays.items()} for i in range(0, len(scores), rows)]


def compute_metrics(evaluator, splits, variables=None):
    compiled = CompiledEvaluator(evaluator, evaluator.init, jax.jit(evaluator.measure))
    return run(compiled, variables, splits, jax.random.key)


SCORES = {
    "distinct": RANDOM.normal(size=100),
    "ties": RANDOM.integers(0, 4, 100) / 4,
    "constant": np.zeros(100),
    "large": 1e30 * RANDOM.normal(size=100),
}


@pytest.mark.parametrize("dtype", [np.int32, bool])
@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_auroc_equals_scikit_learn(scores, dtype):
    splits, expected = {}, {}
    for split, fraction in (("validation", 0.9), ("test", 0.5)):
        targets, mask = (RANDOM.random(100) + 0.1 * scores / np.ptp(scores + np.eye(100)[0]) < 0.4), RANDOM.random(100)
        mask = (mask < fraction) & (np.arange(100) // 20 != 2)  # the third batch is all padding
        masked_scores = np.where(mask, scores, np.nan)
        splits[split] = make_batches(masked_scores, targets.astype(dtype), mask)
        expected[f"{split}/auroc"] = roc_auc_score(targets[mask], scores[mask])
    assert compute_metrics(AUROC, splits) == pytest.approx(expected, abs=1e-12)


def test_auroc_counts_ties_as_one_half():
    batches = make_batches(np.array([0.0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.ones(4, bool), rows=2)
    assert compute_metrics(AUROC, {"test": batches}) == {"test/auroc": 0.5}


@pytest.mark.parametrize("target", [0, 1])
def test_auroc_of_a_single_class_is_nan(target):
    targets = np.where(np.arange(40) < 30, target, 1 - target)
    batches = make_batches(RANDOM.normal(size=40), targets, np.arange(40) < 30)  # the last ten rows are padding
    assert math.isnan(compute_metrics(AUROC, {"validation": batches})["validation/auroc"])


def test_auroc_of_nonfinite_scores_is_nan():
    batches = make_batches(np.array([0.0, np.nan]), np.array([0, 1]), np.ones(2, bool))
    assert math.isnan(compute_metrics(AUROC, {"validation": batches})["validation/auroc"])


def test_binary_classification_has_auroc_also_for_sequences():
    class Shift(nn.Module):
        @nn.compact
        def __call__(self, xs, train=False):
            return xs + self.param("shift", nn.initializers.zeros, (1, 1, 2))

    batch = {
        "inputs": RANDOM.normal(size=(30, 5, 2)).astype(np.float32),
        "targets": RANDOM.integers(0, 2, (30, 5)).astype(np.int32),
        "mask": RANDOM.random((30, 5)) < 0.7,
    }
    learn = lambda init, loss: gradient(init, loss, sgd(1, 0.1))
    task = tasks.classification(Shift(), data.Classes(("a", "b")), learn)
    variables = task.learner.init(jax.random.key(0), batch).variables
    flat = batch["inputs"][batch["mask"]]
    expected = roc_auc_score(batch["targets"][batch["mask"]], flat[:, 1].astype(float) - flat[:, 0])
    assert task.evaluators["auroc"].splits == ("validation",)
    metrics = compute_metrics(task.evaluators["auroc"].evaluator, {"validation": [batch]}, variables)
    assert metrics == {"validation/auroc": pytest.approx(expected, abs=1e-6)}
    assert set(tasks.classification(Shift(), data.Classes(("a", "b", "c")), learn).evaluators) == {"metrics"}


def test_means_are_weighted_by_count_and_the_carry_passes_between_batches():
    def measure(variables, batch, key, carry):
        carry = jnp.zeros((), jnp.float32) if carry is None else carry
        total = carry + jnp.sum(batch["x"])
        sampled = Mean(jax.random.uniform(key), jnp.float32(1))
        metrics = {"running": Mean(total, jnp.float32(1)), "x": Mean(jnp.sum(batch["x"]), jnp.float32(len(batch["x"])))}
        return {**metrics, "no_items": Mean(jnp.float32(0), jnp.float32(0)), "sampled": sampled}, total

    evaluator = means(measure, {"twice": lambda metrics: 2 * metrics["x"]})
    batches = [{"x": np.float32([1, 2])}, {"x": np.float32([3])}, {"x": np.float32([4, 5, 6])}]
    sampled = np.mean([jax.random.uniform(jax.random.key(i)) for i in range(3)])
    expected = {"running": (3 + 6 + 21) / 3, "x": 21 / 6, "sampled": sampled, "twice": 7.0}
    metrics = compute_metrics(evaluator, {"validation": batches, "test": batches[:1], "none": []})
    first = {name: value for name, value in metrics.items() if name.startswith("validation/")}
    assert first == pytest.approx({f"validation/{name}": value for name, value in expected.items()}, rel=1e-6)
    assert metrics["test/running"] == 3  # every split starts with a new carry
    assert not any(name.startswith("none/") for name in metrics)


def test_means_omit_splits_without_items():
    evaluator = means(lambda *_: ({}, ()), {"double": lambda metrics: 2 * metrics["loss"]})
    empty = evaluator.add(None, {"loss": Mean(0.0, 0.0)})
    nonempty = evaluator.add(None, {"loss": Mean(6.0, 2.0)})
    metrics = evaluator.compute({"validation": empty, "test": nonempty})
    assert metrics == {"test/loss": 3.0, "test/double": 6.0}
