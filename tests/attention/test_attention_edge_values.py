"""Attention with infinities, NaN and masked rows, compared with a float64 softmax over the unmasked keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import attention as at

IMPLEMENTATIONS = {"xla": dict(implementation="xla"), "chunked": dict(implementation="chunked", blocks=(2, 4))}
NAN, INF = np.nan, np.inf


def problem():
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = (2, 6, 4, 3), (2, 9, 2, 3), (2, 9, 2, 5)
    return [np.array(jax.random.normal(key, shape)) for key, shape in zip(keys, shapes, strict=True)]


def expected(query, key, value, allowed, bias):
    """Computes attention in float64, query by query, over allowed keys with scores above minus infinity."""
    query, key, value = (np.asarray(a, np.float64) for a in (query, key, value))
    output = np.zeros((*query.shape[:-1], value.shape[-1]))
    for b, t, n in np.ndindex(*query.shape[:-1]):
        scores = key[b, :, n // 2] @ query[b, t, n] * 3**-0.5 + bias[t]
        chosen = allowed[b, t] & ~np.isneginf(scores)
        if chosen.any():
            weights = np.exp(scores[chosen] - scores[chosen].max())
            output[b, t, n] = weights / weights.sum() @ value[b, chosen, n // 2]
    return output


def run(arguments, chosen, **options):
    """Returns the output, and gradients of its finite entries."""

    def f(*arguments):
        output = at.attention(*arguments, **options, **chosen)
        return jnp.sum(jnp.where(jnp.isfinite(output), jnp.sin(output), 0)), output

    (_, output), gradients = jax.jit(jax.value_and_grad(f, (0, 1, 2), has_aux=True))(*map(jnp.asarray, arguments))
    return output, gradients


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("invalid", [NAN, INF, -INF])
def test_masked_keys_and_values_have_no_effect(implementation, invalid):
    query, key, value = problem()
    padding = np.arange(9) < np.array([9, 4])[:, None]
    masks = {
        "lengths": dict(lengths=jnp.array([9, 4])),
        "row": dict(mask=jnp.asarray(padding)[:, None, None]),
        "full": dict(mask=jnp.asarray(np.broadcast_to(padding[:, None, None], (2, 4, 6, 9)))),
        "heads": dict(mask=jnp.asarray(np.broadcast_to(padding[:, None, None], (2, 4, 1, 9)))),
    }
    corrupted = [np.where(padding[..., None, None], a, invalid) for a in (key, value)]
    for options in masks.values():
        chosen = IMPLEMENTATIONS[implementation]
        clean, found = run((query, key, value), chosen, **options), run((query, *corrupted), chosen, **options)
        jax.tree.map(np.testing.assert_array_equal, found, clean)
        allowed = np.broadcast_to(padding[:, None], (2, 6, 9))
        np.testing.assert_allclose(found[0], expected(query, key, value, allowed, np.zeros((6, 9))), atol=1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("argument, invalid", [("query", NAN), ("key", NAN), ("value", NAN), ("value", INF)])
def test_nan_and_inf_propagate_to_the_queries_that_attend_to_them(implementation, argument, invalid):
    given = dict(zip(("query", "key", "value"), problem(), strict=True))
    mask = np.ones((6, 9), bool)
    mask[3] = False
    clean = run(given.values(), IMPLEMENTATIONS[implementation], mask=jnp.asarray(mask))
    given[argument][0, 2, 1, 0] = invalid
    output, gradients = run(given.values(), IMPLEMENTATIONS[implementation], mask=jnp.asarray(mask))
    assert not output[:, 3].any()
    heads = [1] if argument == "query" else [2, 3]
    others = [n for n in range(4) if n not in heads]
    np.testing.assert_allclose(output[1], clean[0][1], atol=1e-6)
    np.testing.assert_allclose(output[:, :, others], clean[0][:, :, others], atol=1e-6)
    reached = output[0, 2] if argument == "query" else output[0, [0, 1, 2, 4, 5]]
    assert not np.isfinite(np.asarray(reached)[..., heads, 0]).any()
    for gradient in gradients:
        assert np.isfinite(np.asarray(gradient[1])).all()
    assert argument != "value" or not gradients[0][:, 3].any()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bias_of_minus_infinity_masks_keys(implementation):
    arguments = problem()
    bias = np.zeros((6, 9), np.float32)
    bias[1, 4], bias[2], bias[3, :8], bias[4, 0] = -INF, -INF, -INF, -1e30
    output, gradients = run(arguments, IMPLEMENTATIONS[implementation], bias=jnp.asarray(bias))
    np.testing.assert_allclose(output, expected(*arguments, np.ones((2, 6, 9), bool), bias), atol=1e-5)
    assert not output[:, 2].any()
    assert all(np.isfinite(np.asarray(gradient)).all() for gradient in gradients)
    bias_gradient = jax.grad(
        lambda bias: jnp.sum(jnp.sin(at.attention(*arguments, bias=bias, **IMPLEMENTATIONS[implementation])))
    )
    found = np.asarray(bias_gradient(jnp.asarray(bias)))
    assert np.isfinite(found).all() and not found[np.isneginf(bias)].any()


@pytest.mark.parametrize("kind", ["additive", "multiplicative"])
def test_alignment_with_masked_scores_and_nan(kind):
    query, _, memory = (a[:, :, 0] for a in problem())
    init = at.additive_init if kind == "additive" else at.multiplicative_init
    params = init(jax.random.key(0), 3, 5, *([4] if kind == "additive" else []))
    scores = getattr(at, f"{kind}_scores")
    hidden = lambda *a: jnp.where(jnp.arange(9) < 4, scores(*a), -jnp.inf).at[:, 2].set(-jnp.inf)

    def loss(scores, lengths, memory):
        context, weights = at.attend(scores, params, query, memory, lengths)
        return jnp.sum(jnp.sin(context)), (context, weights)

    run = jax.jit(jax.value_and_grad(loss, 2, has_aux=True), static_argnums=0)
    (_, (context, weights)), gradient = run(hidden, None, jnp.asarray(memory))
    (_, (by_lengths, _)), _ = run(scores, jnp.array([4, 4]), jnp.asarray(memory))
    assert not context[:, 2].any() and not weights[:, 2].any() and np.isfinite(np.asarray(gradient)).all()
    chosen = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(context[:, chosen], by_lengths[:, chosen], atol=1e-6)
    memory[0, 1] = NAN
    (_, (context, _)), _ = run(scores, jnp.array([4, 4]), jnp.asarray(memory))
    assert np.isnan(np.asarray(context[0])).all() and np.isfinite(np.asarray(context[1])).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_attention_runs_under_debug_nans_and_checking_leaks(implementation):
    arguments = list(map(jnp.asarray, problem()))
    mask = jnp.ones((6, 9), bool).at[2].set(False)
    options = dict(mask=mask, lengths=jnp.array([9, 0]), causal=True, **IMPLEMENTATIONS[implementation])
    with jax.debug_nans(True), jax.checking_leaks():
        f = lambda *a: jnp.sum(at.attention(*a, **options) ** 2)
        for run in (lambda g: g, jax.jit):
            assert jnp.isfinite(run(jax.grad(f, (0, 1, 2)))(*arguments)[0]).all()
        assert not at.attention_weights(*arguments[:2], lengths=jnp.array([0, 0])).any()
        params = at.multiplicative_init(jax.random.key(0), 3, 5)
        attend = lambda memory: jnp.sum(
            at.attend(at.multiplicative_scores, params, arguments[0][:, :, 0], memory, jnp.array([0, 9]))[0] ** 2
        )
        assert jnp.isfinite(jax.grad(attend)(arguments[2][:, :, 0])).all()
