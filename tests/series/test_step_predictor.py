"""The predictor of steps, the alignment of its errors, their running moments, and Mahalanobis distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from jaxnets import recurrent, series
from jaxnets.series.anomalies.moments import RIDGE

RANDOM = np.random.default_rng(0)
UPDATED, DISTANCES = jax.jit(series.updated_moments), jax.jit(series.squared_mahalanobis)


def test_predictor_shapes_counts_and_causality():
    xs = jnp.asarray(RANDOM.normal(size=(2, 9, 4)), jnp.float32)
    two = series.StepPredictor(hidden_size=5, num_layers=2, num_ahead=3)
    shapes = jax.eval_shape(two.init, jax.random.key(0), xs)
    model = series.StepPredictor(hidden_size=5, num_layers=1, num_ahead=3)
    variables = jax.jit(model.init)(jax.random.key(0), xs)
    apply = jax.jit(model.apply)
    ys = apply(variables, xs)
    assert ys.shape == (2, 9, 3, 4) and ys.dtype == jnp.float32
    lstm = lambda inputs, units: 4 * units * (inputs + units + 1)
    expected = lstm(4, 5) + lstm(5, 5) + (5 + 1) * 3 * 4
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == expected
    changed = apply(variables, xs.at[:, 5:].set(7.0))
    np.testing.assert_allclose(changed[:, :5], ys[:, :5], atol=1e-6)
    assert not np.allclose(changed[:, 5], ys[:, 5])


def test_predictor_with_other_cells_dtypes_and_sizes():
    xs = jnp.ones((1, 1, 1), jnp.bfloat16)
    model = series.StepPredictor(3, 1, 1, cell=recurrent.gru, dropout=0.2, dtype=jnp.bfloat16)
    variables = jax.jit(model.init)(jax.random.key(0), xs)
    ys = model.apply(variables, xs, train=True, rngs={"dropout": jax.random.key(1)})
    assert ys.shape == (1, 1, 1, 1) and ys.dtype == jnp.float32
    with pytest.raises(ValueError, match="`num_ahead` must be an integer of at least 1, got 0"):
        series.StepPredictor(num_ahead=0).init(jax.random.key(0), xs)
    with pytest.raises(ValueError, match="`cell` must be a function from hidden_size to a cell"):
        series.StepPredictor(cell="lstm").init(jax.random.key(0), xs)


@pytest.mark.parametrize(("steps", "ahead"), [(4, 3), (1, 1), (5, 4), (6, 3)])
def test_errors_are_aligned_as_in_the_paper(steps, ahead):
    """The error vector of a step holds the errors of its predictions made 1, ..., l steps before."""
    xs, predictions = RANDOM.normal(size=(2, 9, 3)), RANDOM.normal(size=(2, 9, ahead, 3))
    expected = np.empty((2, steps, ahead, 3))
    for s, t in enumerate(range(9 - steps, 9)):
        for k in range(1, ahead + 1):
            made_at = t - k
            expected[:, s, k - 1] = xs[:, t] - predictions[:, made_at, k - 1]
    found = series.prediction_errors(jnp.asarray(xs), jnp.asarray(predictions), steps)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_errors_need_enough_context():
    with pytest.raises(ValueError, match="`xs` must have at least 8 steps, 3 before the last 5, got 7"):
        series.prediction_errors(jnp.zeros((1, 7, 1)), jnp.zeros((1, 7, 3, 1)), 5)


def test_moments_without_decay_are_those_of_all_errors():
    errors, mask = RANDOM.normal(size=(4, 30, 3)) @ RANDOM.normal(size=(3, 3)) + 5, RANDOM.random((4, 30)) < 0.6
    mask[2] = False  # a batch without errors
    moments = series.initial_moments(3)
    for part, known in zip(errors, mask, strict=True):
        part = np.where(known[:, None], part, np.nan)
        moments = UPDATED(moments, jnp.asarray(part, jnp.float32), jnp.asarray(known), 1.0)
    used = errors[mask]
    assert float(moments.weight) == len(used)
    np.testing.assert_allclose(moments.mean, used.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.covariance, np.cov(used.T, bias=True), rtol=1e-4, atol=1e-5)


def test_moments_with_decay_are_weighted():
    errors = RANDOM.normal(size=(5, 8, 2))
    moments = series.initial_moments(2)
    for part in errors:
        moments = UPDATED(moments, jnp.asarray(part, jnp.float32), jnp.ones(8, bool), 0.7)
    weights = np.repeat(0.7 ** np.arange(4, -1, -1), 8)
    flat = errors.reshape(-1, 2)
    np.testing.assert_allclose(moments.mean, np.average(flat, axis=0, weights=weights), rtol=1e-5)
    np.testing.assert_allclose(moments.covariance, np.cov(flat.T, aweights=weights, bias=True), rtol=1e-5)


def test_distances_equal_scipy():
    errors, root = RANDOM.normal(size=(2, 7, 4)), RANDOM.normal(size=(4, 4))
    scales = np.array([1e-3, 1.0, 50.0, 0.2])  # of channels in different units
    covariance, mean = (root @ root.T) * np.outer(scales, scales), RANDOM.normal(size=4) * scales
    moments = series.Moments(*(jnp.asarray(a, jnp.float32) for a in (3.0, mean, covariance)))
    inverse = np.linalg.inv(covariance + RIDGE * np.diag(np.diagonal(covariance)))
    expected = [[mahalanobis(e * scales, mean, inverse) ** 2 for e in row] for row in errors]
    found = DISTANCES(jnp.asarray(errors * scales, jnp.float32), moments)
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_distances_of_singular_covariances_are_finite():
    ones = series.Moments(jnp.float32(1), jnp.zeros(3), jnp.ones((3, 3)))  # errors that are always equal
    found = DISTANCES(jnp.asarray([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0]]), ones)
    assert np.isfinite(found).all() and found[1] > 1000 * found[0]
    none = series.Moments(jnp.float32(1), jnp.zeros(2), jnp.zeros((2, 2)))  # predictions without errors
    found = DISTANCES(jnp.asarray([[0.0, 0.0], [0.1, 0.0]]), none)
    assert found[0] == 0 and np.isfinite(found[1]) and found[1] > 1e6
