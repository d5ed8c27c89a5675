"""The task of tagging: loss, constraints, padding, predictions, reports, and that it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from task_parts import LearnerParts, figures, loss_of, means

from jaxnets import tasks, text
from jaxnets.data import Tags, Tokenizer
from jaxnets.data.tokens.tag_schemes import allowed_transitions, complete_names, invalid_positions
from jaxnets.learning import Gradient
from jaxnets.learning.evaluators import CompiledEvaluator, run
from jaxnets.text import Tagger

WORDS = ("in", "Los", "Angeles", "Paris", "we", "sleep")
NAMES = complete_names(["B-LOC"], "iobes")  # O, B, I, E, S
SPEC = Tags(NAMES, "iobes", Tokenizer("word", WORDS), Tokenizer("character", tuple("abcdefghijklmnopqrsLAPuw")))
SENTENCES = [("we sleep in Paris", "O O O S"), ("in Los Angeles we sleep", "O B E O O"), ("Paris", "S"), ("", "")]
SMALL = {"embed_dim": 4, "hidden_size": 4, "character_embed_dim": 3, "character_features": 3}

make = functools.partial(Tagger, **SMALL, dropout=0.0)


def batch_of(sentences=SENTENCES, spec=SPEC, length=6, width=7):
    rows = len(sentences)
    batch = {
        "inputs": np.zeros((rows, length), np.int32),
        "characters": np.zeros((rows, length, width), np.int32),
        "targets": np.zeros((rows, length), np.int32),
        "mask": np.zeros((rows, length), bool),
        "lengths": np.array([len(words.split()) for words, _ in sentences], np.int32),
    }
    for i, (words, tags) in enumerate(sentences):
        for j, (word, tag) in enumerate(zip(words.split(), tags.split(), strict=True)):
            batch["inputs"][i, j] = spec.tokenizer.ids([word])[0]
            batch["characters"][i, j, : len(word)] = spec.characters.ids(word) + 1
            batch["targets"][i, j] = [name[0] for name in spec.names].index(tag)
            batch["mask"][i, j] = True
    return batch


def task_of(spec=SPEC, model=make, **options):
    return tasks.tagging(model, spec, LearnerParts, **options)


@pytest.fixture(scope="module")
def batch():
    return batch_of()


@pytest.fixture(scope="module")
def variables(batch):
    found = task_of().learner.init(jax.random.key(0), batch)
    key = iter(jax.random.split(jax.random.key(1), 3))
    for name in ("transitions", "start", "end"):
        found["params"][name] = jax.random.normal(next(key), found["params"][name].shape)
    return found


def test_the_factory_has_the_sizes_of_the_data(batch, variables):
    params = variables["params"]
    assert params["transitions"].shape == (5, 5) and params["words"]["embedding"].shape == (7, 4)
    with pytest.raises(ValueError, match="`num_tags` of the model must be 5, got 4"):
        task_of(model=Tagger(7, 4, 26))
    with pytest.raises(ValueError, match="the data of tasks.tagging must have tags, got data with tokenizer"):
        task_of(spec=SPEC.tokenizer)
    with pytest.raises(ValueError, match="`constraints` must be one of none, decoding, always, got 'some'"):
        task_of(constraints="some")
    spec = Tags(NAMES, "iobes", SPEC.tokenizer)
    with pytest.raises(ValueError, match="must be none for data without characters"):
        task_of(spec=spec)
    without = functools.partial(make, character_encoder="none")
    for known in (spec, SPEC):  # with a spec of characters, they are not passed to the model
        task = task_of(known, without)
        assert "characters" not in task.learner.init(jax.random.key(0), batch)["params"]
        assert "characters" not in task.endpoints["predict"].inputs


def test_the_loss_is_the_negative_log_likelihood_per_word(batch, variables):
    scores = make(vocab_size=7, num_tags=5, num_characters=26).apply(
        variables, batch["inputs"], batch["characters"], batch["lengths"]
    )
    likelihood = text.crf_log_likelihood(scores.emissions, batch["targets"], *scores[1:], batch["mask"])
    expected = -jnp.sum(likelihood) / 10
    assert float(loss_of(task_of(), variables, batch)[0]) == pytest.approx(float(expected), rel=1e-6)
    assert means(task_of(), variables, batch)["loss"] == pytest.approx(float(expected), rel=1e-6)
    # Without invalid sequences, the likelihood of a valid one is larger.
    always = float(loss_of(task_of(constraints="always"), variables, batch)[0])
    assert 0 < always < float(expected)
    empty = {**batch, "mask": np.zeros_like(batch["mask"])}
    assert float(loss_of(task_of(), variables, empty)[0]) == 0


def test_without_a_random_field_the_loss_is_the_cross_entropy(batch):
    task = task_of(model=functools.partial(make, crf=False))
    variables = task.learner.init(jax.random.key(0), batch)
    model = make(vocab_size=7, num_tags=5, num_characters=26, crf=False)
    logits = model.apply(variables, batch["inputs"], batch["characters"], batch["lengths"]).emissions
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])
    expected = float(jnp.sum(jnp.where(batch["mask"], nats, 0))) / 10
    assert float(loss_of(task, variables, batch)[0]) == pytest.approx(expected, rel=1e-5)
    free = task_of(model=functools.partial(make, crf=False), constraints="none").endpoints
    found = free["probabilities"].function(variables, batch)
    np.testing.assert_allclose(found["probabilities"][0, :4], jax.nn.softmax(logits)[0, :4], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["tags"][0, :4], jnp.argmax(logits, -1)[0, :4])
    assert "transitions" not in figures(task, variables, [batch])


@pytest.mark.slow(20)
@pytest.mark.parametrize("crf", [True, False])
def test_predicted_tags_are_valid_in_the_scheme(batch, variables, crf):
    params = {**variables["params"]}
    if not crf:
        params = {name: params[name] for name in params if name not in ("transitions", "start", "end")}
    model, many = functools.partial(make, crf=crf), {}
    generator = np.random.default_rng(0)
    many = {
        "inputs": generator.integers(0, 7, (40, 6)).astype(np.int32),
        "characters": generator.integers(0, 20, (40, 6, 7)).astype(np.int32),
        "lengths": generator.integers(0, 7, 40).astype(np.int32),
    }
    params["head"] = jax.tree.map(lambda leaf: 20 * leaf, params["head"])
    counts = {}
    for constraints in ("decoding", "none"):
        endpoint = task_of(model=model, constraints=constraints).endpoints["predict"]
        tags = np.asarray(endpoint.function({"params": params}, many)["tags"])
        np.testing.assert_array_equal(tags >= 0, np.arange(6) < many["lengths"][:, None])
        named = [[NAMES[tag] for tag in row[:n]] for row, n in zip(tags, many["lengths"], strict=True)]
        counts[constraints] = sum(len(list(invalid_positions(row, "iobes"))) for row in named)
    assert counts["decoding"] == 0 < counts["none"]


@pytest.mark.slow(13)
def test_padding_and_holes_have_no_effect(batch, variables):
    task = task_of()
    grad = jax.jit(jax.value_and_grad(lambda v, b: loss_of(task, v, b)[0]))
    padded = {
        name: np.pad(array, [(0, 0), *[(0, 2)] * (array.ndim > 1), *[(0, 0)] * (array.ndim - 2)])
        for name, array in batch.items()
    }
    hidden = ~padded["mask"]
    padded["inputs"][hidden], padded["targets"][hidden], padded["characters"][hidden] = 3, 4, 5
    expected, gradient = grad(variables, batch)
    found, other = grad(variables, padded)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), gradient, other)
    hole = {**batch, "mask": batch["mask"].copy(), "targets": batch["targets"].copy()}
    hole["mask"][1, 1], hole["targets"][1, 1] = False, -100
    assert np.isfinite(grad(variables, hole)[0])
    assert means(task, variables, hole)["accuracy"] <= 1


def test_the_table_has_the_probabilities_of_all_tags(batch, variables):
    endpoint = task_of().endpoints["probabilities"]
    outputs = jax.tree.map(np.asarray, endpoint.function(variables, batch))
    np.testing.assert_allclose(outputs["probabilities"].sum(-1), batch["mask"], rtol=1e-5)
    between, begin, _ = allowed_transitions(NAMES, "iobes")
    assert (outputs["probabilities"][:3, 0][:, ~begin] == 0).all() and between.shape == (5, 5)
    table = endpoint.present(outputs)["tags"]
    assert table.columns == ("row", "step", "tag", "p(O)", "p(B-LOC)", "p(I-LOC)", "p(E-LOC)", "p(S-LOC)")
    assert len(table.rows) == 10 and table.rows[4][:2] == (1, 1) and table.rows[4][2] in NAMES
    plain = task_of().endpoints["predict"]
    assert plain.present(plain.function(variables, batch))["tags"].columns == ("row", "step", "tag")


@pytest.mark.slow(18)
def test_it_learns_and_reports(batch):
    optimizer = optax.adam(0.03)
    task = tasks.tagging(make, SPEC, Gradient(optimizer))
    state = task.learner.init(jax.random.key(0), batch)
    update = jax.jit(task.learner.update)
    before = {}
    for step in range(80):
        if step == 0:
            before = evaluate(task, task.learner.variables(state), batch)
        state, _ = update(state, batch, jax.random.key(2), jnp.int32(step))
    variables = task.learner.variables(state)
    found = evaluate(task, variables, batch)
    assert found["validation/accuracy"] == found["validation/entity_f1"] == found["validation/strict_entity_f1"] == 1
    assert found["validation/loss"] < 0.05 < before["validation/loss"] and task.objective == (
        "validation/entity_f1",
        "max",
    )
    drawn = figures(task, variables, [batch])
    assert drawn["sentences"].text.startswith("0 of 3 held-out sentences have an error")
    assert drawn.keys() == {"sentences", "transitions"}


def evaluate(task, variables, batch):
    metrics = {}
    for scheduled in task.evaluators.values():
        compiled = CompiledEvaluator(
            scheduled.evaluator, scheduled.evaluator.init, jax.jit(scheduled.evaluator.measure)
        )
        metrics |= run(compiled, variables, {"validation": [batch]}, jax.random.key)
    return metrics


def test_reports_mark_errors_and_tags_without_a_scheme_have_a_confusion(batch, variables):
    spec = Tags(("NOUN", "PRON", "VERB", "ADP", "$X$"), "none", SPEC.tokenizer, SPEC.characters)
    drawn = figures(task_of(spec), variables, [batch])
    assert drawn.keys() == {"sentences", "transitions", "confusion"}
    lines = drawn["sentences"].text.splitlines()
    words, true, predicted = (
        next(line for line in lines if line.startswith(name)) for name in ("words", "true", "pred")
    )
    assert words.split()[1:] == ["we", "sleep", "in", "Paris"] and true.split()[1:] == ["NOUN"] * 3 + ["$X$"]
    assert "*" in "".join(lines) and predicted.startswith("predicted")
    found = evaluate(task_of(spec), variables, batch)
    assert set(found) == {"validation/loss", "validation/accuracy", "validation/macro_f1"}
    for figure in (drawn["transitions"], drawn["confusion"]):
        figure.canvas.draw()


@pytest.mark.slow(21)
def test_half_precision_and_x64(batch, float64):
    task = task_of(model=functools.partial(make, dtype=jnp.bfloat16))
    variables = task.learner.init(jax.random.key(0), batch)
    loss = loss_of(task, variables, batch)[0]
    assert np.isfinite(loss)
    assert task.endpoints["predict"].function(variables, batch)["tags"].dtype == jnp.int32
