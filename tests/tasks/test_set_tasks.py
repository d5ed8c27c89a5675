"""Tasks on sets against scikit-learn, with padding; reports on models of sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from sklearn.metrics import accuracy_score, log_loss
from sklearn.mixture import GaussianMixture
from task_parts import LearnerParts, figures, loss_of, means, measured

from jaxnets import data, reports, sets, tasks

RANDOM = np.random.default_rng(0)
K = 3
OUTPUTS = RANDOM.normal(size=(4, K, 5)).astype(np.float32)


class Constant(nn.Module):
    """A model with constant outputs."""

    outputs: tuple

    @nn.compact
    def __call__(self, xs, valid=None, train=False):
        return jnp.array(self.outputs) + self.param("shift", nn.initializers.zeros, ())


class FirstFeature(nn.Module):
    """A model whose scores are the first features of the elements."""

    @nn.compact
    def __call__(self, xs, valid=None, train=False):
        return xs[..., :1] + self.param("shift", nn.initializers.zeros, ())


def test_clustering_metrics_equal_those_of_scikit_learn():
    valid = RANDOM.random((4, 30)) < 0.7
    inputs = RANDOM.normal(size=(4, 30, 2)).astype(np.float32)
    mask = np.array([True, True, False, True])
    batch = {"inputs": inputs, "valid": valid, "mask": mask, "oracle": np.zeros(4, np.float32)}
    logs = []
    for points, real, output in zip(inputs[mask], valid[mask], OUTPUTS[mask].astype(np.float64), strict=True):
        model = GaussianMixture(K, covariance_type="diag")
        weights = np.exp(output[:, 0])
        model.weights_, model.means_ = weights / weights.sum(), output[:, 1:3]
        model.covariances_ = np.log1p(np.exp(output[:, 3:])) ** 2
        model.precisions_cholesky_ = 1 / np.sqrt(model.covariances_)
        logs.append(model.score_samples(points[real]))
    expected = -np.concatenate(logs).mean()
    task = tasks.clustering(
        Constant(tuple(map(tuple, OUTPUTS.tolist()))), data.Quantities(tuple("abcde")), make_learner=LearnerParts
    )
    variables = task.learner.init(jax.random.key(0), batch)
    assert means(task, variables, batch)["loss"] == pytest.approx(expected, rel=1e-5)
    assert float(loss_of(task, variables, batch)[0]) == pytest.approx(expected, rel=1e-5)
    changed_padding = {**batch, "inputs": np.where(valid[..., None], inputs, 1e6).astype(np.float32)}
    assert float(loss_of(task, variables, changed_padding)[0]) == pytest.approx(expected, rel=1e-5)
    evaluator = task.evaluators["metrics"].evaluator
    metrics = evaluator.compute({"validation": evaluator.add(None, measured(task, variables, batch))})
    assert metrics["validation/log_likelihood"] == -metrics["validation/loss"] == pytest.approx(-expected, rel=1e-5)
    assert set(figures(task, variables, [batch])) == {"clusters"}


def test_choice_metrics_equal_those_of_scikit_learn():
    valid = np.ones((50, 6), bool)
    valid[::2, 4:] = False
    inputs = RANDOM.normal(size=(50, 6, 4)).astype(np.float32)
    batch = {
        "inputs": inputs,
        "valid": valid,
        "targets": RANDOM.integers(0, 4, 50).astype(np.int32),
        "mask": RANDOM.random(50) < 0.8,
    }
    task = tasks.choice(FirstFeature(), data.Quantities(("score",)), make_learner=LearnerParts)
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


def test_set_reports_draw_figures_for_their_models_only():
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
        draw = lambda batch, model, report=report, v=variables: report(v, {"validation": [batch]}, None, model=model)
        drawn = draw(batch, model)
        assert set(drawn) == {name}
        drawn[name].canvas.draw()
        assert draw({**batch, "mask": np.zeros(3, bool)}, model) == {}
        assert draw(batch, sets.DeepSets(2)) == {}
