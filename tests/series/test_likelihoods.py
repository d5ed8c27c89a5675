"""Likelihoods of forecasts, compared with scipy and with numerical integrals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jaxnets import series

LEVELS = np.array([0.05, 0.25, 0.5, 0.9, 0.99], np.float32)
OUTPUTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
softplus = lambda x: np.logaddexp(0, x.astype(np.float64)) + 1e-3


def student(outputs):
    freedom = 2 + np.logaddexp(0, outputs[:, 2].astype(np.float64))
    return stats.t(freedom, outputs[:, 0], softplus(outputs[:, 1]))


def counts(outputs):
    mean, dispersion = softplus(outputs[:, 0] + 2), softplus(outputs[:, 1])
    return stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mean))


CASES = {
    "gaussian": (series.gaussian(), OUTPUTS[:, :2], lambda o: stats.norm(o[:, 0], softplus(o[:, 1]))),
    "student_t": (series.student_t(), OUTPUTS, student),
    "negative_binomial": (
        series.negative_binomial(),
        OUTPUTS[:, :2] + np.float32([2, 0]),
        lambda o: counts(o - [2, 0]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_distributions_match_scipy(name):
    likelihood, outputs, reference = CASES[name]
    expected = reference(outputs)
    assert likelihood.num_outputs == outputs.shape[-1]
    if name == "negative_binomial":
        targets = np.float32([0, 1, 2, 5, 20, 100])
        np.testing.assert_allclose(likelihood.loss(outputs, targets), -expected.logpmf(targets), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(likelihood.point(outputs), expected.mean(), rtol=1e-4)
    else:
        targets = np.float32([-30, -1, 0, 0.5, 3, 30])
        np.testing.assert_allclose(likelihood.loss(outputs, targets), -expected.logpdf(targets), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(likelihood.point(outputs), expected.median(), rtol=1e-5)
    found = likelihood.quantiles(outputs, jnp.asarray(LEVELS))
    wanted = np.stack([expected.ppf(np.float64(level)) for level in LEVELS], axis=-1)
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_finite_at_extremes(name):
    likelihood, outputs, _ = CASES[name]
    extreme = np.concatenate([outputs, 30 * outputs, -30 * outputs])
    targets = np.abs(np.linspace(0, 50, len(extreme), dtype=np.float32).round())
    gradient = jax.grad(lambda o: jnp.sum(likelihood.loss(o, targets)))(jnp.asarray(extreme))
    assert np.isfinite(gradient).all()


def test_gaussian_crps_equals_its_integral_and_quantiles():
    mean, std, target = 0.3, 1.7, 1.1
    step = lambda z: (stats.norm.cdf(z, mean, std) - (z >= target)) ** 2
    integral = integrate.quad(step, -20, target)[0] + integrate.quad(step, target, 20)[0]
    arrays = (np.float32(value) for value in (mean, std, target))
    np.testing.assert_allclose(series.gaussian_crps(*arrays), integral, rtol=1e-5)
    levels = (np.arange(999, dtype=np.float32) + 0.5) / 999
    quantiles = stats.norm.ppf(levels, mean, std).astype(np.float32)
    np.testing.assert_allclose(series.crps_of_quantiles(quantiles, jnp.float32(target), levels), integral, rtol=2e-3)
    np.testing.assert_allclose(series.gaussian_crps(np.float32(0), np.float32(1), np.float32(0.7)), 0.4216, atol=1e-4)


def test_pinball_loss_is_minimal_at_the_quantile():
    sample = np.random.default_rng(0).exponential(size=2001).astype(np.float32)
    grid = np.linspace(0, 5, 501, dtype=np.float32)
    losses = jnp.mean(
        series.pinball(
            jnp.broadcast_to(grid[:, None, None], (501, 2001, 1)),
            jnp.broadcast_to(sample, (501, 2001)),
            jnp.float32([0.9]),
        ),
        (1, 2),
    )
    assert abs(grid[np.argmin(losses)] - np.quantile(sample, 0.9)) < 0.02


def test_quantiles_are_sorted_and_interpolated():
    likelihood = series.quantiles((0.1, 0.5, 0.9))
    outputs = jnp.float32([[3.0, 1.0, 2.0]])  # crossing quantiles
    found = likelihood.quantiles(outputs, jnp.float32([0.05, 0.1, 0.3, 0.5, 0.9, 0.95]))
    np.testing.assert_allclose(found, [[1, 1, 1.5, 2, 3, 3]], rtol=1e-6)
    assert float(likelihood.point(outputs)[0]) == 2.0
    assert series.quantiles((0.5,)).quantiles(outputs[:, :1], jnp.float32([0.2, 0.5])).tolist() == [[3.0, 3.0]]


@pytest.mark.parametrize("levels", [(), (0.1, 0.9), (0.9, 0.5), (0.5, 0.5), (0.0, 0.5), (0.5, 1.0)])
def test_wrong_levels_are_rejected(levels):
    with pytest.raises(ValueError, match=r"`levels` must be increasing numbers between 0 and 1 that include 0.5"):
        series.quantiles(levels)


def test_unknown_error_is_rejected():
    with pytest.raises(ValueError, match="`error` must be one of squared, absolute, got 'cubic'"):
        series.point("cubic")
