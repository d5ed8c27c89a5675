"""Raw inputs of exports: the same preprocessing as in the reader."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import data
from jaxnets.data import statistics
from jaxnets.data.inputs import Columns, Images, Pixels, Rows, Windows
from jaxnets.exported import arrays
from jaxnets.training.errors import RunError
from jaxnets.training.exporting import raw_inputs

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(size=(6, 5, 2))
INTEGERS = np.clip(np.round(3 * NOISE), -9, 9).astype(np.int64)
ROWS = {
    **{f"scale {scale:g}": scale * NOISE for scale in (1e-13, 1e-3, 1.0, 1e20, 1e30)},
    **{f"offset {offset:g}": offset + NOISE for offset in (1e5, -1.7e9, 1e12)},
    "pressures": 101325 + 0.1 * NOISE,
    "float32": (1e5 + NOISE).astype(np.float32),
    "float16": (100 + NOISE).astype(np.float16),
    "longdouble": (1e15 + NOISE.astype(np.longdouble)),
    "bool": NOISE > 0,
    "int8": INTEGERS.astype(np.int8),
    "uint16": (INTEGERS + 60_000).astype(np.uint16),
    "int32": (INTEGERS - 2**31 + 9).astype(np.int32),
    "int64": INTEGERS + 10**15,
    "int64, minimum": INTEGERS + (9 - 2**63),
    "uint64, maximum": np.uint64(2**64 - 10) + INTEGERS.astype(np.uint64),
    "constant": np.full(NOISE.shape, 0.1),
}
VALID = np.ones(NOISE.shape[:2], bool)
standardize_rows = jax.jit(raw_inputs.function(Rows()))


def split(values) -> dict:
    return arrays.split_float32(values)


@pytest.mark.parametrize("values", ROWS.values(), ids=ROWS)
def test_rows_are_standardized_as_in_the_reader(values):
    fitted = statistics.fit(values, VALID)
    inputs = Rows.of(fitted)
    found = standardize_rows(raw_inputs.constants(inputs), split(values))["inputs"]
    expected = statistics.standardized(values.copy(), VALID, fitted)
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=1e-7 * float(values.dtype == bool))
    assert np.std(expected) > 0.5 or not np.any(expected)


def test_constant_statistics_are_not_folded():
    """XLA may fold sums of constants; the terms of the mean must still be subtracted one by one."""
    values = 1.7e9 + NOISE
    fitted = statistics.fit(values, VALID)
    constants = raw_inputs.constants(Rows.of(fitted))
    found = jax.jit(lambda raw: raw_inputs.function(Rows())(constants, raw))(split(values))["inputs"]
    np.testing.assert_allclose(found, statistics.standardized(values, VALID, fitted), rtol=3e-7)


def test_device_arrays_and_tracers_are_split():
    values = (1e5 + NOISE).astype(np.float32)
    fitted = statistics.fit(values, VALID)
    constants, expected = raw_inputs.constants(Rows.of(fitted)), statistics.standardized(values.copy(), VALID, fitted)
    for given in (jnp.asarray(values), values):
        np.testing.assert_allclose(standardize_rows(constants, split(given))["inputs"], expected, rtol=3e-7)
    traced = jax.jit(lambda given: standardize_rows(constants, split(given))["inputs"])
    np.testing.assert_allclose(traced(values), expected, rtol=3e-7)
    terms = jax.jit(split)(jnp.array([2**31 - 1, -(2**31), 70_001, -1], jnp.int32)[None])
    total = np.asarray(terms["inputs"], np.float64) + np.asarray(terms[arrays.REST], np.float64).sum(-1)
    np.testing.assert_array_equal(total, [[2**31 - 1, -(2**31), 70_001, -1]])


def test_numbers_beyond_float32_are_rejected():
    with pytest.raises(ValueError, match="`inputs` must be at most 3.40282e"):
        split(np.full((2, 3, 1), 1e39))
    assert np.isinf(split(np.full((2, 3, 1), np.inf))["inputs"]).all()


@pytest.mark.parametrize("std, mean", [(1e-40, 0.0), (1e38, 0.0), (1.0, 1e38)])
def test_statistics_beyond_float32_are_rejected(std, mean):
    with pytest.raises(RunError, match="feature 1 of the data must have a standard deviation from .* change its unit"):
        raw_inputs.constants(Rows((0.0, mean), (0.0, 0.0), (1.0, std)))


def test_trailing_nan_steps_are_padding():
    values = 5 + NOISE
    values[1, 3:], values[2], values[3, 2, 0] = np.nan, np.nan, np.nan
    for standardized in (True, False):
        is_finite = np.isfinite(values).all(-1)
        fitted = statistics.fit(values, is_finite) if standardized else None
        constants = raw_inputs.constants(Rows.of(fitted))
        given = split(values) if standardized else {"inputs": values.astype(np.float32)}
        ends = [5, 3, 0, 5, 5, 5]
        lengths = standardize_rows(constants, {**given, "lengths": np.array([5, 5, 5, 5, 2, 0])})
        np.testing.assert_array_equal(lengths["lengths"], [5, 3, 0, 5, 2, 0])
        valid = standardize_rows(constants, {**given, "valid": np.arange(5) != np.full((6, 1), 1)})
        np.testing.assert_array_equal(valid["valid"], (np.arange(5) < np.array(ends)[:, None]) & (np.arange(5) != 1))
        for found, mask in (
            (lengths["inputs"], np.arange(5) < np.asarray(lengths["lengths"])[:, None]),
            (valid["inputs"], np.asarray(valid["valid"])),
        ):
            expected = statistics.standardized(values.copy(), mask, fitted)
            np.testing.assert_allclose(found, expected, rtol=1e-6)
            assert np.isnan(found[3, 2, 0])  # NaN within a row is not padding
        assert np.isnan(standardize_rows(constants, given)["inputs"][1, 3:]).all()


@pytest.mark.parametrize("inputs, divided", [(Pixels(16.0, None, True), True), (Pixels(255.0, 3, False), False)])
def test_pixels_are_scaled(inputs, divided):
    raw = RANDOM.integers(0, int(inputs.divisor) + 1, (4, 2, 3)).astype(np.float32)
    raw[0], raw[1, 0, 0] = 0, 2
    expected = (raw / inputs.divisor).reshape((4, 2, 3) if inputs.width is None else (4, 6, 1))
    function = raw_inputs.function(inputs)
    np.testing.assert_allclose(function({}, {"inputs": jnp.asarray(raw)})["inputs"], expected, rtol=1e-6)
    again = function({}, {"inputs": jnp.asarray(raw / np.float32(inputs.divisor))})["inputs"]
    np.testing.assert_allclose(again, expected if divided else expected / inputs.divisor, rtol=1e-6)


@pytest.mark.parametrize(
    "images, either",
    [
        (np.array([[[0, 200], [1, 1]], [[0, 0], [0, 0]]], np.uint8), True),
        (
            np.array([[[0, 1], [1, 1]], [[0, 9], [0, 0]]], np.uint8),
            False,
        ),  # the first image has only 0 and 1: ambiguous
        (np.array([[[0, 200]], [[-3, 0]]], np.int16), False),
        (np.array([[[0, 0.5]]]), False),
        (np.zeros((0, 4, 4), np.uint8), False),
    ],
)
def test_divided_images_are_accepted_if_no_raw_image_has_maximum_one(images, either):
    assert Pixels.of(images, 255.0, "pixels") == Pixels(255.0, images.shape[2], either)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rows((1.0,), (1.0, 2.0), (1.0,)),
        lambda: Rows((1.0,), None, None),
        lambda: Rows(("a",), (0.0,), (1.0,)),
        lambda: Pixels(0.0),
        lambda: Pixels(255.0, 0),
    ],
)
def test_invalid_specs_are_rejected(make):
    with pytest.raises(ValueError, match="must be"):
        make()


def test_images_are_unchanged():
    images = np.zeros((2, 3, 4, 1), np.uint8)
    assert Images.like(images) == Images(3, 4, 1)
    assert raw_inputs.function(Images(3, 4, 1))({}, {"inputs": images})["inputs"] is images


def test_columns_are_standardized_as_in_the_reader():
    values = np.concatenate([1.7e9 + NOISE[:, 0], NOISE[:, 1:2, 0] > 0], axis=1)
    fitted = statistics.fit(values[:, None], np.ones((6, 1), bool))
    spec = Columns(("a", "b", "c"), ((), (), ()), (), **statistics.moments_of(fitted))
    found = raw_inputs.function(spec)(raw_inputs.constants(spec), split(values))
    expected = data.preprocess(spec, {"inputs": values})["inputs"]
    assert found.keys() == {"inputs"}
    np.testing.assert_allclose(found["inputs"], expected, rtol=3e-7)
    unscaled = Columns(("a", "b", "c"), ((), (), ()))
    assert raw_inputs.constants(unscaled) == {}
    np.testing.assert_array_equal(raw_inputs.function(unscaled)({}, {"inputs": expected})["inputs"], expected)


@pytest.mark.parametrize("standardized", [False, True])
def test_windows_are_standardized_as_in_the_reader(standardized):
    """The weights of an export include those of the model."""
    raw = {"inputs": 100 + NOISE, "static": 5 + NOISE[:, 0, :1]}
    raw["inputs"][1, 2, 0] = np.nan
    moments = statistics.moments_of(statistics.Statistics(np.zeros(3), np.float64([100, 100, 5]), np.ones(3)))
    spec = Windows(("a", "b"), 5, 1, static=("c",), **(moments if standardized else {}))
    expected = data.preprocess(spec, raw, ("inputs", "observed", "static"))
    given = {name: array.astype(np.float32) for name, array in raw.items()}
    given |= {"inputs_rest": np.zeros((*NOISE.shape, 2), np.float32)} if standardized else {}
    weights = {**raw_inputs.constants(spec), "params/head/bias": jnp.zeros(3)}
    found = raw_inputs.function(spec, ("observed",))(weights, given)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=2e-5)
