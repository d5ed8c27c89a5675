"""Tasks on sets against scikit-learn; what is not real counts for nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from sklearn.metrics import accuracy_score, log_loss
from sklearn.mixture import GaussianMixture
from task_parts import Parts, figures, loss_of, means, measured

from jaxnets import data, reports, sets, tasks

RANDOM = np.random.default_rng(0)
K = 3
ANSWERS = RANDOM.normal(size=(4, K, 5)).astype(np.float32)


class Told(nn.Module):
    """A model whose answers do not depend on what it reads."""

    answers: tuple

    @nn.compact
    def __call__(self, xs, valid=None, train=False):
        return jnp.array(self.answers) + self.param("shift", nn.initializers.zeros, ())


class Given(nn.Module):
    """A model that scores an element by its first feature."""

    @nn.compact
    def __call__(self, xs, valid=None, train=False):
        return xs[..., :1] + self.param("shift", nn.initializers.zeros, ())


def test_clustering_measures_what_scikit_learn_measures():
    valid = RANDOM.random((4, 30)) < 0.7
    inputs = RANDOM.normal(size=(4, 30, 2)).astype(np.float32)
    mask = np.array([True, True, False, True])
    batch = {"inputs": inputs, "valid": valid, "mask": mask, "oracle": np.zeros(4, np.float32)}
    logs = []
    for points, real, answer in zip(inputs[mask], valid[mask], ANSWERS[mask].astype(np.float64), strict=True):
        model = GaussianMixture(K, covariance_type="diag")
        shares = np.exp(answer[:, 0])
        model.weights_, model.means_ = shares / shares.sum(), answer[:, 1:3]
        model.covariances_ = np.log1p(np.exp(answer[:, 3:])) ** 2
        model.precisions_cholesky_ = 1 / np.sqrt(model.covariances_)
        logs.append(model.score_samples(points[real]))
    wanted = -np.concatenate(logs).mean()
    task = tasks.clustering(Told(tuple(map(tuple, ANSWERS.tolist()))), data.Quantities(tuple("abcde")), learn=Parts)
    variables = task.learner.init(jax.random.key(0), batch)
    assert means(task, variables, batch)["loss"] == pytest.approx(wanted, rel=1e-5)
    assert float(loss_of(task, variables, batch)[0]) == pytest.approx(wanted, rel=1e-5)
    rubbish = {**batch, "inputs": np.where(valid[..., None], inputs, 1e6).astype(np.float32)}
    assert float(loss_of(task, variables, rubbish)[0]) == pytest.approx(wanted, rel=1e-5)
    evaluator = task.evaluators["metrics"].evaluator
    written = evaluator.compute({"validation": evaluator.add(None, measured(task, variables, batch))})
    assert written["validation/log_likelihood"] == -written["validation/loss"] == pytest.approx(-wanted, rel=1e-5)
    assert set(figures(task, variables, [batch])) == {"clusters"}


def test_choice_measures_what_scikit_learn_measures():
    valid = np.ones((50, 6), bool)
    valid[::2, 4:] = False
    inputs = RANDOM.normal(size=(50, 6, 4)).astype(np.float32)
    batch = {
        "inputs": inputs,
        "valid": valid,
        "targets": RANDOM.integers(0, 4, 50).astype(np.int32),
        "mask": RANDOM.random(50) < 0.8,
    }
    task = tasks.choice(Given(), data.Quantities(("score",)), learn=Parts)
    variables = task.learner.init(jax.random.key(0), batch)
    found = means(task, variables, batch)
    scores = np.where(valid, inputs[..., 0].astype(np.float64), -np.inf)[batch["mask"]]
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    targets = batch["targets"][batch["mask"]]
    assert found["loss"] == pytest.approx(log_loss(targets, probabilities, labels=range(6)), rel=1e-5)
    assert found["accuracy"] == pytest.approx(accuracy_score(targets, scores.argmax(1)))
    assert found["chance"] == pytest.approx((1 / valid.sum(1))[batch["mask"]].mean())
    assert float(loss_of(task, variables, batch)[0]) == pytest.approx(found["loss"], rel=1e-6)
    assert set(figures(task, variables, [batch])) == {"chosen"}


def test_models_of_sets_are_looked_at():
    valid = np.arange(20) < np.array([[0], [20], [7]])
    batch = {"inputs": RANDOM.random((3, 20, 2)).astype(np.float32), "valid": valid, "mask": np.ones(3, bool)}
    for name, model in {
        "histograms": sets.HistNetQ(2, (4,), (4,), num_bins=8),
        "inducing_points": sets.SetTransformer(
            2, embed_dim=8, num_heads=2, num_inducing_points=3, num_encoder_blocks=1, num_decoder_blocks=0
        ),
    }.items():
        variables = jax.jit(model.init)(jax.random.key(0), batch["inputs"])
        report = getattr(reports, name)
        of = lambda batch, model, report=report, v=variables: report(v, {"validation": [batch]}, None, model=model)
        drawn = of(batch, model)
        assert set(drawn) == {name}
        drawn[name].canvas.draw()
        assert of({**batch, "mask": np.zeros(3, bool)}, model) == {}
        assert of(batch, sets.DeepSets(2)) == {}
