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
        np.testing.assert_allclose(likelihood.loss(outputs, targets), -expected.logpmf(targets), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(likelihood.point(outputs), expected.mean(), rtol=1e-4)
    else:
        targets = np.float32([-30, -1, 0, 0.5, 3, 30])
        np.testing.assert_allclose(likelihood.loss(outputs, targets), -expected.logpdf(targets), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(likelihood.point(outputs), expected.median(), rtol=1e-5)
    found = likelihood.quantiles(outputs, jnp.asarray(LEVELS))
    wanted = np.stack([expected.ppf(np.float64(level)) for level in LEVELS], axis=-1)
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", CASES)
def test_samples_have_the_distribution(name):
    likelihood, outputs, reference = CASES[name]
    count = 4000
    many = jnp.broadcast_to(outputs, (count, *outputs.shape))
    samples = np.asarray(jax.jit(likelihood.sample)(jax.random.key(0), many), np.float64)
    frozen = reference(outputs)
    for i in range(len(outputs)):
        cdf = lambda x, i=i: frozen.cdf(np.asarray(x)[:, None])[:, i] if np.ndim(x) else frozen.cdf(x)[i]
        if name == "negative_binomial":
            edges = np.unique(frozen.ppf(np.linspace(0.05, 0.95, 19)[:, None])[:, i])
            bins = np.searchsorted(edges, samples[:, i])  # up to edges[0], (edges[0], edges[1]], ...
            probabilities = np.diff(cdf(edges), prepend=0, append=1)
            expected = count * probabilities
            assert stats.chisquare(np.bincount(bins, minlength=len(expected)), expected).pvalue > 1e-3
        else:
            assert stats.kstest(samples[:, i], cdf).pvalue > 1e-3
    assert series.point().sample is series.quantiles().sample is None


def counts_of_all_sizes():
    """Returns counts, means and dispersions in float32: samples of each distribution and counts far from it."""
    found = []
    for dispersion in np.float32([1e-3, 1e-2, 0.1, 1, 10]):
        for mean in np.float32([1e-3, 0.1, 1, 30, 1e3, 1e5, 1e7]):
            size = 1 / np.float64(dispersion)
            near = stats.nbinom(size, size / (size + mean)).rvs(10, random_state=0)
            found += [(min(k, 1e7), mean, dispersion) for k in (*near, 0, 1, 15, 16, 1e4, 1e6, 1e7)]
    return np.float32(found).T


def test_negative_binomial_is_accurate_for_large_counts(float64):
    counts, mean, dispersion = counts_of_all_sizes()
    size = 1 / dispersion.astype(np.float64)
    expected = stats.nbinom(size, 1 / (1 + dispersion.astype(np.float64) * mean)).logpmf(counts.astype(np.float64))
    log_prob = jax.jit(series.negative_binomial_log_prob)
    found = log_prob(counts, mean, dispersion)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    wide = [array.astype(np.float64) for array in (counts, mean, dispersion)]
    np.testing.assert_allclose(log_prob(*wide), expected, rtol=1e-8, atol=1e-7)


@pytest.mark.slow
def test_gradients_of_the_negative_binomial_equal_finite_differences(float64):
    counts, mean, dispersion = (jnp.asarray(array, jnp.float64) for array in counts_of_all_sizes())
    log_prob = jax.jit(series.negative_binomial_log_prob)
    of_logs = lambda a, b: log_prob(counts, jnp.exp(a), jnp.exp(b))
    logs, step = (jnp.log(mean), jnp.log(dispersion)), 1e-4
    for i in range(2):
        moved = lambda sign, i=i: of_logs(*(each + sign * step * (i == j) for j, each in enumerate(logs)))
        expected = (moved(1) - moved(-1)) / (2 * step)
        found = jax.grad(lambda *given: jnp.sum(of_logs(*given)), argnums=i)(*logs)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        narrow = [each.astype(jnp.float32) for each in (counts, *logs)]
        in_float32 = jax.grad(lambda c, *given: jnp.sum(log_prob(c, *map(jnp.exp, given))), argnums=i + 1)
        np.testing.assert_allclose(in_float32(*narrow), found, rtol=2e-2, atol=2e-2)


def test_negative_binomial_is_rescaled_by_its_mean_and_the_square_root():
    """Salinas et al. 2017, section 3.3: the mean times the scale, the dispersion divided by its square root."""
    likelihood, scale = series.negative_binomial(), np.float32([1, 9, 1e6, 4, 4, 4])
    outputs = OUTPUTS[:, :2]
    scaled = likelihood.rescale(outputs, scale)
    found = np.logaddexp(0, np.asarray(scaled, np.float64))
    expected = np.logaddexp(0, outputs.astype(np.float64)) * np.stack([scale, scale**-0.5], -1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    extreme = jnp.float32([[-200, -200], [200, 200]])
    loss = lambda o: jnp.sum(likelihood.loss(likelihood.rescale(o, scale[:2]), jnp.float32([0, 7])))
    gradient = jax.jit(jax.grad(loss))
    assert np.isfinite(gradient(extreme)).all()


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_finite_at_extremes(name):
    likelihood, outputs, _ = CASES[name]
    extreme = np.concatenate([outputs, 30 * outputs, -30 * outputs])
    targets = np.abs(np.linspace(0, 50, len(extreme), dtype=np.float32).round())
    gradient = jax.jit(jax.grad(lambda o: jnp.sum(likelihood.loss(o, targets))))(jnp.asarray(extreme))
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
