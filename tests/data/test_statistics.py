"""Statistics of features, compared with exact integers, long doubles and scikit-learn."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from jaxnets import data
from jaxnets.data import statistics

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(size=(30, 20, 3))
STEPS = np.clip(np.round(3 * NOISE), -9, 9).astype(np.int64)


def integers(dtype: str, offset: int) -> np.ndarray:
    return np.array(offset, dtype) + STEPS.astype(dtype)  # unsigned integers wrap around in both arrays


CASES = {
    **{f"float64, scale {scale:g}": scale * NOISE for scale in (1e-300, 1e-30, 1e-13, 1.0, 1e20, 1e30, 1e300)},
    **{f"float32, scale {scale:g}": (scale * NOISE).astype(np.float32) for scale in (1e-30, 1e-13, 1e20, 1e30, 3e37)},
    "timestamps": 1.7e9 + NOISE,
    "milliseconds": 1.7e12 + 1000 * NOISE,
    "pressures": 101325 + 0.1 * NOISE,
    "float32 pressures": (101325 + 0.1 * NOISE).astype(np.float32),
    "float32, large offset": (1e5 + NOISE).astype(np.float32),
    "negative": -1e8 + 1e-3 * NOISE,
    "outlier": np.concatenate([1e-3 * NOISE, np.full((1, 20, 3), 1e12)]),
    "int64 of 1e15": integers("int64", 10**15),
    "int64, minimum": integers("int64", -(2**63) + 9),
    "uint64, maximum": integers("uint64", 2**64 - 10),
    "uint64 beyond float64": integers("uint64", 2**53 + 1),
    "all int64": RANDOM.integers(-(2**63), 2**63 - 1, (30, 20, 2), np.int64),
    "all uint64": RANDOM.integers(0, 2**64 - 1, (30, 20, 2), np.uint64),
    **{kind: (5 + 3 * NOISE).clip(0, 100).astype(kind) for kind in ("int8", "uint8", "int16", "int32", "uint32")},
    **{kind: (5 + 3 * NOISE).astype(kind) for kind in ("float16", ">f4", ">f8", ">i8", "longdouble")},
    "bool": NOISE > 0.5,
    "many rows": 1e6 + 5 * RANDOM.normal(size=(70_000, 2, 2)),
    "long rows": 1e6 + 5 * RANDOM.normal(size=(2, 150_000, 1)),
    "many features": 1e6 + 5 * RANDOM.normal(size=(3, 4, 30_000)),
    "columns first": np.asfortranarray(1e6 + 5 * RANDOM.normal(size=(300, 500, 2))),
    "one feature varies": np.concatenate([NOISE[..., :1], np.full((30, 20, 1), 0.1), np.zeros((30, 20, 1))], axis=2),
    "one number": np.full((1, 1, 1), 7.5),
}


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_mean_and_std_are_exact(values):
    origin = [values[0, 0, feature].item() for feature in range(values.shape[2])]  # integers of Python, or float64
    integral = values.dtype.kind in "iu"
    offsets = values.astype(object if integral else np.longdouble) - np.array(
        origin, object if integral else np.longdouble
    )
    offsets = offsets.astype(np.longdouble)
    mean, std = offsets.mean((0, 1)), offsets.std((0, 1))
    std = np.where(std == 0, 1, std)
    valid = np.ones(values.shape[:2], bool)
    fitted = statistics.fit(values, valid)
    assert fitted.offset.dtype == fitted.std.dtype == np.float64
    np.testing.assert_allclose(fitted.std, std.astype(np.float64), rtol=1e-13)
    found = [np.longdouble(a.item() - b) + c for a, b, c in zip(fitted.origin, origin, fitted.offset, strict=True)]
    np.testing.assert_allclose(((found - mean) / std).astype(np.float64), 0, atol=1e-13)
    expected = ((offsets - mean) / std).astype(np.float32)
    np.testing.assert_allclose(statistics.standardized(values.copy(), valid, fitted), expected, rtol=3e-7, atol=1e-12)


@pytest.mark.parametrize("count", [10, 100, 1000, 10_000])
@pytest.mark.parametrize("mean", [1e-10, 0.1, 1.0, -3.0, 1e10])
def test_nearly_constant_features_are_treated_as_in_scikit_learn(count, mean):
    scales = abs(mean) * np.logspace(-17, 1, 60)
    values = np.empty((count, len(scales)))
    values[::2], values[1::2] = mean + scales, mean - scales
    expected = StandardScaler().fit(values).scale_
    assert (expected == 1).any() and (expected != 1).any()
    found = statistics.fit(values[:, None], np.ones((count, 1), bool)).std
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_many_timestamps_are_not_constant():
    values = 1.7e9 + RANDOM.choice([-0.5, 0.5], (2_000_000, 1, 1))
    assert StandardScaler().fit(values[:, 0]).scale_ == 1  # its bound has grown to 0.8
    np.testing.assert_allclose(statistics.fit(values, np.ones(values.shape[:2], bool)).std, 0.5, rtol=1e-5)


def test_invalid_steps_and_non_finite_values_are_ignored():
    values, valid = 5 + NOISE.copy(), RANDOM.random(NOISE.shape[:2]) < 0.7
    known = values[valid].copy()
    values[~valid] = 1e300
    fitted = statistics.fit(values, valid)
    np.testing.assert_allclose(fitted.origin + fitted.offset, known.mean(0), rtol=1e-13)
    np.testing.assert_allclose(fitted.std, known.std(0), rtol=1e-13)
    result = statistics.standardized(values, valid, fitted)
    assert not result[~valid].any() and np.abs(result).max() < 10
    row, step = np.argwhere(valid)[0]
    values[row, step] = np.nan, np.inf, -np.inf
    for feature, others in enumerate(np.delete(known, 0, axis=0).T):
        one = statistics.fit(values[..., feature : feature + 1], valid)
        np.testing.assert_allclose([one.origin + one.offset, one.std], [[others.mean()], [others.std()]], rtol=1e-12)
    assert not np.isfinite(statistics.standardized(values, valid, fitted)[row, step]).any()


@pytest.mark.parametrize("shape", [(0, 4, 2), (3, 0, 2), (3, 4, 0), (3, 4, 2)])
def test_empty_features_have_mean_0_and_std_1(shape):
    values, valid = np.full(shape, np.nan), np.ones(shape[:2], bool)
    for given in ((values, valid), (np.zeros(shape), ~valid), (np.zeros(shape, int), ~valid)):
        fitted = statistics.fit(*given)
        for found, expected in zip(fitted, (0, 0, 1), strict=True):
            np.testing.assert_array_equal(found, np.full(shape[2], expected))
        assert statistics.standardized(*given, fitted).shape == shape


def test_float32_is_standardized_in_place():
    values, valid = (1e5 + NOISE).astype(np.float32), np.ones(NOISE.shape[:2], bool)
    result = statistics.standardized(values, valid, statistics.fit(values, valid))
    assert np.shares_memory(result, values)
    float64 = np.asfortranarray(NOISE)
    assert not np.shares_memory(statistics.standardized(float64, valid, None), float64)


READERS = {"series": data.series, "labeled_sets": data.labeled_sets}
FILES = {name: CASES[name] for name in ("timestamps", "float32 pressures", "int64 of 1e15", "uint64, maximum", "bool")}
FILES |= {name: CASES[name] for name in ("float64, scale 1e-13", "float32, scale 1e+30", "one feature varies")}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("x", FILES.values(), ids=FILES)
def test_readers_standardize_in_float64(tmp_path, reader, x):
    y = np.arange(len(x)) % 2
    np.savez(tmp_path / "a.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    made = READERS[reader](str(tmp_path / "a.npz"), batch_size=10)
    whole = x.dtype.kind in "iu"
    away = (x.astype(object) - x[0, 0].astype(object) if whole else x - x[0, 0].astype(np.longdouble)).astype(float)
    std = away[:20].std((0, 1))
    expected = (away[20:] - away[:20].mean((0, 1))) / np.where(std == 0, 1, std)
    found = made.splits["test"][0]["inputs"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert len(made.inputs.std) == x.shape[2]


def test_complex_numbers_are_rejected(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=NOISE * 1j, y_train=STEPS[:, 0, 0], x_test=NOISE, y_test=STEPS[:, 0, 0])
    with pytest.raises(ValueError, match=r"x_train must be numbers .*, got complex128"):
        data.series(str(tmp_path / "a.npz"))
