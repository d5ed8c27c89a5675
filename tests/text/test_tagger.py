"""Taggers against torch; published counts, padding, learning, and the value of the conditional random field."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from jaxnets import recurrent, text
from jaxnets.ops.masks import valid_steps

GOLDEN = dict(np.load(Path(__file__).parent.parent / "reference" / "tagger.npz"))
NARROW = dict(embed_dim=5, character_embed_dim=4, character_features=3, hidden_size=6, dropout=0.0)


def narrow(kind, **options):
    return text.Tagger(11, 4, 9, kind, **{**NARROW, **options})


def log_likelihood(scores, tags, lengths):
    mask = valid_steps(lengths, tags.shape[1])
    return text.crf_log_likelihood(scores.emissions, tags, *scores[1:], mask)


@pytest.mark.parametrize("kind", ["rnn", "cnn"])
def test_torch(kind):
    with jax.enable_x64(True):
        part = lambda name: traverse_util.unflatten_dict(
            {k.removeprefix(f"{kind}/{name}/"): a for k, a in GOLDEN.items() if k.startswith(f"{kind}/{name}/")},
            sep="/",
        )
        model = narrow(kind, dtype=jnp.float64, method="sequential")
        inputs = [jnp.asarray(GOLDEN[name]) for name in ("words", "characters", "lengths")]
        # Ids of padding are out of range: they are never looked up.
        padding = ~valid_steps(inputs[2], 5)
        inputs[0] = jnp.where(padding, -7, inputs[0])
        inputs[1] = jnp.where(padding[..., None], 999, inputs[1])

        @functools.partial(jax.value_and_grad, has_aux=True)
        def objective(params):
            scores = model.apply({"params": params}, *inputs)
            likelihoods = log_likelihood(scores, jnp.where(padding, -100, jnp.asarray(GOLDEN["tags"])), inputs[2])
            return jnp.sum(likelihoods), (scores.emissions, likelihoods)

        (_, (emissions, likelihoods)), gradient = jax.jit(objective)(part("params"))
        np.testing.assert_allclose(emissions, GOLDEN[f"{kind}/emissions"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(likelihoods, GOLDEN[f"{kind}/log_likelihood"], rtol=0, atol=1e-12)
        expected = part("gradient")
        assert jax.tree.structure(gradient) == jax.tree.structure(expected)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-11), gradient, expected)


@pytest.mark.parametrize("make, count", [(text.lample_tagger, 217_240), (text.ma_hovy_tagger, 542_470)])
def test_published_counts(make, count):
    model = make(1000, 17, 100)
    words, characters = jnp.zeros((2, 5), jnp.int32), jnp.zeros((2, 5, 7), jnp.int32)
    params = dict(jax.eval_shape(model.init, jax.random.key(0), words, characters)["params"])
    assert params.pop("words")["embedding"].shape == (1000, 100)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def sentences(rng, batch, length, width):
    words = rng.integers(0, 11, (batch, length)).astype(np.int32)
    characters = rng.integers(1, 9, (batch, length, width)).astype(np.int32)
    characters[np.arange(width) >= rng.integers(0, width + 1, (batch, length, 1))] = 0
    return words, characters


@functools.cache
def initialized(kind):
    """A model, its variables and inputs with words without characters."""
    model = narrow(kind, cell=recurrent.gru)
    words, characters = sentences(np.random.default_rng(0), 4, 6, 5)
    return model, jax.jit(model.init)(jax.random.key(0), words, characters), words, characters


@pytest.mark.slow(12)
@pytest.mark.parametrize("kind", ["rnn", "cnn"])
def test_padding_has_no_effect(kind):
    model, variables, words, characters = initialized(kind)
    lengths = np.array([6, 0, 1, 4], np.int32)
    apply = jax.jit(model.apply)
    found = apply(variables, words, np.pad(characters, ((0, 0), (0, 0), (0, 3))), lengths).emissions
    padding = np.arange(6) >= lengths[:, None]
    assert found.dtype == jnp.float32 and (found[padding] == 0).all()
    for row, length in enumerate(lengths):  # alone, and with other padding
        others = [np.roll(a, 1, axis=0) for a in (words, characters)]
        others[0][0, :length], others[1][0, :length] = words[row, :length], characters[row, :length]
        alone = apply(variables, others[0][:1], others[1][:1], lengths[row, None]).emissions[0]
        np.testing.assert_allclose(found[row], alone, atol=1e-6)
    np.testing.assert_allclose(found[0], jax.jit(model.apply)(variables, words, characters).emissions[0], atol=1e-6)


@pytest.mark.slow(7)
@pytest.mark.parametrize("kind", ["rnn", "cnn"])
def test_words_without_characters_have_zeros(kind):
    encoder = text.CharacterEncoder(9, kind, 4, 3)
    characters = np.array([[0, 0, 0], [3, 0, 0]], np.int32)
    variables = jax.jit(encoder.init)(jax.random.key(0), characters)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient_and_vectors(variables):
        vectors = encoder.apply(variables, characters)
        return jnp.sum(vectors**2), vectors

    gradient, found = gradient_and_vectors(variables)
    assert (found[0] == 0).all() and (found[1] != 0).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert (gradient["params"]["embed"]["embedding"][0] == 0).all()
    assert jax.eval_shape(encoder.apply, variables, characters[:, :0]).shape == found.shape


def test_half_precision():
    _, variables, words, characters = initialized("cnn")
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    found, exact = (
        jax.jit(narrow("cnn", cell=recurrent.gru, dtype=dtype).apply)(variables, words, characters).emissions
        for dtype in (jnp.bfloat16, jnp.float32)
    )
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, atol=0.05)


def test_no_words():
    model, variables, words, characters = initialized("cnn")
    found = jax.jit(model.apply)(variables, words[:, :0], characters[:, :0], np.zeros(4, np.int32))
    assert found.emissions.shape == (4, 0, 4) and found.transitions.shape == (4, 4)


def test_pretrained_words_and_dropout():
    table = np.random.default_rng(0).normal(size=(11, 5)).astype(np.float32)
    model = narrow("none", embedding_init=lambda key, shape, dtype: jnp.asarray(table), dropout=0.5, output_dropout=0.5)
    words = np.arange(11, dtype=np.int32)[None]
    variables = jax.jit(model.init)(jax.random.key(0), words)
    assert "characters" not in variables["params"]
    np.testing.assert_array_equal(variables["params"]["words"]["embedding"], table)
    run = jax.jit(lambda key: model.apply(variables, words, train=True, rngs={"dropout": key}).emissions)
    one, other = run(jax.random.key(0)), run(jax.random.key(1))
    assert (one != other).any()


# ---- learning


def fit(model, inputs, tags, lengths, steps=60):
    """Trains a tagger and returns the best tags of the training sentences, by its own decoding."""
    mask = valid_steps(lengths, tags.shape[1])
    optimizer = optax.sgd(0.3, momentum=0.9)

    def loss(variables):
        scores = model.apply(variables, **inputs, lengths=lengths)
        if scores.transitions is not None:
            return -jnp.mean(log_likelihood(scores, tags, lengths))
        cross_entropies = optax.softmax_cross_entropy_with_integer_labels(scores.emissions, tags)
        return jnp.mean(jnp.sum(jnp.where(mask, cross_entropies, 0), axis=1))

    @jax.jit
    def train(variables):
        def step(state, _):
            variables, moments = state
            updates, moments = optimizer.update(jax.grad(loss)(variables), moments)
            return (optax.apply_updates(variables, updates), moments), None

        return jax.lax.scan(step, (variables, optimizer.init(variables)), length=steps)[0][0]

    scores = model.apply(train(jax.jit(model.init)(jax.random.key(0), **inputs)), **inputs, lengths=lengths)
    if scores.transitions is None:
        return jnp.argmax(scores.emissions, axis=-1), mask
    return text.crf_viterbi(scores.emissions, *scores[1:], mask)[0], mask


@pytest.mark.slow(11)
def test_overfits_a_few_sentences():
    rng = np.random.default_rng(1)
    words, characters = sentences(rng, 4, 6, 5)
    tags, lengths = rng.integers(0, 4, words.shape), jnp.array([6, 2, 5, 4])
    model = narrow("cnn", hidden_size=16)
    best, mask = fit(model, {"words": words, "characters": characters}, jnp.asarray(tags), lengths)
    assert (np.asarray(best)[mask] == tags[mask]).all()


@pytest.mark.slow(14)
def test_transitions_improve_on_independent_tags():
    """All words are equal and tags alternate, from a random first tag: only transitions know that neighbors differ."""
    tags = jnp.asarray((np.arange(8) + np.arange(6)[:, None]) % 2)
    words = jnp.zeros(tags.shape, jnp.int32)
    lengths = jnp.full(6, 8)
    changes = {}
    for crf in (True, False):
        model = narrow("none", crf=crf, method="sequential")
        best, _ = fit(model, {"words": words}, tags, lengths, steps=40)
        changes[crf] = np.mean(np.diff(np.asarray(best), axis=1) != 0)
    assert changes[True] == 1
    assert changes[False] < 1


# ---- wrong calls


@pytest.mark.parametrize(
    "options, characters, message",
    [
        ({}, None, r"`characters` must be integers of shape \(2, 3, 'W'\), got None"),
        ({}, np.zeros((2, 2, 4), int), r"`characters` must be integers of shape \(2, 3, 'W'\), got int64 of shape"),
        ({"character_encoder": "none"}, np.zeros((2, 3, 4), int), "`characters` must be None if `character_encoder`"),
        ({"character_encoder": "words"}, None, "`character_encoder` must be one of rnn, cnn, none, got 'words'"),
        ({"num_characters": 0}, np.zeros((2, 3, 4), int), "`num_characters` must be an integer of at least 1, got 0"),
        ({"num_tags": 0}, None, "`num_tags` must be an integer of at least 1, got 0"),
        ({}, np.full((2, 3, 4), 9), "`characters` must be in 0 ... 8, got 9 at position"),
    ],
)
def test_wrong_calls(options, characters, message):
    with pytest.raises(ValueError, match=message):
        model = text.Tagger(**{"vocab_size": 11, "num_tags": 4, "num_characters": 9, **NARROW, **options})
        model.init(jax.random.key(0), np.zeros((2, 3), np.int32), characters)
