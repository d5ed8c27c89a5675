"""Ids of tokens and classes out of range: errors for concrete values, NaN within jit."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets import attention, data, decoding, recurrent, sets
from jaxnets.ops.embedding import check_ids, embed, fill_padding, in_range, one_hot
from jaxnets.tasks import step_function
from jaxnets.tasks.cross_entropy import cross_entropy

TABLE = jax.random.normal(jax.random.key(0), (7, 3))
OUTSIDE = [-1, -7, -8, 7, 8, 2**31 - 1, -(2**31)]
LM = dict(embed_dim=8, num_layers=1, num_heads=2, max_seq_len=8)
SEQUENCES = {
    "embedded": recurrent.CharRNN(7, hidden_size=4, embed_dim=3),
    "one-hot": recurrent.CharRNN(7, hidden_size=4, embed_dim=0),
    "decoder": attention.modern_lm(7, num_kv_heads=1, scan_layers=False, **LM),
}
PAIRS = {
    "recurrent": recurrent.EncoderDecoder(7, hidden_size=4, embed_dim=3, attention="additive"),
    "transformer": attention.Transformer(7, **LM),
}


@pytest.fixture(scope="module")
def compiled_models():
    """Variables and compiled apply functions of the models."""
    tokens = jnp.zeros((2, 4), jnp.int32)
    given = {**dict.fromkeys(SEQUENCES, (tokens,)), **dict.fromkeys(PAIRS, (tokens, tokens))}
    init = lambda name, model: jax.jit(model.init)(jax.random.key(0), *given[name])
    return {name: (init(name, model), jax.jit(model.apply)) for name, model in {**SEQUENCES, **PAIRS}.items()}


def apply_to_concrete(model, variables, *given):
    """Returns the output shapes of a model for concrete inputs, without computing the outputs."""
    return jax.eval_shape(lambda variables: model.apply(variables, *given), variables)


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16, jnp.int32, jnp.uint32])
@pytest.mark.parametrize("size", [1, 4, 200])
def test_rows_equal_those_of_numpy_and_are_nan_out_of_range(dtype, size):
    table = jnp.arange(size * 2, dtype=jnp.float32).reshape(size, 2)
    info = jnp.iinfo(dtype)
    ids = np.array([[0, size - 1, size], [info.max, info.min, size + 1]]) % (2**32)
    ids = ids.astype(jnp.dtype(dtype))
    inside = (ids.astype(np.int64) >= 0) & (ids.astype(np.int64) < size)
    expected = np.where(inside[..., None], np.asarray(table)[np.where(inside, ids, 0).astype(np.int64)], np.nan)
    np.testing.assert_array_equal(jax.jit(embed)(table, ids), expected)
    eye = np.where(inside[..., None], np.eye(size)[np.where(inside, ids, 0).astype(np.int64)], np.nan)
    np.testing.assert_array_equal(jax.jit(one_hot, static_argnums=1)(ids, size), eye)
    np.testing.assert_array_equal(in_range(jnp.asarray(ids), size), inside)


@pytest.mark.parametrize("number", OUTSIDE)
def test_id_out_of_range_is_rejected_with_its_position(number):
    ids = jnp.array([[0, 6, 3], [2, number, number]])
    for f in (lambda: embed(TABLE, ids, name="source"), lambda: one_hot(np.asarray(ids), 7, name="source")):
        with pytest.raises(ValueError, match=rf"^`source` must be in 0 ... 6, got {number} at position \(1, 1\)$"):
            f()
    padding = jnp.array([[True, True, True], [True, False, False]])
    for given in (ids, np.asarray(ids)):
        rows = embed(TABLE, given, valid=padding)
        np.testing.assert_array_equal(rows[:, 0], TABLE[jnp.array([0, 2])])
        np.testing.assert_array_equal(rows[1, 1:], TABLE[jnp.array([0, 0])])
        np.testing.assert_array_equal(jax.jit(embed)(TABLE, given, valid=padding), rows)
        np.testing.assert_array_equal(fill_padding(given, 7, padding)[1], [2, 0, 0])
    # An id out of range does not contribute to the gradient.
    gradient = jax.jit(jax.grad(lambda table, ids: jnp.sum(embed(table, ids))))
    np.testing.assert_array_equal(gradient(TABLE, ids)[:, 0], [1, 0, 1, 1, 0, 0, 1])


def test_floats_and_empty_vocabularies_are_rejected():
    with pytest.raises(ValueError, match="`tokens` must be an array of integers, got float32"):
        embed(TABLE, jnp.ones(2))
    with pytest.raises(ValueError, match="`tokens` must be an array of integers, got list"):
        check_ids("tokens", [1.5], 3)
    with pytest.raises(ValueError, match="`tokens` must be empty because the vocabulary is empty, got 0"):
        embed(TABLE[:0], jnp.zeros(1, jnp.int32))
    assert embed(TABLE[:0], jnp.zeros((2, 0), jnp.int32)).shape == (2, 0, 3)
    check_ids("tokens", jnp.int32(3), 4)
    with pytest.raises(ValueError, match="`tokens` must be in 0 ... 3, got 4$"):
        check_ids("tokens", jnp.int32(4), 4)


def test_int64_ids_beyond_int32_are_rejected(float64):
    ids = jnp.array([2**32, 2**32 + 1, -(2**32), 1])
    assert jnp.isnan(jax.jit(embed)(TABLE, ids)).all(1).tolist() == [True, True, True, False]
    with pytest.raises(ValueError, match=f"got {2**32} at position \\(0,\\)"):
        embed(TABLE, ids)


@pytest.mark.parametrize("number", [-1, 7])
@pytest.mark.parametrize("name", SEQUENCES)
def test_language_models_reject_tokens_out_of_range(name, number, compiled_models):
    variables, apply = compiled_models[name]
    model = SEQUENCES[name]
    tokens = jnp.array([[1, 2, 3, 4], [1, 2, number, 4]])
    with pytest.raises(ValueError, match=rf"`tokens` must be in 0 ... 6, got {number} at position \(1, 2\)"):
        apply_to_concrete(model, variables, tokens)
    logits = apply(variables, tokens)[1]
    expected = apply(variables, tokens.at[1, 2].set(3))[1]
    np.testing.assert_array_equal(logits[0], expected[0])
    if isinstance(model, recurrent.CharRNN):
        np.testing.assert_array_equal(logits[1, :2], expected[1, :2])
    assert jnp.isnan(logits[1, 2:]).all()


@pytest.mark.parametrize("name", PAIRS)
def test_translation_models_check_tokens_but_not_padding(name, compiled_models):
    variables, apply = compiled_models[name]
    model = PAIRS[name]
    tokens, lengths = jnp.array([[1, 2, 3, 4], [1, 2, 5, 4]]), jnp.array([4, 2])

    @jax.jit
    @jax.value_and_grad
    def loss(variables, tokens):
        logits = model.apply(variables, tokens, tokens, lengths, lengths)
        return jnp.sum(cross_entropy(logits, tokens, jnp.arange(4)[None] < lengths[:, None]))

    expected = loss(variables, tokens)
    for number in (-1, 7):
        wrong = tokens.at[1, 2].set(number)
        for given, argument in (((wrong, tokens), "source"), ((tokens, wrong), "target")):
            with pytest.raises(
                ValueError, match=rf"`{argument}` must be in 0 ... 6, got {number} at position \(1, 2\)"
            ):
                apply_to_concrete(model, variables, *given)
            assert jnp.isnan(apply(variables, *given)[1, 2:]).all()
        assert apply_to_concrete(model, variables, wrong, wrong, lengths, lengths).shape == (2, 4, 7)
        found = loss(variables, wrong)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)


def test_sets_of_tokens_check_tokens_but_not_padding():
    model = sets.DeepSets(num_outputs=2, phi=(3, 4), rho=(4,), vocab_size=7)
    valid, segments = jnp.array([[True] * 3, [True, False, False]]), jnp.array([0, 0, 0, 1, -1, 2])
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    apply = jax.jit(model.apply)
    for number in (-1, 7):
        tokens = jnp.array([[1, 2, 3], [4, number, number]])
        with pytest.raises(ValueError, match=rf"`xs` must be in 0 ... 6, got {number} at position \(1, 1\)"):
            apply_to_concrete(model, variables, tokens)
        assert jnp.isnan(apply(variables, tokens)).all(1).tolist() == [False, True]
        flat = tokens.reshape(-1), sets.Segments(segments, 2)
        for given in ((tokens, valid), flat):
            assert apply_to_concrete(model, variables, *given).shape == (2, 2)
            np.testing.assert_allclose(apply(variables, *given)[1], apply(variables, tokens[1:, :1])[0], atol=1e-6)


LOSS = jax.jit(jax.value_and_grad(lambda logits, *given: jnp.sum(cross_entropy(logits, *given))))


@pytest.mark.parametrize("number", OUTSIDE)
def test_cross_entropy_rejects_targets_out_of_range(number):
    logits = jax.random.normal(jax.random.key(1), (4, 7))
    targets, valid = jnp.array([0, 6, number, 3]), jnp.array([True, True, False, True])
    with pytest.raises(ValueError, match=rf"`targets` must be in 0 ... 6, got {number} at position \(2,\)"):
        cross_entropy(logits, targets)
    value, gradient = LOSS(logits, targets, None)
    assert jnp.isnan(value) and jnp.isnan(gradient).any(1).tolist() == [False, False, True, False]
    z = np.asarray(logits, np.float64)
    expected = np.log(np.exp(z).sum(1)) - z[np.arange(4), [0, 6, 0, 3]]
    corrupted = logits.at[2].set(jnp.nan)
    value, gradient = LOSS(corrupted, targets, valid)
    np.testing.assert_allclose(value, expected[[0, 1, 3]].sum(), rtol=1e-5)
    softmax = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    expected = (softmax - np.eye(7)[[0, 6, 0, 3]]) * np.asarray(valid)[:, None]
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def step_and_carry(jitted, compiled_models):
    model, (variables, _) = SEQUENCES["decoder"], compiled_models["decoder"]
    step = lambda cache, token: (lambda new, logits: (new, logits[0, 0]))(
        *model.apply(variables, token[None, None], cache)
    )
    return jax.jit(step) if jitted else step, model.start()


@pytest.mark.parametrize("jitted", [False, True])
def test_decoding_rejects_tokens_out_of_range(jitted, compiled_models):
    step, carry = step_and_carry(jitted, compiled_models)
    key = jax.random.key(0)
    for start in (-1, 7, 2**31):
        with pytest.raises(ValueError, match=rf"`(start_token|tokens)` must be in 0 ... 6, got {start}"):
            decoding.greedy(step, carry, start, max_length=2)
        with pytest.raises(ValueError, match=rf"`(start_token|tokens)` must be in 0 ... 6, got {start}"):
            decoding.beam_search(step, carry, start, end_token=1, num_beams=2, max_length=2)
    for end in (-1, 7):
        with pytest.raises(ValueError, match=f"`end_token` must be in 0 ... 6, got {end}"):
            decoding.sample(step, carry, 0, key, max_length=2, end_token=end)
        with pytest.raises(ValueError, match=f"`end_token` must be in 0 ... 6, got {end}"):
            decoding.beam_search(step, carry, 0, end_token=end, num_beams=2, max_length=2)
    with pytest.raises(ValueError, match="`start_token` must be one integer, got 1.5"):
        decoding.greedy(step, carry, 1.5, max_length=2)
    prompts = {
        r"\[\]": [],
        "at least 0, got -2 at position 1": [0, -2],
        "logits of NaN": [0, 9],
        "float64": [0.5],
        "int64 of shape": [[0]],
    }
    for (message, prompt), run in itertools.product(prompts.items(), (decoding.stream, decoding.tree)):
        with pytest.raises(ValueError, match=f"`prompt` must .*{message}"):
            list(run(step, carry, prompt, *([key] if run is decoding.stream else [])))


def test_decoding_within_jit_yields_no_token_for_a_start_token_out_of_range(compiled_models):
    step, carry = step_and_carry(False, compiled_models)
    decode = jax.jit(lambda start: decoding.greedy(step, carry, start, max_length=3))
    assert decode(9).tolist() == decode(-1).tolist() == [-1, -1, -1]
    assert min(decode(3).tolist()) >= 0
    search = jax.jit(
        lambda start: decoding.beam_search(step, carry, start, end_token=1, num_beams=2, max_length=3).scores
    )
    assert jnp.isnan(search(9)).all() and not jnp.isnan(search(3)).any()


def test_language_model_task_ignores_tokens_in_padding(compiled_models):
    from jaxnets.learning import Context, gradient
    from jaxnets.tasks import language_model

    model, (variables, _) = SEQUENCES["embedded"], compiled_models["embedded"]
    losses = []  # loss functions that the task passes to its learner

    def learn(init, loss):
        losses.append(loss)
        return gradient(init, loss, optax.sgd(1.0))

    language_model(model, data.Vocabulary(characters="abcdefg"), learn)
    tokens, mask = jnp.array([[1, 2, 3, 4]]), jnp.array([[True, True, False, False]])
    batch = dict(inputs=tokens, targets=tokens, mask=mask, start=jnp.ones(1, bool))
    context = Context(jax.random.key(0), jnp.int32(0), None)
    loss = jax.jit(jax.value_and_grad(lambda v, batch: losses[0](v, batch, context)[0]))
    expected = loss(variables, batch)
    for number in (-1, 7):
        filled = jnp.where(mask, tokens, number)
        found = loss(variables, {**batch, "inputs": filled, "targets": filled})
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)
        assert jnp.isnan(loss(variables, {**batch, "targets": tokens.at[0, 1].set(number)})[0])
    assert step_function(model, variables)(None, jnp.int32(2))[1].shape == (7,)


def test_embed_accepts_numpy_tables():
    table = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(embed(table, np.array([2, 0])), table[[2, 0]])
