"""Ridge regression with leave-one-out errors, against scikit-learn and direct fits without one row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from jaxnets.ops.ridge import ridge

RANDOM = np.random.default_rng(0)
STRENGTHS = np.logspace(-2, 3, 6)
fit = jax.jit(ridge)


def problem(rows, features):
    xs = RANDOM.normal(size=(rows, features)) * RANDOM.uniform(0.1, 3, features) + RANDOM.normal(size=features)
    return xs, xs[:, :3] @ RANDOM.normal(size=(3, 2)) + RANDOM.normal(size=(rows, 2))


@pytest.mark.parametrize(("rows", "features"), [(40, 5), (30, 200)])
def test_equals_sklearn(rows, features):
    xs, ys = problem(rows, features)
    expected = RidgeCV(STRENGTHS, store_cv_results=True).fit(xs, ys)
    found = fit(jnp.float32(xs), jnp.float32(ys), jnp.float32(STRENGTHS))
    assert float(found.strength) == pytest.approx(expected.alpha_)
    np.testing.assert_allclose(found.kernel, expected.coef_.T, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.bias, expected.intercept_, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.errors, expected.cv_results_.mean((0, 1)), rtol=2e-3)


def test_errors_are_those_of_fits_without_one_row():
    xs, ys = problem(12, 4)
    errors = []
    for i in range(12):
        others = np.arange(12) != i
        model = Ridge(0.5).fit(xs[others], ys[others])
        errors.append((model.predict(xs[i : i + 1]) - ys[i]) ** 2)
    with jax.enable_x64(True):
        found = ridge(jnp.asarray(xs), jnp.asarray(ys), jnp.array([0.5]))
        assert found.kernel.dtype == jnp.float64
        np.testing.assert_allclose(found.errors, [np.mean(errors)], rtol=1e-9)


def test_masked_rows_do_not_count():
    xs, ys = problem(20, 6)
    mask = np.arange(20) % 3 != 0
    expected = fit(jnp.float32(xs[mask]), jnp.float32(ys[mask]), jnp.float32(STRENGTHS))
    xs[~mask], ys[~mask] = np.nan, np.inf
    found = fit(jnp.float32(xs), jnp.float32(ys), jnp.float32(STRENGTHS), mask)
    for name in ("kernel", "bias", "strength", "errors"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=2e-3, atol=1e-4)


def test_constant_features():
    found = fit(jnp.ones((5, 3)), jnp.float32([[1], [2], [3], [4], [5]]), jnp.float32([0.1, 1]))
    np.testing.assert_allclose(found.kernel, np.zeros((3, 1)), atol=1e-6)
    np.testing.assert_allclose(found.bias, [3], rtol=1e-6)
    assert np.isfinite(found.errors).all()
