"""Position encodings compared with their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import attention as at


def test_sinusoidal_follows_the_paper():
    found = at.sinusoidal(jnp.arange(50), 6)
    for i in range(3):
        angle = np.arange(50) / 10_000 ** (2 * i / 6)
        np.testing.assert_allclose(found[:, 2 * i], np.sin(angle), atol=1e-5)
        np.testing.assert_allclose(found[:, 2 * i + 1], np.cos(angle), atol=1e-5)


def test_rotary_products_depend_on_relative_positions_only():
    query, key = jax.random.normal(jax.random.key(0), (2, 1, 1, 8))
    product = lambda t, s: jnp.sum(at.rotary(query[None], jnp.array([t])) * at.rotary(key[None], jnp.array([s])))
    np.testing.assert_allclose(product(3, 1), product(102, 100), rtol=1e-4)
    np.testing.assert_allclose(product(5, 5), jnp.sum(query * key), rtol=1e-5)
    assert abs(product(3, 1) - product(1, 3)) > 1e-3


def test_rotary_rotates_pairs_by_the_angles_of_the_paper():
    xs = jnp.ones((1, 1, 4))
    angles = 7 * np.array([1.0, 1e-2])
    expected = np.concatenate([np.cos(angles) - np.sin(angles), np.cos(angles) + np.sin(angles)])
    np.testing.assert_allclose(at.rotary(xs, jnp.array([7]))[0, 0], expected, rtol=1e-5)
    assert at.rotary(xs.astype(jnp.bfloat16), jnp.array([7])).dtype == jnp.bfloat16


def test_alibi_has_the_slopes_of_the_paper():
    bias = at.alibi(8)(jnp.arange(3), jnp.arange(4))
    assert bias.shape == (8, 3, 4)
    np.testing.assert_allclose(-bias[:, 0, 1], [2.0**-n for n in range(1, 9)])
    np.testing.assert_allclose(-bias[0, 2], [1, 0.5, 0, 0.5])
    six = -at.alibi(6)(jnp.arange(1), jnp.arange(2))[:, 0, 1]
    np.testing.assert_allclose(six, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3])


def test_relative_buckets_follow_t5():
    """Expected values are from the reference implementation, for 32 buckets up to distance 128."""
    bidirectional = at.relative_buckets(
        jnp.zeros(1, jnp.int32), jnp.array([-200, -128, -9, -8, -7, -1, 0, 1, 7, 8, 200])
    )[0]
    assert bidirectional.tolist() == [15, 15, 8, 8, 7, 1, 0, 17, 23, 24, 31]
    causal = at.relative_buckets(jnp.array([200]), jnp.array([0, 72, 180, 184, 185, 200, 201]), causal=True)[0]
    assert causal.tolist() == [31, 31, 17, 16, 15, 0, 0]


def test_learned_relative_bias_has_a_gradient():
    buckets = at.relative_buckets(jnp.arange(6), jnp.arange(6), num_buckets=8, max_distance=16)
    query = jax.random.normal(jax.random.key(0), (2, 6, 4, 3))
    loss = lambda table: jnp.sum(at.attention(query, query, query, bias=jnp.moveaxis(table[buckets], -1, 0)) ** 2)
    gradient = jax.grad(loss)(jnp.zeros((8, 4)))
    assert (jnp.abs(gradient).sum(1) > 0).sum() == len(np.unique(buckets))


def test_odd_features_are_rejected():
    with pytest.raises(ValueError, match="`features` must be an even number, got 5"):
        at.sinusoidal(jnp.arange(3), 5)
