"""The task of text classification: metrics, figures of marked words for each unit, tables, and wrong models."""

import functools
import io
import unicodedata

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score
from task_parts import LearnerParts, loss_of
from task_parts import figures as drawn

from jaxnets import data, learning, tasks, text
from jaxnets.reports.text_figures import COLUMNS, MarkedText, _wrapped, marked_texts
from jaxnets.tasks.text.text_classification import attributions

POSITIVE = ["a good film", "good and great", "what a great story $1", "great"]
NEGATIVE = ["a bad film", "bad, bad \u00e4cting", "not my\tstory", "bad"]
TEXTS, TARGETS = POSITIVE + NEGATIVE, np.array([1] * 4 + [0] * 4, np.int32)


def problem(unit="word", width=30):
    tokenizer = data.learn_tokenizer(TEXTS, unit, max_size=300)
    encoded = [tokenizer.encode(each)[:width] for each in TEXTS]
    inputs = np.stack([np.pad(ids, (0, width - len(ids))) for ids in encoded])
    lengths = np.array([len(ids) for ids in encoded], np.int32)
    batch = {"inputs": inputs, "lengths": lengths, "targets": TARGETS, "mask": np.arange(8) != 3}
    return data.TextClasses(("negative", "positive"), tokenizer), batch


SMALL = functools.partial(text.NgramClassifier, num_buckets=50)


@pytest.fixture(scope="module")
def trained():
    """A task, its variables after a few steps, and a batch."""
    spec, batch = problem()
    task = tasks.text_classification(SMALL, spec, learning.Gradient(optax.adam(0.05)))
    state, update = task.learner.init(jax.random.key(0), batch), jax.jit(task.learner.update)
    for step in range(12):
        state, _ = update(state, batch, jax.random.key(0), step)
    return task, task.learner.variables(state), batch


def test_metrics_equal_those_of_scikit_learn(trained):
    task, variables, batch = trained
    logits = np.asarray(task.endpoints["predict"].function(variables, batch), np.float64)[batch["mask"]]
    targets = TARGETS[batch["mask"]]
    found = {}
    for scheduled in task.evaluators.values():
        outputs, _ = scheduled.evaluator.measure(variables, batch, jax.random.key(0), ())
        found |= scheduled.evaluator.compute({"test": scheduled.evaluator.add(None, outputs)})
    predicted, probability = logits.argmax(-1), 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    assert found["test/loss"] == pytest.approx(log_loss(targets, probability), rel=1e-4)
    assert found["test/accuracy"] == accuracy_score(targets, predicted) == 1
    assert found["test/macro_f1"] == f1_score(targets, predicted, average="macro")
    assert found["test/auroc"] == roc_auc_score(targets, probability)
    right = np.where(predicted, probability, 1 - probability)
    assert 0 < found["test/calibration_error"] <= 1 - right.min()
    assert task.items.number(batch) == 8 and task.items.unit == "text"


def test_attributions_are_gradient_times_input(trained):
    _, variables, batch = trained
    model = SMALL(num_classes=2, vocab_size=problem()[0].tokenizer.size, max_ngram=1)
    params = {name: variables["params"][name] for name in ("embed", "head")}
    found = attributions(model, {"params": params}, batch["inputs"], batch["lengths"])
    logits = model.apply({"params": params}, batch["inputs"], lengths=batch["lengths"])
    # Without n-grams the model is linear: the effects add up to the logit, and padding has none.
    np.testing.assert_allclose(found.sum(-1), logits.max(-1), rtol=1e-4)
    assert (found[np.arange(30) >= batch["lengths"][:, None]] == 0).all()
    rows = np.asarray(params["embed"]["embedding"])[batch["inputs"]] @ np.asarray(params["head"]["kernel"])
    expected = rows[np.arange(8), :, np.argmax(logits, -1)] / batch["lengths"][:, None]
    np.testing.assert_allclose(found, np.where(np.arange(30) < batch["lengths"][:, None], expected, 0), atol=1e-5)


def test_figures_of_batches_of_several_lengths(trained):
    task, variables, batch = trained
    shorter = {**batch, "inputs": batch["inputs"][:, :12], "lengths": np.minimum(batch["lengths"], 12)}
    found = drawn(task, variables, [batch, shorter])
    assert set(found) == {"confusion", "reliability", "texts"}
    words = [each.get_text() for each in found["texts"].axes[0].texts]
    assert {"most certain, correct", "least certain"} <= set(words) and "most certain, wrong" not in words
    assert {"good", "great", "bad"} & set(words)
    for figure in found.values():
        figure.savefig(io.BytesIO())


@pytest.mark.parametrize("unit", ["character", "byte", "piece"])
def test_texts_of_other_units(unit):
    spec, batch = problem(unit)
    task = tasks.text_classification(SMALL, spec, LearnerParts)
    variables = task.learner.init(jax.random.key(0), batch)
    figure = drawn(task, variables, [batch])["texts"]
    figure.savefig(io.BytesIO())
    shown = "".join(each.get_text() for each in figure.axes[0].texts)
    assert ("g" + "ood") in shown and "'" not in shown.replace("don't", "")


def test_long_texts_are_wrapped_and_cut():
    layout = _wrapped(MarkedText("", "", ["word"] * 60 + ["x" * 400, "\u6587" * 8], np.zeros(62), cut=True), True)
    assert layout[-1][3] == "…" and layout[-1][1] >= 2
    assert all(column + width <= COLUMNS for column, _, width, _ in layout)
    assert layout[-2][2] == 16 and unicodedata.east_asian_width("\u6587") == "W"
    marked_texts([MarkedText("kind", "\n$x", [], np.zeros(0)), MarkedText("kind", "", ["$a", "b"], [np.nan, np.inf])])


def test_a_batch_that_is_masked_has_figures():
    spec, batch = problem()
    task = tasks.text_classification(SMALL, spec, LearnerParts)
    variables = task.learner.init(jax.random.key(0), batch)
    assert len(drawn(task, variables, [{**batch, "mask": np.zeros(8, bool)}])) == 3


class Own(nn.Module):
    """A model of a user, without embeddings and without sizes."""

    @nn.compact
    def __call__(self, tokens, *, lengths=None, train=False):
        return nn.Dense(2)(tokens.astype(jnp.float32))


def test_models_of_users():
    spec, batch = problem()
    task = tasks.text_classification(Own(), spec, LearnerParts)
    variables = task.learner.init(jax.random.key(0), batch)
    assert np.isfinite(loss_of(task, variables, batch)[0])
    assert "texts" in drawn(task, variables, [batch])
    table = task.endpoints["predict"].present(task.endpoints["predict"].function(variables, batch))["predictions"]
    assert table.columns == ("row", "class", "p(negative)", "p(positive)")


@pytest.mark.parametrize(
    ("model", "spec", "message"),
    [
        (text.TextCNN(5, 2), problem()[0], "`vocab_size` of the model must be 1?[0-9], got 5"),
        (SMALL, data.Classes(("a", "b")), "the data of tasks.text_classification must have textclasses"),
    ],
)
def test_wrong_models_and_data_are_rejected(model, spec, message):
    with pytest.raises(ValueError, match=message):
        tasks.text_classification(model, spec, LearnerParts)
