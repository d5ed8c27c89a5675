"""Beam search against all sequences there are; sampling as pure functions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import decoding

V, T, START, END = 3, 4, 3, 0


def table_step(seed):
    """A step whose logits depend on the whole past: the carry is a number of the sequence so far."""
    logits = 2 * jax.random.normal(jax.random.key(seed), (4**5, V))

    def step(carry, token):
        carry = (4 * carry + token + 1) % 4**5
        return carry, logits[carry]

    return step


def everything(step, alpha):
    """All sequences that end within T, or go on then, with their scores, best first."""
    found = []
    for n in range(T + 1):
        for words in itertools.product([v for v in range(V) if v != END], repeat=n):
            written = words if n == T else (*words, END)
            carry, token, total = jnp.zeros((), jnp.int32), jnp.asarray(START), 0.0
            for word in written:
                carry, logits = step(carry, token)
                total += float(jax.nn.log_softmax(logits)[word])
                token = jnp.asarray(word)
            found.append((total / float(decoding.length_penalty(len(written), alpha)), words))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_wide_beam_finds_the_best_of_all_sequences(seed, alpha):
    step = table_step(seed)
    found = decoding.beam_search(step, jnp.zeros((), jnp.int32), START, end=END, num_beams=2**T, length=T, alpha=alpha)
    expected = everything(step, alpha)
    for i in range(8):
        score, words = expected[i]
        np.testing.assert_allclose(found.scores[i], score, rtol=1e-5)
        assert found.tokens[i].tolist() == [*words, *[END] * (T - len(words))]
        assert found.lengths[i] == len(words)


def test_what_a_step_passes_on_is_not_copied_for_each_beam():
    logits = 2 * jax.random.normal(jax.random.key(0), (4**5, V))

    def step(carry, token):
        table, past = carry
        past = (4 * past + token + 1) % 4**5
        return (table, past), table[past]

    search = jax.jit(
        lambda step, carry: decoding.beam_search(step, carry, START, end=END, num_beams=16, length=T), static_argnums=0
    )
    carry = logits, jnp.zeros((), jnp.int32)
    found = search(step, carry)
    expected = search(table_step(0), carry[1])
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert f"16x{4**5}x{V}x" not in search.lower(step, carry).as_text()


def test_one_beam_is_greedy_and_more_are_no_worse():
    step, carry = table_step(2), jnp.zeros((), jnp.int32)
    search = lambda beams: decoding.beam_search(step, carry, START, end=END, num_beams=beams, length=T, alpha=0.0)
    scores = [float(search(beams).scores[0]) for beams in (1, 16)]
    assert scores[1] >= scores[0]
    greedy = decoding.greedy(step, carry, START, length=T, end=END)
    one = search(1)
    if one.lengths[0] == T or one.tokens[0, one.lengths[0]] == END:
        assert one.tokens[0].tolist() == greedy.tolist()


def test_beam_search_jits_and_maps_over_a_batch():
    step = table_step(3)
    search = lambda carry: decoding.beam_search(step, carry, START, end=END, num_beams=3, length=T)
    carries = jnp.arange(4, dtype=jnp.int32)
    mapped = jax.jit(jax.vmap(search))(carries)
    for i in range(4):
        one = search(carries[i])
        assert mapped.tokens[i].tolist() == one.tokens.tolist()
        np.testing.assert_allclose(mapped.scores[i], one.scores, rtol=1e-5)


def test_more_beams_than_sequences():
    step = lambda carry, token: (carry, jnp.array([0.0, 1.0]))
    found = decoding.beam_search(step, (), 1, end=0, num_beams=5, length=1)
    assert found.lengths[:2].tolist() == [1, 0] and jnp.isneginf(found.scores[2:]).all()


def test_wrong_sizes_are_told():
    with pytest.raises(ValueError, match="`beams` must be an integer of at least 1, got 0"):
        decoding.beam_search(table_step(0), 0, START, end=END, num_beams=0, length=4)


def test_a_carry_that_changes_its_structure_is_told():
    step = lambda carry, token: ((0,), jnp.zeros(3))
    with pytest.raises(ValueError, match="`carry` must be like the one that the step returns"):
        decoding.greedy(step, None, 0, length=2)
    with pytest.raises(ValueError, match="`carry` must be like the one that the step returns"):
        decoding.beam_search(step, None, 0, end=1, num_beams=2, length=2)


def test_beam_search_where_64_bits_are_on(float64):
    step = lambda carry, token: (carry, jnp.array([0.0, 1.0], jnp.float32))
    assert decoding.beam_search(step, (), 1, end=0, num_beams=2, length=3).lengths.dtype == jnp.int32


def test_sample_draws_what_stream_draws_and_stops_at_the_end():
    step, carry, key = table_step(4), jnp.zeros((), jnp.int32), jax.random.key(5)
    drawn = jax.jit(lambda: decoding.sample(step, carry, START, key, length=12, temperature=0.9, top_k=2))()
    streamed = decoding.stream(step, carry, [START], key, temperature=0.9, top_k=2)
    assert drawn.tolist() == list(itertools.islice(streamed, 12))
    ended = decoding.sample(step, carry, START, key, length=12, temperature=0.9, top_k=2, end=END).tolist()
    first = drawn.tolist().index(END)
    assert ended == [*drawn.tolist()[:first], *[END] * (12 - first)]


def test_a_start_symbol_that_is_the_end_symbol_too_does_not_end():
    step = lambda carry, token: (carry + 1, jnp.where(jnp.arange(3) == carry + 1, 9.0, 0.0))
    assert decoding.greedy(step, jnp.zeros((), jnp.int32), 0, length=2, end=0).tolist() == [1, 2]
