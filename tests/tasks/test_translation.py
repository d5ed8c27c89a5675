"""Translation: loss, scheduled sampling, and training on a small language."""

import functools

import jax
import numpy as np
import optax
import pytest
from task_parts import LearnerParts, figures, loss_of, measured

from jaxnets import attention, data, recurrent
from jaxnets.data.sources.pairs import START
from jaxnets.tasks import translation

WORDS = {"zero": "nula", "one": "un", "two": "dos", "three": "tres", "four": "kvar"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Sentences of four words, translated in reverse order."""
    random = np.random.default_rng(0)
    chosen = random.choice(list(WORDS), (300, 4))
    lines = {f"{' '.join(row)}\t{' '.join(WORDS[word] for word in row[::-1])}" for row in chosen}
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("\n".join(sorted(lines)))
    return data.pairs(
        str(path), vocab_size=300, max_seq_len=10, batch_size=32, validation_fraction=0.1, test_fraction=0.1
    )


MODELS = {
    "recurrent": lambda size: recurrent.EncoderDecoder(size, hidden_size=32, embed_dim=24, dropout=0.0),
    "transformer": lambda size: attention.Transformer(
        size, embed_dim=32, num_layers=1, num_heads=2, max_seq_len=16, dropout=0.0, norm_first=True
    ),
}


def make_task(name, pairs, **options):
    """Returns the model, its task and its initial variables."""
    model = MODELS[name](pairs.spec.size)
    task = translation(model, pairs.spec, make_learner=LearnerParts, **options)
    return model, task, jax.jit(task.learner.init)(jax.random.key(0), pairs.train[0])


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_is_the_cross_entropy_of_valid_tokens(name, pairs):
    model, task, variables = make_task(name, pairs)
    batch = {**pairs.train[0], "mask": np.arange(32) < 31}
    tokens = np.concatenate([np.full((32, 1), pairs.spec.symbol(START)), batch["targets"][:, :-1]], axis=1)
    logits = jax.jit(model.apply)(variables, batch["inputs"], tokens, batch["lengths"])
    nats = -jax.nn.log_softmax(logits)[np.arange(32)[:, None], np.arange(10), batch["targets"]]
    valid = (np.arange(10) < batch["target_lengths"][:, None]) & batch["mask"][:, None]
    expected = nats[valid].mean()
    loss = jax.jit(lambda batch: loss_of(task, variables, batch)[0])
    np.testing.assert_allclose(loss(batch), expected, rtol=1e-5)
    found = jax.jit(functools.partial(measured, task))(variables, batch)["loss"]
    np.testing.assert_allclose(found.total / found.count, expected, rtol=1e-5)
    changed_padding = {**batch, "inputs": np.where(np.arange(10) < batch["lengths"][:, None], batch["inputs"], 0)}
    np.testing.assert_allclose(loss(changed_padding), expected, rtol=1e-5)


def test_scheduled_sampling_changes_the_loss(pairs):
    _, teacher_forced, variables = make_task("recurrent", pairs)
    _, sampled, _ = make_task("recurrent", pairs, scheduled_sampling=0.9)
    losses = [float(loss_of(task, variables, pairs.train[0])[0]) for task in (teacher_forced, sampled)]
    assert np.isfinite(losses).all() and losses[0] != losses[1]
    with pytest.raises(ValueError, match=r"`scheduled_sampling` must be a number in \[0, 1\), got 1.0"):
        make_task("recurrent", pairs, scheduled_sampling=1.0)


@pytest.mark.parametrize("name", MODELS)
def test_a_small_language_is_translated_after_training(name, pairs):
    _, task, variables = make_task(name, pairs, label_smoothing=0.01)
    transform = optax.adam(1e-2)

    @jax.jit
    def update(variables, state, batch):
        gradients = jax.grad(lambda v: loss_of(task, v, batch)[0])(variables)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
            updates, state = transform.update(gradients, state)
        return optax.apply_updates(variables, updates), state

    state = transform.init(variables)
    for step in range(150):
        variables, state = update(variables, state, pairs.train[step])
    assert bleu(task, variables, pairs.splits["validation"]) > 90
    found = task.reports["examples"](variables, pairs.held_out, jax.random.key(0))["translations"].text
    assert "model: " in found and "reference: " in found
    generate = task.endpoints["generate"]
    output = generate.function(variables, generate.read("one two three four"))
    assert generate.present(output)["text"].text == "kvar tres dos un"
    drawn = figures(task, variables, [pairs.splits["validation"][0]])
    assert set(drawn) == ({"attention"} if name == "recurrent" else set())


def bleu(task, variables, batches):
    """Returns the BLEU score, which is not measured in training."""
    assert task.evaluators["bleu"].every == 0
    evaluator, accumulator = task.evaluators["bleu"].evaluator, None
    for batch in batches:
        accumulator = evaluator.add(accumulator, evaluator.measure(variables, batch, jax.random.key(0), ())[0])
    return evaluator.compute({"validation": accumulator})["validation/bleu"]
