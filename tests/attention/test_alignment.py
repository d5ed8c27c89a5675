"""Additive and multiplicative attention against their equations; the cache against recomputation."""

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
def test_additive_is_bahdanaus(lengths):
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


def test_multiplicative_is_luongs():
    params = at.multiplicative_init(jax.random.key(2), 3, 4)
    scores = np.einsum("bq,qm,bsm->bs", QUERY, np.asarray(params["kernel"]), MEMORY)
    found = at.attend(at.multiplicative_scores, params, QUERY[:, None], MEMORY)
    np.testing.assert_allclose(found[1][:, 0], expected(scores, (5, 5))[1], atol=1e-6)
    alone = at.multiplicative_scores({}, MEMORY, MEMORY)
    np.testing.assert_allclose(alone, np.einsum("btm,bsm->bts", MEMORY, MEMORY), rtol=1e-5)


@pytest.mark.parametrize("scores", ["additive", "multiplicative"])
def test_what_is_not_real_has_no_effect(scores):
    init = {
        "additive": lambda k: at.additive_init(k, 3, 4, 6),
        "multiplicative": lambda k: at.multiplicative_init(k, 3, 4),
    }
    params, f = init[scores](jax.random.key(2)), getattr(at, f"{scores}_scores")
    lengths = jnp.array([3, 0])
    spoilt = jnp.where((jnp.arange(5)[None] < lengths[:, None])[..., None], MEMORY, jnp.nan)
    loss = lambda params, query, memory: jnp.sum(at.attend(f, params, query, memory, lengths)[0] ** 2)
    clean, other = (
        jax.value_and_grad(loss, (0, 1))(params, jnp.asarray(QUERY)[:, None], m) for m in (jnp.asarray(MEMORY), spoilt)
    )
    jax.tree.map(np.testing.assert_array_equal, clean, other)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(clean))


def test_a_cache_gives_what_the_whole_gives():
    query, key, value = jax.random.normal(jax.random.key(0), (3, 2, 7, 2, 4))
    whole = at.attention(query, key, value, causal=True)
    cache, parts = at.empty_cache((2,), 9, 2, 4), []
    for start, stop in ((0, 3), (3, 4), (4, 7)):
        cut = slice(start, stop)
        before, cache = cache.length, at.extend(cache, key[:, cut], value[:, cut])
        parts.append(at.attention(query[:, cut], *at.contents(cache), causal=True, offset=before))
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, atol=1e-6)
    with pytest.raises(ValueError, match="`cache` must have room for 3 more, got 9, of which 7 are taken"):
        at.extend(cache, key[:, :3], value[:, :3])
    with pytest.raises(ValueError, match="`key` must agree with the cache"):
        at.extend(cache, key[:, :1, :1], value[:, :1, :1])
