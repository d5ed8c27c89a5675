"""Additive and multiplicative attention compared with their equations; caches compared with full attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import attention as at

QUERY = np.asarray(jax.random.normal(jax.random.key(0), (2, 3)))
MEMORY = np.asarray(jax.random.normal(jax.random.key(1), (2, 5, 4)))


def expected(scores, lengths):
    context, weights = np.zeros((2, 4)), np.zeros((2, 5))
    for row, length in enumerate(lengths):
        if length:
            e = np.exp(scores[row, :length])
            weights[row, :length] = e / e.sum()
            context[row] = weights[row] @ MEMORY[row]
    return context, weights


@pytest.mark.parametrize("lengths", [None, (5, 2), (0, 1)])
def test_additive_attention_follows_the_equation(lengths):
    params = at.additive_init(jax.random.key(2), 3, 4, 6)
    params["bias"] = jnp.linspace(-1, 1, 6)
    p = jax.tree.map(np.asarray, params)
    scores = np.array(
        [
            [p["score"] @ np.tanh(q @ p["query"] + m @ p["memory"] + p["bias"]) for m in ms]
            for q, ms in zip(QUERY, MEMORY, strict=True)
        ]
    )
    given = None if lengths is None else jnp.array(lengths)
    found = at.attend(at.additive_scores, params, QUERY[:, None], MEMORY, given)
    for a, b in zip(found, expected(scores, lengths or (5, 5)), strict=True):
        np.testing.assert_allclose(a[:, 0], b, atol=1e-6)


def test_multiplicative_attention_follows_the_equation():
    params = at.multiplicative_init(jax.random.key(2), 3, 4)
    scores = np.einsum("bq,qm,bsm->bs", QUERY, np.asarray(params["kernel"]), MEMORY)
    found = at.attend(at.multiplicative_scores, params, QUERY[:, None], MEMORY)
    np.testing.assert_allclose(found[1][:, 0], expected(scores, (5, 5))[1], atol=1e-6)
    dot_products = at.multiplicative_scores({}, MEMORY, MEMORY)
    np.testing.assert_allclose(dot_products, np.einsum("btm,bsm->bts", MEMORY, MEMORY), rtol=1e-5)


@pytest.mark.parametrize("scores", ["additive", "multiplicative"])
def test_nan_in_padding_has_no_effect(scores):
    init = {
        "additive": lambda k: at.additive_init(k, 3, 4, 6),
        "multiplicative": lambda k: at.multiplicative_init(k, 3, 4),
    }
    params, f = init[scores](jax.random.key(2)), getattr(at, f"{scores}_scores")
    lengths = jnp.array([3, 0])
    with_nan = jnp.where((jnp.arange(5)[None] < lengths[:, None])[..., None], MEMORY, jnp.nan)
    loss = lambda params, query, memory: jnp.sum(at.attend(f, params, query, memory, lengths)[0] ** 2)
    expected, found = (
        jax.value_and_grad(loss, (0, 1))(params, jnp.asarray(QUERY)[:, None], m)
        for m in (jnp.asarray(MEMORY), with_nan)
    )
    jax.tree.map(np.testing.assert_array_equal, expected, found)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(expected))


def test_attention_with_a_cache_equals_full_attention():
    query, key, value = jax.random.normal(jax.random.key(0), (3, 2, 7, 2, 4))
    full = at.attention(query, key, value, causal=True)
    cache, chunks = at.init_cache((2,), 9, 2, 4), []
    for start, stop in ((0, 3), (3, 4), (4, 7)):
        steps = slice(start, stop)
        offset, cache = cache.length, at.extend_cache(cache, key[:, steps], value[:, steps])
        chunks.append(at.attention(query[:, steps], *at.cache_contents(cache), causal=True, offset=offset))
    np.testing.assert_allclose(jnp.concatenate(chunks, 1), full, atol=1e-6)
    with pytest.raises(ValueError, match="`cache` must have space for 3 more keys, got 7 of 9 filled"):
        at.extend_cache(cache, key[:, :3], value[:, :3])
    with pytest.raises(ValueError, match="`key` must match the cache"):
        at.extend_cache(cache, key[:, :1, :1], value[:, :1, :1])
