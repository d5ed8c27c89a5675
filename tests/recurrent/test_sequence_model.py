"""Pooling over time and SequenceModel: padding, empty rows and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import recurrent

LENGTHS = np.array([5, 0, 1, 3], np.int32)
# Negative values, so that padding of zeros would change a maximum.
YS = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32) - 3
SCORES = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)


def expected_pool(pooling, row, scores):
    if not len(row):
        return np.zeros(row.shape[-1])
    weights = np.exp(scores) / np.exp(scores).sum()
    return {"last": row[-1], "max": row.max(0), "mean": row.mean(0), "attention": weights @ row}[pooling]


def pooled(pooling, ys, lengths=None, scores=SCORES):
    if pooling == "attention":
        return recurrent.attention_pool(ys, jnp.asarray(scores), lengths)
    return recurrent.pool(ys, pooling, lengths)


POOLING = ["last", "max", "mean", "attention"]


@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("padding", [0.0, 1e30, np.nan])
def test_pooling_ignores_padding(pooling, padding):
    ys = np.where(np.arange(5)[:, None] < LENGTHS[:, None, None], YS, padding)
    expected = [expected_pool(pooling, row[:n], s[:n]) for row, n, s in zip(YS, LENGTHS, SCORES, strict=True)]
    np.testing.assert_allclose(pooled(pooling, jnp.asarray(ys), jnp.asarray(LENGTHS)), expected, atol=1e-6)
    gradient = jax.grad(lambda ys: jnp.sum(pooled(pooling, ys, jnp.asarray(LENGTHS)) ** 2))(jnp.asarray(ys))
    assert np.isfinite(gradient).all()
    assert (gradient[np.arange(5) >= LENGTHS[:, None]] == 0).all()


@pytest.mark.parametrize("pooling", POOLING)
def test_pooling_without_lengths_and_without_steps(pooling):
    expected = [expected_pool(pooling, row, s) for row, s in zip(YS, SCORES, strict=True)]
    np.testing.assert_allclose(pooled(pooling, jnp.asarray(YS)), expected, atol=1e-6)
    assert (pooled(pooling, jnp.zeros((2, 0, 3)), scores=np.zeros((2, 0))) == np.zeros((2, 3))).all()


@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_pooling_sums_half_precision_in_float32(pooling, dtype):
    ys = jnp.full((1, 70_000, 1), 2.0, dtype)  # the sum of 140,000 is beyond float16
    found = pooled(pooling, ys, scores=np.zeros((1, 70_000), np.float32))
    assert found.dtype == dtype
    assert float(found[0, 0]) == pytest.approx(2, rel=1e-2)


def test_unknown_pooling_is_rejected():
    with pytest.raises(ValueError, match="`pooling` must be last, max or mean, got 'median'"):
        recurrent.pool(jnp.zeros((1, 2, 3)), "median")


@pytest.mark.parametrize("pooling", [*POOLING, "none"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padded_rows_match_unpadded_rows(pooling, bidirectional):
    model = recurrent.SequenceModel(2, hidden_size=4, num_layers=2, bidirectional=bidirectional, pooling=pooling)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.asarray(YS))
    apply = jax.jit(model.apply)
    padded = np.where(np.arange(5)[:, None] < LENGTHS[:, None, None], YS, np.nan)
    found = apply(variables, padded, lengths=LENGTHS)
    assert found.dtype == jnp.float32
    for row, n, whole in zip(YS, LENGTHS, found, strict=True):
        alone = apply(variables, row[None, :n])[0]
        np.testing.assert_allclose(whole[:n] if pooling == "none" else whole, alone, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(model.apply(v, padded, lengths=LENGTHS) ** 2)))(variables)
    assert all(np.isfinite(leaf).all() and (leaf != 0).any() for leaf in jax.tree.leaves(gradient))


def test_last_pooling_uses_the_last_output_of_each_direction():
    model = recurrent.SequenceModel(2, hidden_size=4, bidirectional=True)
    variables = model.init(jax.random.key(0), jnp.asarray(YS))
    changed = lambda t: model.apply(variables, jnp.asarray(YS).at[:, t].add(1.0)) - model.apply(variables, YS)
    for t in range(5):
        assert (np.abs(changed(t)) > 1e-4).any()
    cell = recurrent.gru(4)
    params = variables["params"]
    forward = recurrent.scan(cell, params["rnn"]["layer_0"]["forward"], jnp.asarray(YS))[0]
    backward = recurrent.scan(cell, params["rnn"]["layer_0"]["backward"], jnp.asarray(YS), reverse=True)[0]
    expected = jnp.concatenate([forward, backward], -1) @ params["head"]["kernel"] + params["head"]["bias"][None]
    np.testing.assert_allclose(model.apply(variables, YS), expected, atol=1e-5)


def test_dropout_is_applied_in_training_only():
    model = recurrent.SequenceModel(2, hidden_size=4, num_layers=2, dropout=0.5)
    variables = model.init(jax.random.key(0), jnp.asarray(YS))
    run = lambda key, **options: model.apply(variables, YS, rngs={"dropout": jax.random.key(key)}, **options)
    assert (run(0) == run(1)).all()
    assert (run(0, train=True) != run(1, train=True)).any()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"cell": "lstm"}, "such as recurrent.gru, got 'lstm'"),
        ({"hidden_size": 0}, "`hidden_size` must be an integer of at least 1, got 0"),
        ({"pooling": "sum"}, "`pooling` must be last, max, mean, attention or none, got 'sum'"),
        ({"dropout": 1.0}, r"`dropout` must be a number in \[0, 1\), got 1.0"),
    ],
)
def test_wrong_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        recurrent.SequenceModel(2, **arguments).init(jax.random.key(0), YS)


@pytest.mark.parametrize("make", [recurrent.gru, recurrent.lstm])
def test_chrono_biases_have_the_given_memory(make):
    """With a forget gate of 1 - 1/u, a unit remembers for u steps, u in [1, T - 1] (arXiv:1804.11188)."""
    biases = lambda key: make(4000, chrono_init=100).init(key, 1)["input"]["bias"].reshape(-1, 4000)
    bias = jax.jit(biases)(jax.random.key(0))  # compiled without the orthogonal weights, which take minutes
    keep = 1 / (1 + np.exp(bias[0] if make is recurrent.gru else -bias[1]))
    steps = 1 / (1 - np.asarray(keep, np.float64)) - 1
    assert 1 <= steps.min() < 1.2
    assert 98 < steps.max() <= 99.01
    assert steps.mean() == pytest.approx(50, rel=0.03)
    if make is recurrent.lstm:
        np.testing.assert_array_equal(bias[0], -bias[1])
        assert (make(4, chrono_init=9, coupled=True).init(jax.random.key(0), 1)["input"]["bias"][:4] > 0).all()
    with pytest.raises(ValueError, match="`chrono_init` must be 0 or a number of at least 2"):
        make(4, chrono_init=1).init(jax.random.key(0), 1)


@pytest.mark.parametrize("pooling", ["last", "max", "mean", "attention", "none"])
def test_half_precision_is_close(pooling):
    xs = jax.random.normal(jax.random.key(0), (2, 5, 3))
    model = recurrent.SequenceModel(2, hidden_size=4, pooling=pooling)
    variables = model.init(jax.random.key(1), xs)
    found = model.clone(dtype=jnp.bfloat16).apply(variables, xs, lengths=[5, 3])
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, model.apply(variables, xs, lengths=[5, 3]), atol=0.05)
