"""Functions of windows: normalization, moving averages, patches, seasonal naive forecasts."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import series

XS = np.random.default_rng(0).normal(5, 3, size=(2, 9, 3)).astype(np.float32)


def test_moments_equal_numpy():
    shift, scale = series.window_moments(XS, "standardize")
    np.testing.assert_allclose(shift, XS.mean(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(scale, np.sqrt(XS.var(1, keepdims=True) + 1e-5), rtol=1e-5)
    shift, scale = series.window_moments(XS, "last")
    np.testing.assert_array_equal(shift, XS[:, -1:])
    assert np.all(scale == 1)
    assert [float(each.sum()) for each in series.window_moments(XS, "none")] == [0, 6]


def test_moments_ignore_missing_values():
    observed = np.random.default_rng(1).random(XS.shape) < 0.6
    observed[0, :, 0] = False
    broken = jnp.where(observed, XS, jnp.nan)
    shift, scale = series.window_moments(broken, "standardize", observed)
    masked = np.ma.array(XS, mask=~observed)
    np.testing.assert_allclose(shift, masked.mean(1, keepdims=True).filled(0), rtol=1e-5)
    np.testing.assert_allclose(scale, np.sqrt(masked.var(1, keepdims=True) + 1e-5).filled(1), rtol=1e-5)
    last, _ = series.window_moments(broken, "last", observed)
    for row in range(2):
        for channel in range(3):
            known = XS[row, observed[row, :, channel], channel]
            assert last[row, 0, channel] == (known[-1] if len(known) else 0)


def test_large_offsets_do_not_cost_precision():
    shift, scale = series.window_moments(XS + 1e6, "standardize")
    np.testing.assert_allclose(
        scale, np.sqrt((XS + np.float32(1e6)).astype(np.float64).var(1, keepdims=True)), rtol=1e-2
    )
    assert np.isfinite(shift).all()


def test_moving_average_equals_numpy():
    padded = np.pad(XS, ((0, 0), (2, 2), (0, 0)), mode="edge")
    expected = np.stack([padded[:, i : i + 5].mean(1) for i in range(9)], 1)
    np.testing.assert_allclose(series.moving_average(XS, 5), expected, rtol=1e-5)
    np.testing.assert_allclose(series.moving_average(XS[:, :1], 5), XS[:, :1], rtol=1e-6)
    np.testing.assert_array_equal(series.moving_average(XS, 1), XS)


@pytest.mark.parametrize(("length", "count"), [(8, 2), (9, 2), (10, 3), (11, 3)])
def test_patches_cover_the_series(length, count):
    xs = np.arange(length, dtype=np.float32)
    found = np.asarray(series.patches(xs, 8, 2))
    assert found.shape == (count, 8)
    padded = np.concatenate([xs, [xs[-1]] * 2])
    assert found.tolist() == [padded[2 * i : 2 * i + 8].tolist() for i in range(count)]


def test_seasonal_naive_repeats_the_last_season():
    xs = np.arange(10, dtype=np.float32)[None, :, None]
    assert series.seasonal_naive(xs, 7, 4)[0, :, 0].tolist() == [6, 7, 8, 9, 6, 7, 8]
    assert series.seasonal_naive(xs, 2, 1)[0, :, 0].tolist() == [9, 9]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: series.window_moments(XS, "min"), "`normalization` must be one of none, last, standardize, got 'min'"),
        (lambda: series.moving_average(XS, 4), "`window` must be odd, got 4"),
        (lambda: series.patches(XS[..., 0], 10, 1), "`xs` must have at least 10 steps, one patch, got 9"),
        (lambda: series.seasonal_naive(XS, 3, 10), "`xs` must have at least 10 steps, one season, got 9"),
        (lambda: series.seasonal_naive(XS, 0, 1), "`horizon` must be an integer of at least 1, got 0"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
