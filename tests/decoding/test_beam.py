"""Beam search compared with an enumeration of all sequences, and sampling as a pure function."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import decoding

V, T, START, END = 3, 4, 3, 0


def table_step(seed):
    """A step whose logits depend on all previous tokens: the carry encodes them as an integer."""
    logits = 2 * jax.random.normal(jax.random.key(seed), (4**5, V))

    def step(carry, token):
        carry = (4 * carry + token + 1) % 4**5
        return carry, logits[carry]

    return step


def all_hypotheses(step, alpha):
    """Scores and tokens of all sequences that end within T tokens or are cut off there, best first."""
    found = []
    for n in range(T + 1):
        for words in itertools.product([v for v in range(V) if v != END], repeat=n):
            tokens = words if n == T else (*words, END)
            carry, token, total = jnp.zeros((), jnp.int32), jnp.asarray(START), 0.0
            for word in tokens:
                carry, logits = step(carry, token)
                total += float(jax.nn.log_softmax(logits)[word])
                token = jnp.asarray(word)
            found.append((total / float(decoding.length_penalty(len(tokens), alpha)), words))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_wide_beam_finds_the_best_of_all_sequences(seed, alpha):
    step = table_step(seed)
    found = decoding.beam_search(
        step, jnp.zeros((), jnp.int32), START, end_token=END, num_beams=2**T, max_length=T, alpha=alpha
    )
    expected = all_hypotheses(step, alpha)
    for i in range(8):
        score, words = expected[i]
        np.testing.assert_allclose(found.scores[i], score, rtol=1e-5)
        assert found.tokens[i].tolist() == [*words, *[END] * (T - len(words))]
        assert found.lengths[i] == len(words)


def test_constant_leaves_of_the_carry_are_not_copied_for_each_beam():
    logits = 2 * jax.random.normal(jax.random.key(0), (4**5, V))

    def step(carry, token):
        table, past = carry
        past = (4 * past + token + 1) % 4**5
        return (table, past), table[past]

    search = jax.jit(
        lambda step, carry: decoding.beam_search(step, carry, START, end_token=END, num_beams=16, max_length=T),
        static_argnums=0,
    )
    carry = logits, jnp.zeros((), jnp.int32)
    found = search(step, carry)
    expected = search(table_step(0), carry[1])
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert f"16x{4**5}x{V}x" not in search.lower(step, carry).as_text()


def test_one_beam_equals_greedy_and_more_beams_are_not_worse():
    step, carry = table_step(2), jnp.zeros((), jnp.int32)
    search = lambda num_beams: decoding.beam_search(
        step, carry, START, end_token=END, num_beams=num_beams, max_length=T, alpha=0.0
    )
    scores = [float(search(num_beams).scores[0]) for num_beams in (1, 16)]
    assert scores[1] >= scores[0]
    greedy = decoding.greedy(step, carry, START, max_length=T, end_token=END)
    single = search(1)
    if single.lengths[0] == T or single.tokens[0, single.lengths[0]] == END:
        assert single.tokens[0].tolist() == greedy.tolist()


def test_beam_search_supports_jit_and_vmap():
    step = table_step(3)
    search = lambda carry: decoding.beam_search(step, carry, START, end_token=END, num_beams=3, max_length=T)
    carries = jnp.arange(4, dtype=jnp.int32)
    mapped = jax.jit(jax.vmap(search))(carries)
    for i in range(4):
        expected = search(carries[i])
        assert mapped.tokens[i].tolist() == expected.tokens.tolist()
        np.testing.assert_allclose(mapped.scores[i], expected.scores, rtol=1e-5)


def test_scores_of_missing_sequences_are_minus_infinity():
    step = lambda carry, token: (carry, jnp.array([0.0, 1.0]))
    found = decoding.beam_search(step, (), 1, end_token=0, num_beams=5, max_length=1)
    assert found.lengths[:2].tolist() == [1, 0] and jnp.isneginf(found.scores[2:]).all()


def test_zero_beams_are_rejected():
    with pytest.raises(ValueError, match="`num_beams` must be an integer of at least 1, got 0"):
        decoding.beam_search(table_step(0), 0, START, end_token=END, num_beams=0, max_length=4)


def test_changing_carry_structure_is_rejected():
    step = lambda carry, token: ((0,), jnp.zeros(3))
    with pytest.raises(ValueError, match="`carry` must have the structure that `step` returns"):
        decoding.greedy(step, None, 0, max_length=2)
    with pytest.raises(ValueError, match="`carry` must have the structure that `step` returns"):
        decoding.beam_search(step, None, 0, end_token=1, num_beams=2, max_length=2)


def test_lengths_are_int32_with_x64_enabled(float64):
    step = lambda carry, token: (carry, jnp.array([0.0, 1.0], jnp.float32))
    assert decoding.beam_search(step, (), 1, end_token=0, num_beams=2, max_length=3).lengths.dtype == jnp.int32


def test_sample_equals_stream_and_stops_at_the_end_token():
    step, carry, key = table_step(4), jnp.zeros((), jnp.int32), jax.random.key(5)
    sampled = jax.jit(lambda: decoding.sample(step, carry, START, key, max_length=12, temperature=0.9, top_k=2))()
    streamed = decoding.stream(step, carry, [START], key, temperature=0.9, top_k=2)
    assert sampled.tolist() == list(itertools.islice(streamed, 12))
    ended = decoding.sample(step, carry, START, key, max_length=12, temperature=0.9, top_k=2, end_token=END).tolist()
    first = sampled.tolist().index(END)
    assert ended == [*sampled.tolist()[:first], *[END] * (12 - first)]


def test_end_token_as_start_token_does_not_end_the_sequence():
    step = lambda carry, token: (carry + 1, jnp.where(jnp.arange(3) == carry + 1, 9.0, 0.0))
    assert decoding.greedy(step, jnp.zeros((), jnp.int32), 0, max_length=2, end_token=0).tolist() == [1, 2]
