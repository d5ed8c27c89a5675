"""Metrics of generated samples against scipy and prdc."""

from pathlib import Path

import numpy as np
import pytest
from scipy import linalg

from jaxnets import generative
from jaxnets.generative.metrics import neighborhoods

GOLDEN = dict(np.load(Path(__file__).parent.parent / "reference" / "generative.npz"))


def features(rows, size, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, size)) @ rng.normal(size=(size, size)) + rng.normal(size=size)


@pytest.mark.parametrize("rows", [50, 4])  # 4: singular covariances
def test_frechet_distance_equals_the_root_of_the_product(rows):
    first, second = (generative.feature_moments(features(rows, 6, seed)) for seed in (0, 1))
    root = linalg.sqrtm(first.covariance @ second.covariance).real
    traces = np.trace(first.covariance + second.covariance - 2 * root)
    expected = ((first.mean - second.mean) ** 2).sum() + traces
    assert generative.frechet_distance(first, second) == pytest.approx(expected, rel=1e-10 if rows == 50 else 1e-5)
    assert generative.frechet_distance(first, first) == pytest.approx(0, abs=1e-5)


def test_frechet_distance_of_one_feature():
    first = generative.FeatureMoments(np.array([1.0]), np.array([[4.0]]))
    second = generative.FeatureMoments(np.array([3.0]), np.array([[9.0]]))
    assert generative.frechet_distance(first, second) == pytest.approx((1 - 3) ** 2 + (2 - 3) ** 2)
    assert np.isnan(generative.frechet_distance(first, second._replace(mean=np.array([np.nan]))))


def test_feature_moments_are_those_of_numpy_in_float64():
    values = features(20, 3, 0).astype(np.float32) + 1000
    moments = generative.feature_moments(values)
    np.testing.assert_allclose(moments.mean, values.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(values.astype(np.float64), rowvar=False), rtol=1e-9)


def test_wrong_moments_are_errors():
    with pytest.raises(ValueError, match=r"N at least 2, got \(1, 3\)"):
        generative.feature_moments(np.zeros((1, 3)))
    small, large = (generative.feature_moments(features(9, size, 0)) for size in (2, 3))
    with pytest.raises(ValueError, match=r"`first` and `second` must have the shapes \[D\] and \[D, D\]"):
        generative.frechet_distance(small, large)


@pytest.mark.parametrize("block", [1000, 7, 1])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_sample_quality_equals_prdc(k, block, monkeypatch):
    monkeypatch.setattr(neighborhoods, "BLOCK", block)
    found = generative.sample_quality(GOLDEN[f"prdc_{k}/real"], GOLDEN[f"prdc_{k}/fake"], k)
    np.testing.assert_allclose(found, GOLDEN[f"prdc_{k}/quality"], rtol=1e-15)


def test_sample_quality_far_from_zero():
    xs, ys = GOLDEN["prdc_3/real"], GOLDEN["prdc_3/fake"]
    assert generative.sample_quality(xs + 1e6, ys + 1e6, 3) == generative.sample_quality(xs, ys, 3)


def test_sample_quality_of_collapsed_samples():
    real = features(30, 3, 0)
    quality = generative.sample_quality(real, np.repeat(real[:1], 10, axis=0), 2)
    assert quality.precision == 1 and quality.recall == 0 and quality.coverage < 0.3


@pytest.mark.parametrize("sizes", [((5, 2), (9, 2)), ((9, 2), (5, 2)), ((9, 2), (9, 3)), ((9,), (9, 2))])
def test_wrong_features_are_errors(sizes):
    with pytest.raises(ValueError, match=r"`real` and `fake` must have the shapes .* above 5"):
        generative.sample_quality(*map(np.zeros, sizes))
    with pytest.raises(ValueError, match="`k` must be an integer of at least 1, got 0"):
        generative.sample_quality(np.zeros((9, 2)), np.zeros((9, 2)), 0)


def test_active_units():
    means = np.random.default_rng(0).normal(size=(2000, 3)) * np.array([0.05, 0.2, 1.0]) + 1e4
    np.testing.assert_array_equal(generative.active_units(means), [False, True, True])
    np.testing.assert_array_equal(generative.active_units(means, threshold=0.5), [False, False, True])
    assert not generative.active_units(means[:1]).any()
    with pytest.raises(ValueError, match=r"`means` must have the shape \[N, Z\]"):
        generative.active_units(means[0])


def test_mode_coverage():
    centers = np.array([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    samples = np.array([[0.0, 0.2], [0, -0.29], [10, 0.31], [0.1, 10]])
    found = generative.mode_coverage(samples, centers, std=0.1)
    assert (found.modes, found.high_quality) == (2, 0.75)
    assert found.reverse_kl == pytest.approx(0.5 * np.log(2) + 2 * 0.25 * np.log(1))
    collapsed = generative.mode_coverage(samples[:1], centers, std=0.1)
    assert collapsed.reverse_kl == pytest.approx(np.log(4))
    assert generative.mode_coverage(np.full((2, 2), np.nan), centers, 0.1)[:2] == (0, 0.0)
    with pytest.raises(ValueError, match="`samples` and `centers` must have the shapes"):
        generative.mode_coverage(np.zeros((0, 2)), centers, 0.1)
