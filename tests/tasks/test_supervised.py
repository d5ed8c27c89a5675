"""Supervised tasks against scikit-learn and NumPy; what is masked counts for nothing."""

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
from task_parts import Parts, loss_of, means, measured
from task_parts import figures as drawn

from jaxnets import data, tasks
from jaxnets.reports import figures

# The package's functions of the same names hide these modules.
language_model, translation = (importlib.import_module(f"jaxnets.tasks.{n}") for n in ("language_model", "translation"))
RANDOM = np.random.default_rng(0)


class Given(nn.Module):
    """A model that answers with its inputs, shifted by a parameter."""

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
    "an answer an example": problem((50,), 3, RANDOM.random(50) < 0.8),
    "an answer a step": problem((10, 7), 3, RANDOM.random((10, 7)) < 0.5),
}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_classification_measures_what_scikit_learn_measures(batch):
    task = tasks.classification(Given(), CLASSES, learn=Parts)
    variables = task.learner.init(jax.random.key(0), batch)
    logits, targets = batch["inputs"][batch["mask"]], batch["targets"][batch["mask"]]
    probabilities = np.asarray(jax.nn.softmax(logits.astype(np.float64)))
    wanted = log_loss(targets, probabilities / probabilities.sum(-1, keepdims=True), labels=[0, 1, 2])
    found = means(task, variables, batch)
    assert found["loss"] == pytest.approx(wanted, rel=1e-5)
    assert found["accuracy"] == pytest.approx(accuracy_score(targets, logits.argmax(-1)))
    loss, aux = loss_of(task, variables, batch)
    assert float(loss) == pytest.approx(wanted, rel=1e-5)
    assert aux.carry == () and aux.updated == {}
    assert task.items.number(batch) == len(batch["inputs"])


def test_regression_measures_what_scikit_learn_measures():
    batch = {
        "inputs": RANDOM.normal(size=(50, 2)).astype(np.float32),
        "targets": RANDOM.normal(size=(50, 2)).astype(np.float32),
        "mask": RANDOM.random(50) < 0.8,
    }
    task = tasks.regression(Given(), data.Quantities(("x", "y")), learn=Parts)
    variables = task.learner.init(jax.random.key(0), batch)
    real = [batch[name][batch["mask"]] for name in ("targets", "inputs")]
    found = means(task, variables, batch)
    assert found["loss"] == pytest.approx(mean_squared_error(*real), rel=1e-5)
    assert found["absolute_error"] == pytest.approx(mean_absolute_error(*real), rel=1e-5)
    shown = drawn(task, variables, [batch, batch])["predicted"].axes[0].lines[1].get_ydata()
    np.testing.assert_allclose(shown, np.tile(real[1][:, 0], 2))


def test_what_is_masked_has_no_effect_even_where_it_is_nan():
    batch = BATCHES["an answer an example"]
    spoilt = {**batch, "inputs": np.where(batch["mask"][:, None], batch["inputs"], np.nan)}
    task = tasks.classification(Given(), CLASSES, learn=Parts)
    variables = task.learner.init(jax.random.key(0), batch)
    for metric, wanted in zip(
        jax.tree.leaves(measured(task, variables, spoilt)),
        jax.tree.leaves(measured(task, variables, batch)),
        strict=True,
    ):
        assert float(metric) == pytest.approx(float(wanted))
    nothing = {**batch, "mask": np.zeros(50, bool)}
    assert float(loss_of(task, variables, nothing)[0]) == 0


def test_pictures_show_counts_and_the_worst_mistakes():
    batch = BATCHES["an answer an example"]
    series = {**batch, "inputs": RANDOM.normal(size=(50, 3)).astype(np.float32)}
    task = tasks.classification(Given(), CLASSES, learn=Parts)
    found = drawn(task, task.learner.init(jax.random.key(0), series), [series])
    counts = np.zeros((3, 3), int)
    logits = series["inputs"]
    for i in np.flatnonzero(series["mask"]):
        counts[series["targets"][i], logits[i].argmax()] += 1
    texts = found["confusion"].axes[0].texts  # at (column, row)
    shown = {tuple(map(int, text.get_position()))[::-1]: int(text.get_text()) for text in texts}
    assert shown == {(i, j): counts[i, j] for i in range(3) for j in range(3) if counts[i, j]}


def test_dollar_signs_of_the_data_are_no_formulas():
    names, truth = ("$$", "$a_$"), np.array([0, 1])
    batch = {"inputs": np.zeros((2, 3, 1)), "targets": truth, "mask": np.ones(2, bool)}
    words = SimpleNamespace(show=lambda token: names[token], decode=lambda tokens: names[tokens[0]], unit="piece")
    for figure in (
        figures.confusion(truth, truth, batch["mask"], names),
        figures.mistakes(np.eye(2)[::-1], batch, names),
        language_model._surprise(words, truth, np.ones(2)),
        translation._map(words, truth, truth, np.eye(2)),
    ):
        figure.savefig(io.BytesIO())  # raises where a formula cannot be read


def test_pixels_are_drawn_as_the_image_they_are():
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


def test_logits_of_another_number_of_classes_are_told():
    batch = BATCHES["an answer an example"]
    task = tasks.classification(Given(), data.Classes(("a", "b")), learn=Parts)
    with pytest.raises(AssertionError, match="3"):
        jax.eval_shape(functools.partial(measured, task), task.learner.init(jax.random.key(0), batch), batch)
    assert jnp.isfinite(batch["inputs"]).all()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_error_in_a_picture_holds_at_every_scale(scale):
    true, given = (scale * RANDOM.normal(size=(2, 50, 1))).astype(np.float32)
    title = figures.predicted(given, true, ["q"]).axes[0].get_title()
    expected = np.sqrt(np.mean((given.astype(np.float64) - true) ** 2))
    assert float(title.split()[-1]) == pytest.approx(expected, rel=0.01)


def test_rows_of_features_are_drawn_as_bars():
    batch = BATCHES["an answer an example"]
    task = tasks.classification(Given(), CLASSES, learn=Parts)
    found = drawn(task, task.learner.init(jax.random.key(0), batch), [batch])
    shown = [bar.get_height() for bar in found["mistakes"].axes[0].patches]
    assert any(np.allclose(shown, row) for row in batch["inputs"][batch["mask"]])


def test_standardized_quantities_are_measured_and_predicted_in_their_units():
    spec = data.Quantities(("km", "s $x$"), (100, 5.0), (0.5, 0.0), (10.0, 0.25))
    mean, std = spec.scale
    true = mean + std * RANDOM.normal(size=(50, 2))
    batch = {
        "inputs": RANDOM.normal(size=(50, 2)).astype(np.float32),
        "targets": ((true - mean) / std).astype(np.float32),
        "mask": RANDOM.random(50) < 0.8,
    }
    task = tasks.regression(Given(), spec, learn=Parts)
    variables = task.learner.init(jax.random.key(0), batch)
    real = batch["mask"]
    answers = batch["inputs"] * std + mean
    found = means(task, variables, batch)
    assert found["loss"] == pytest.approx(mean_squared_error(batch["targets"][real], batch["inputs"][real]), rel=1e-5)
    assert found["absolute_error"] == pytest.approx(mean_absolute_error(true[real], answers[real]), rel=1e-5)
    for i, name in enumerate(spec.names):
        wanted = mean_absolute_error(true[real, i], answers[real, i])
        assert found[f"absolute_error/{name}"] == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_allclose(task.endpoints["predict"].function(variables, batch), answers, rtol=1e-6)
    shown = drawn(task, variables, [batch])["predicted"].axes[0].lines[1].get_ydata()
    np.testing.assert_allclose(shown, answers[real, 0], rtol=1e-6)


def test_labels_are_measured_as_scikit_learn_measures_them():
    logits = RANDOM.normal(size=(60, 4)).astype(np.float32)
    targets = RANDOM.random((60, 4)) < [0.5, 0.2, 0.9, 0.3]
    masks = [np.ones(30, bool), np.arange(30) < 25]
    batches = [
        {"inputs": logits[i : i + 30], "targets": targets[i : i + 30], "mask": mask}
        for i, mask in zip((0, 30), masks, strict=True)
    ]
    spoilt = {**batches[1], "inputs": np.where(masks[1][:, None], batches[1]["inputs"], np.nan)}
    task = tasks.multilabel_classification(Given(), data.Labels(tuple("abcd")), learn=Parts)
    variables = task.learner.init(jax.random.key(0), batches[0])
    found = means(task, variables, batches[0])
    chosen, true = logits[:30] > 0, targets[:30]
    losses = [log_loss(true[:, i], jax.nn.sigmoid(logits[:30, i].astype(np.float64))) for i in range(4)]
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["accuracy"] == pytest.approx(1 - hamming_loss(true, chosen))
    assert found["exact_match"] == pytest.approx(accuracy_score(true, chosen))
    evaluator = task.evaluators["multilabel"].evaluator
    kept = None
    for batch in (batches[0], spoilt):
        kept = evaluator.add(kept, evaluator.measure(variables, batch, jax.random.key(0), ())[0])
    real = np.concatenate(masks)
    scores = logits[real].astype(np.float64)
    assert evaluator.compute({"test": kept}) == {
        "test/macro_f1": pytest.approx(f1_score(targets[real], scores > 0, average="macro")),
        "test/mean_average_precision": pytest.approx(average_precision_score(targets[real], scores, average="macro")),
    }
    loss, _ = loss_of(task, variables, spoilt)
    assert np.isfinite(loss)
