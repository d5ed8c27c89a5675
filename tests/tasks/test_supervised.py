"""Supervised tasks against scikit-learn and NumPy, with masked targets; figures."""

import functools
import importlib
import io
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    hamming_loss,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
)
from task_parts import LearnerParts, loss_of, means, measured
from task_parts import figures as drawn

from jaxnets import data, tasks
from jaxnets.reports import figures

# Functions of the package shadow the modules of the same names.
language_model, translation = (importlib.import_module(f"jaxnets.tasks.{n}") for n in ("language_model", "translation"))
RANDOM = np.random.default_rng(0)


class Shift(nn.Module):
    """A model whose outputs are its inputs plus a parameter."""

    @nn.compact
    def __call__(self, xs, train=False):
        shift = self.param("shift", nn.initializers.zeros, (xs.shape[-1],))
        return xs + jnp.broadcast_to(shift, xs.shape)


def problem(shape, size, mask):
    return {
        "inputs": RANDOM.normal(size=(*shape, size)).astype(np.float32),
        "targets": RANDOM.integers(0, size, shape).astype(np.int32),
        "mask": mask,
    }


CLASSES = data.Classes(("a", "b", "c"))
BATCHES = {
    "target per example": problem((50,), 3, RANDOM.random(50) < 0.8),
    "target per step": problem((10, 7), 3, RANDOM.random((10, 7)) < 0.5),
}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_classification_metrics_equal_those_of_scikit_learn(batch):
    task = tasks.classification(Shift(), CLASSES, make_learner=LearnerParts)
    variables = task.learner.init(jax.random.key(0), batch)
    logits, targets = batch["inputs"][batch["mask"]], batch["targets"][batch["mask"]]
    probabilities = np.asarray(jax.nn.softmax(logits.astype(np.float64)))
    expected = log_loss(targets, probabilities / probabilities.sum(-1, keepdims=True), labels=[0, 1, 2])
    found = means(task, variables, batch)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["accuracy"] == pytest.approx(accuracy_score(targets, logits.argmax(-1)))
    loss, aux = loss_of(task, variables, batch)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert aux.carry == () and aux.updated == {}
    assert task.items.number(batch) == len(batch["inputs"])


def test_regression_metrics_equal_those_of_scikit_learn():
    batch = {
        "inputs": RANDOM.normal(size=(50, 2)).astype(np.float32),
        "targets": RANDOM.normal(size=(50, 2)).astype(np.float32),
        "mask": RANDOM.random(50) < 0.8,
    }
    task = tasks.regression(Shift(), data.Quantities(("x", "y")), make_learner=LearnerParts)
    variables = task.learner.init(jax.random.key(0), batch)
    valid = [batch[name][batch["mask"]] for name in ("targets", "inputs")]
    found = means(task, variables, batch)
    assert found["loss"] == pytest.approx(mean_squared_error(*valid), rel=1e-5)
    assert found["mean_absolute_error"] == pytest.approx(mean_absolute_error(*valid), rel=1e-5)
    shown = drawn(task, variables, [batch, batch])["predicted"].axes[0].lines[1].get_ydata()
    np.testing.assert_allclose(shown, np.tile(valid[1][:, 0], 2))


def test_masked_nan_has_no_effect():
    batch = BATCHES["target per example"]
    with_nan = {**batch, "inputs": np.where(batch["mask"][:, None], batch["inputs"], np.nan)}
    task = tasks.classification(Shift(), CLASSES, make_learner=LearnerParts)
    variables = task.learner.init(jax.random.key(0), batch)
    for metric, expected in zip(
        jax.tree.leaves(measured(task, variables, with_nan)),
        jax.tree.leaves(measured(task, variables, batch)),
        strict=True,
    ):
        assert float(metric) == pytest.approx(float(expected))
    all_masked = {**batch, "mask": np.zeros(50, bool)}
    assert float(loss_of(task, variables, all_masked)[0]) == 0


def test_the_confusion_matrix_shows_counts():
    batch = BATCHES["target per example"]
    series = {**batch, "inputs": RANDOM.normal(size=(50, 3)).astype(np.float32)}
    task = tasks.classification(Shift(), CLASSES, make_learner=LearnerParts)
    found = drawn(task, task.learner.init(jax.random.key(0), series), [series])
    counts = np.zeros((3, 3), int)
    logits = series["inputs"]
    for i in np.flatnonzero(series["mask"]):
        counts[series["targets"][i], logits[i].argmax()] += 1
    texts = found["confusion"].axes[0].texts  # at (column, row)
    shown = {tuple(map(int, text.get_position()))[::-1]: int(text.get_text()) for text in texts}
    assert shown == {(i, j): counts[i, j] for i in range(3) for j in range(3) if counts[i, j]}


def test_dollar_signs_in_data_are_not_formulas():
    names, truth = ("$$", "$a_$"), np.array([0, 1])
    batch = {"inputs": np.zeros((2, 3, 1)), "targets": truth, "mask": np.ones(2, bool)}
    words = SimpleNamespace(show=lambda token: names[token], decode=lambda tokens: names[tokens[0]], unit="piece")
    for figure in (
        figures.confusion_matrix(truth, truth, batch["mask"], names),
        figures.mistakes(np.eye(2)[::-1], batch, names),
        language_model._surprisal(words, truth, np.ones(2)),
        translation._attention_map(words, truth, truth, np.eye(2)),
    ):
        figure.savefig(io.BytesIO())  # raises if a formula is invalid


def test_pixel_series_with_a_width_are_drawn_as_images():
    random = np.random.default_rng(1)
    batch = {
        "inputs": random.normal(size=(5, 12, 1)).astype(np.float32),
        "targets": np.zeros(5, np.int32),
        "mask": np.ones(5, bool),
    }
    logits = np.stack([np.arange(5.0), np.zeros(5)], axis=-1)  # the first is the worst
    lines = figures.mistakes(logits, batch, "ab", count=2)
    assert [len(axes.lines) for axes in lines.axes[:2]] == [1, 1]
    image = figures.mistakes(logits, {**batch, "width": np.full(5, 4)}, "ab", count=2).axes[0].images[0]
    np.testing.assert_array_equal(image.get_array(), batch["inputs"][0].reshape(3, 4))


def test_a_wrong_number_of_logits_is_rejected():
    batch = BATCHES["target per example"]
    task = tasks.classification(Shift(), data.Classes(("a", "b")), make_learner=LearnerParts)
    with pytest.raises(AssertionError, match="3"):
        jax.eval_shape(functools.partial(measured, task), task.learner.init(jax.random.key(0), batch), batch)
    assert jnp.isfinite(batch["inputs"]).all()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_error_in_a_figure_is_exact_at_every_scale(scale):
    true, predicted = (scale * RANDOM.normal(size=(2, 50, 1))).astype(np.float32)
    title = figures.predicted_vs_true(predicted, true, ["q"]).axes[0].get_title()
    expected = np.sqrt(np.mean((predicted.astype(np.float64) - true) ** 2))
    assert float(title.split()[-1]) == pytest.approx(expected, rel=0.01)


def test_rows_of_features_are_drawn_as_bars():
    batch = BATCHES["target per example"]
    task = tasks.classification(Shift(), CLASSES, make_learner=LearnerParts)
    found = drawn(task, task.learner.init(jax.random.key(0), batch), [batch])
    shown = [bar.get_height() for bar in found["mistakes"].axes[0].patches]
    assert any(np.allclose(shown, row) for row in batch["inputs"][batch["mask"]])


def test_standardized_quantities_have_metrics_and_predictions_in_their_units():
    spec = data.Quantities(("km", "s $x$"), (100, 5.0), (0.5, 0.0), (10.0, 0.25))
    mean, std = spec.scale
    true = mean + std * RANDOM.normal(size=(50, 2))
    batch = {
        "inputs": RANDOM.normal(size=(50, 2)).astype(np.float32),
        "targets": ((true - mean) / std).astype(np.float32),
        "mask": RANDOM.random(50) < 0.8,
    }
    task = tasks.regression(Shift(), spec, make_learner=LearnerParts)
    variables = task.learner.init(jax.random.key(0), batch)
    mask = batch["mask"]
    predictions = batch["inputs"] * std + mean
    found = means(task, variables, batch)
    assert found["loss"] == pytest.approx(mean_squared_error(batch["targets"][mask], batch["inputs"][mask]), rel=1e-5)
    assert found["mean_absolute_error"] == pytest.approx(mean_absolute_error(true[mask], predictions[mask]), rel=1e-5)
    for i, name in enumerate(spec.names):
        expected = mean_absolute_error(true[mask, i], predictions[mask, i])
        assert found[f"mean_absolute_error/{name}"] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(task.endpoints["predict"].function(variables, batch), predictions, rtol=1e-6)
    shown = drawn(task, variables, [batch])["predicted"].axes[0].lines[1].get_ydata()
    np.testing.assert_allclose(shown, predictions[mask, 0], rtol=1e-6)


def test_multilabel_metrics_equal_those_of_scikit_learn():
    logits = RANDOM.normal(size=(60, 4)).astype(np.float32)
    targets = RANDOM.random((60, 4)) < [0.5, 0.2, 0.9, 0.3]
    masks = [np.ones(30, bool), np.arange(30) < 25]
    batches = [
        {"inputs": logits[i : i + 30], "targets": targets[i : i + 30], "mask": mask}
        for i, mask in zip((0, 30), masks, strict=True)
    ]
    with_nan = {**batches[1], "inputs": np.where(masks[1][:, None], batches[1]["inputs"], np.nan)}
    task = tasks.multilabel_classification(Shift(), data.Labels(tuple("abcd")), make_learner=LearnerParts)
    variables = task.learner.init(jax.random.key(0), batches[0])
    found = means(task, variables, batches[0])
    predicted, true = logits[:30] > 0, targets[:30]
    losses = [log_loss(true[:, i], jax.nn.sigmoid(logits[:30, i].astype(np.float64))) for i in range(4)]
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["accuracy"] == pytest.approx(1 - hamming_loss(true, predicted))
    assert found["exact_match"] == pytest.approx(accuracy_score(true, predicted))
    evaluator = task.evaluators["multilabel"].evaluator
    accumulator = None
    for batch in (batches[0], with_nan):
        accumulator = evaluator.add(accumulator, evaluator.measure(variables, batch, jax.random.key(0), ())[0])
    mask = np.concatenate(masks)
    scores = logits[mask].astype(np.float64)
    assert evaluator.compute({"test": accumulator}) == {
        "test/macro_f1": pytest.approx(f1_score(targets[mask], scores > 0, average="macro")),
        "test/mean_average_precision": pytest.approx(average_precision_score(targets[mask], scores, average="macro")),
    }
    loss, _ = loss_of(task, variables, with_nan)
    assert np.isfinite(loss)
