"""Evaluators: means whose state goes on between batches, and the area under the ROC curve against scikit-learn."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from sklearn.metrics import roc_auc_score

from jaxnets import data, tasks
from jaxnets.learning import Mean, gradient
from jaxnets.learning.evaluators import Measure, auroc, means, run
from jaxnets.learning.optimizers import sgd

RANDOM = np.random.default_rng(0)
AUROC = auroc(lambda variables, batch: (batch["scores"], batch["targets"], batch["mask"]))


def batches_of(scores, targets, mask, rows=20):
    whole = {"scores": scores.astype(np.float32), "targets": targets, "mask": mask}
    return [{name: array[i : i + rows] for name, array in whole.items()} for i in range(0, len(scores), rows)]


def measured(evaluator, splits, variables=None):
    compiled = Measure(evaluator, evaluator.init, jax.jit(evaluator.measure))
    return run(compiled, variables, splits, jax.random.key)


SCORES = {
    "distinct": RANDOM.normal(size=100),
    "ties": RANDOM.integers(0, 4, 100) / 4,
    "all the same": np.zeros(100),
    "large": 1e30 * RANDOM.normal(size=100),
}


@pytest.mark.parametrize("dtype", [np.int32, bool])
@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_the_area_is_that_of_scikit_learn(scores, dtype):
    splits, wanted = {}, {}
    for split, part in (("validation", 0.9), ("test", 0.5)):
        targets, mask = (RANDOM.random(100) + 0.1 * scores / np.ptp(scores + np.eye(100)[0]) < 0.4), RANDOM.random(100)
        mask = (mask < part) & (np.arange(100) // 20 != 2)  # nothing of the third batch counts
        spoilt = np.where(mask, scores, np.nan)
        splits[split] = batches_of(spoilt, targets.astype(dtype), mask)
        wanted[f"{split}/auroc"] = roc_auc_score(targets[mask], scores[mask])
    assert measured(AUROC, splits) == pytest.approx(wanted, abs=1e-12)


def test_ties_count_half():
    batches = batches_of(np.array([0.0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.ones(4, bool), rows=2)
    assert measured(AUROC, {"test": batches}) == {"test/auroc": 0.5}


@pytest.mark.parametrize("target", [0, 1])
def test_there_is_no_area_of_one_class(target):
    targets = np.where(np.arange(40) < 30, target, 1 - target)
    batches = batches_of(RANDOM.normal(size=40), targets, np.arange(40) < 30)  # the others are padding
    assert math.isnan(measured(AUROC, {"validation": batches})["validation/auroc"])


def test_scores_that_are_not_finite_have_no_area():
    batches = batches_of(np.array([0.0, np.nan]), np.array([0, 1]), np.ones(2, bool))
    assert math.isnan(measured(AUROC, {"validation": batches})["validation/auroc"])


def test_a_classification_of_two_classes_has_an_area():
    """Also one with an answer for every step."""

    class Given(nn.Module):
        @nn.compact
        def __call__(self, xs, train=False):
            return xs + self.param("shift", nn.initializers.zeros, (1, 1, 2))

    batch = {
        "inputs": RANDOM.normal(size=(30, 5, 2)).astype(np.float32),
        "targets": RANDOM.integers(0, 2, (30, 5)).astype(np.int32),
        "mask": RANDOM.random((30, 5)) < 0.7,
    }
    learn = lambda init, loss: gradient(init, loss, sgd(1, 0.1))
    task = tasks.classification(Given(), data.Classes(("a", "b")), learn)
    variables = task.learner.init(jax.random.key(0), batch).variables
    flat = batch["inputs"][batch["mask"]]
    wanted = roc_auc_score(batch["targets"][batch["mask"]], flat[:, 1].astype(float) - flat[:, 0])
    assert task.evaluators["auroc"].splits == ("validation",)
    found = measured(task.evaluators["auroc"].evaluator, {"validation": [batch]}, variables)
    assert found == {"validation/auroc": pytest.approx(wanted, abs=1e-6)}
    assert set(tasks.classification(Given(), data.Classes(("a", "b", "c")), learn).evaluators) == {"metrics"}


def test_means_add_up_over_batches_and_a_carry_goes_on_between_them():
    def measure(variables, batch, key, carry):
        carry = jnp.zeros((), jnp.float32) if carry is None else carry
        total = carry + jnp.sum(batch["x"])
        drawn = Mean(jax.random.uniform(key), jnp.float32(1))
        found = {"running": Mean(total, jnp.float32(1)), "x": Mean(jnp.sum(batch["x"]), jnp.float32(len(batch["x"])))}
        return {**found, "nothing": Mean(jnp.float32(0), jnp.float32(0)), "drawn": drawn}, total

    evaluator = means(measure, {"twice": lambda found: 2 * found["x"]})
    batches = [{"x": np.float32([1, 2])}, {"x": np.float32([3])}, {"x": np.float32([4, 5, 6])}]
    drawn = np.mean([jax.random.uniform(jax.random.key(i)) for i in range(3)])
    wanted = {"running": (3 + 6 + 21) / 3, "x": 21 / 6, "drawn": drawn, "twice": 7.0}
    found = measured(evaluator, {"validation": batches, "test": batches[:1], "none": []})
    first = {name: value for name, value in found.items() if name.startswith("validation/")}
    assert first == pytest.approx({f"validation/{name}": value for name, value in wanted.items()}, rel=1e-6)
    assert found["test/running"] == 3  # the carry of another split has no effect
    assert not any(name.startswith("none/") for name in found)


def test_means_of_a_split_without_items_are_left_out():
    evaluator = means(lambda *_: ({}, ()), {"double": lambda found: 2 * found["loss"]})
    empty = evaluator.add(None, {"loss": Mean(0.0, 0.0)})
    whole = evaluator.add(None, {"loss": Mean(6.0, 2.0)})
    found = evaluator.compute({"validation": empty, "test": whole})
    assert found == {"test/loss": 3.0, "test/double": 6.0}
