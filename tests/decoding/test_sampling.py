"""Truncation, sampling and trees compared with their definitions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets import decoding

LOGITS = jnp.log(jnp.array([0.5, 0.05, 0.25, 0.15, 0.05]))


def is_kept(**options):
    return np.isfinite(decoding.truncate(LOGITS, **options)).tolist()


def test_top_k_keeps_the_k_most_likely():
    assert is_kept(top_k=2) == [True, False, True, False, False]
    assert is_kept(top_k=0) == is_kept(top_k=9) == [True] * 5


def test_top_p_keeps_the_smallest_set_that_reaches_p():
    assert is_kept(top_p=0.5) == [True, False, False, False, False]
    assert is_kept(top_p=0.7) == [True, False, True, False, False]
    assert is_kept(top_p=0.8) == [True, False, True, True, False]
    assert is_kept(top_p=0.0) == [True, False, False, False, False]
    assert is_kept(top_p=1.0) == [True] * 5


def test_temperature_divides_logits_and_zero_keeps_the_best_token():
    np.testing.assert_allclose(decoding.truncate(LOGITS, 0.5), (LOGITS - LOGITS[0]) / 0.5, rtol=1e-6)
    assert is_kept(temperature=0) == [True, False, False, False, False]


@settings(max_examples=40, deadline=None)
@given(
    logits=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=12),
    temperature=st.floats(0, 4),
    top_k=st.integers(0, 15),
    top_p=st.floats(0, 1),
)
def test_most_likely_token_is_always_kept(logits, temperature, top_k, top_p):
    logits = jnp.array(logits, jnp.float32)
    found = decoding.truncate(logits, temperature, top_k, top_p)
    assert jnp.isfinite(found[jnp.argmax(logits)])
    assert not jnp.any(jnp.isnan(jax.nn.softmax(found)))


# A Markov chain of order 2: the carry is the previous token.
TABLE = jax.random.normal(jax.random.key(0), (4, 4, 4))


def chain(carry, token):
    carry = jnp.int32(0) if carry is None else carry
    return token, TABLE[carry, token]


def test_sampled_frequencies_match_the_distribution():
    step = lambda carry, token: (carry, LOGITS)
    tokens = decoding.stream(step, 0, [0], jax.random.key(0))
    counts = np.bincount(list(itertools.islice(tokens, 4000)), minlength=5) / 4000
    np.testing.assert_allclose(counts, np.exp(LOGITS), atol=0.03)


def test_greedy_decoding_follows_the_chain():
    found = list(itertools.islice(decoding.stream(chain, None, [1, 2], jax.random.key(0), temperature=0), 6))
    carry, token, expected = 1, 2, []
    for _ in range(6):
        carry, token = token, int(jnp.argmax(TABLE[carry, token]))
        expected.append(token)
    assert found == expected


def test_samples_are_reproducible_for_a_key():
    draw = lambda seed: list(itertools.islice(decoding.stream(chain, None, [1], jax.random.key(seed)), 20))
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@pytest.mark.parametrize("num_branches", [2, 4, 9])
def test_tree_contains_the_most_likely_continuations(num_branches):
    found = decoding.tree(chain, None, [3, 1], num_branches)
    first = np.asarray(jax.nn.softmax(TABLE[3, 1]))
    assert [token for token, _, _ in found] == np.argsort(-first)[:num_branches].tolist()
    for token, probability, below in found:
        assert probability == pytest.approx(first[token], rel=1e-5)
        second = np.asarray(jax.nn.softmax(TABLE[1, token]))
        assert [t for t, _, _ in below] == np.argsort(-second)[:num_branches].tolist()
        assert [p for _, p, _ in below] == pytest.approx(sorted(second, reverse=True)[:num_branches], rel=1e-5)
        assert all(deeper == [] for _, _, deeper in below)
