"""Synthetic problems on sets: targets against NumPy, determinism, disjoint splits."""

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.sources.problems.solids import SURFACES

PROBLEMS = {
    "mean": lambda **o: data.set_statistics("mean", size=30, batch_size=5, **o),
    "median": lambda **o: data.set_statistics("median", size=30, batch_size=5, **o),
    "maximum": lambda **o: data.set_maximum(6, batch_size=5, **o),
    "digit_sum": lambda **o: data.digit_sum(2, 7, batch_size=5, **o),
    "mixture": lambda **o: data.gaussian_mixtures(3, 20, 40, batch_size=5, **o),
    "odd_one_out": lambda **o: data.odd_one_out(6, batch_size=5, **o),
    "prevalence": lambda **o: data.prevalence(50, batch_size=5, **o),
    "solids": lambda **o: data.solids(20, 40, batch_size=5, **o),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_batches_depend_only_on_seed_split_and_step(name):
    one, same, other = PROBLEMS[name](seed=1), PROBLEMS[name](seed=1), PROBLEMS[name](seed=2)
    first = one.train[3]
    assert all((first[key] == same.train[3][key]).all() for key in first)
    for batch in (one.train[4], other.train[3], one.splits["validation"][3], one.splits["test"][3]):
        assert not np.array_equal(batch["inputs"], first["inputs"])
    assert all((one.splits["test"][0][key] == other.splits["test"][0][key]).all() for key in first)
    assert first["valid"].shape == first["inputs"].shape[:2] and first["valid"].any(1).all()
    assert np.isfinite(first["inputs"]).all()


def test_targets_are_statistics_of_the_valid_elements():
    for name, statistic in (("mean", np.mean), ("median", np.median)):
        batch = PROBLEMS[name]().train[0]
        np.testing.assert_allclose(batch["targets"][:, 0], statistic(batch["inputs"][..., 0], 1), rtol=1e-6)
    for name, statistic in (("maximum", np.max), ("digit_sum", np.sum)):
        batch = PROBLEMS[name]().train[0]
        for xs, valid, target in zip(batch["inputs"], batch["valid"], batch["targets"], strict=True):
            assert statistic(xs[valid]) == target[0]


def test_the_oracle_of_mixtures_equals_the_published_one():
    problem = data.gaussian_mixtures(batch_size=200)
    oracle = np.mean([problem.splits["validation"][step]["oracle"].mean() for step in range(10)])
    np.testing.assert_allclose(oracle, -1.4726, atol=0.02)  # Lee et al. 2019, table 4


def test_the_odd_one_out_has_another_class_and_splits_have_different_images():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    index_of = {image.tobytes(): i for i, image in enumerate((images / 16).astype(np.float32))}
    problem = PROBLEMS["odd_one_out"]()
    for split, fifths in (
        (problem.train, {0, 1, 2}),
        (problem.splits["validation"], {3}),
        (problem.splits["test"], {4}),
    ):
        batch = split[0]
        found = np.array([[index_of[image.tobytes()] for image in row] for row in batch["inputs"]])
        assert set(np.unique(found % 5)) <= fifths
        for row, target in zip(labels[found], batch["targets"], strict=True):
            others = np.delete(row, target)
            assert len(set(others)) == 1 and row[target] != others[0]


def test_prevalences_are_the_realized_ones():
    batch = PROBLEMS["prevalence"]().train[0]
    np.testing.assert_allclose(batch["targets"].sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(batch["targets"] * 50, np.round(batch["targets"] * 50), atol=1e-4)


def test_digit_sum_has_the_same_digits_as_set_and_as_sequence():
    as_set, as_sequence = (data.digit_sum(2, 7, batch_size=5, read_as=form).train[3] for form in ("set", "sequence"))
    np.testing.assert_array_equal(as_sequence["inputs"].argmax(-1), as_set["inputs"])
    np.testing.assert_array_equal(as_sequence["inputs"].sum(-1), as_set["valid"])
    np.testing.assert_array_equal(as_sequence["lengths"], as_set["valid"].sum(1))
    np.testing.assert_array_equal(as_sequence["targets"], as_set["targets"])


# Implicit equations of the surfaces: zero at every point.
ON_SURFACE = {
    "sphere": lambda x, y, z: np.hypot(np.hypot(x, y), z) - 1,
    "cube": lambda x, y, z: np.maximum(np.maximum(abs(x), abs(y)), abs(z)) - 1,
    "cylinder": lambda x, y, z: np.maximum(np.hypot(x, y), abs(z)) - 1,
    "cone": lambda x, y, z: np.minimum(abs(z), abs(np.hypot(x, y) + z / 2 - 1)),
    "torus": lambda x, y, z: np.hypot(np.hypot(x, y) - 1, z) - 0.4,
    "tetrahedron": lambda x, y, z: np.maximum.reduce([x + y - z, x - y + z, -x + y + z, -x - y - z]) - 1,
}
# Mean squared distance from the origin of uniform points on these surfaces, integrated by hand.
SPREAD = {
    "sphere": 1,
    "cube": 1 + 2 / 3,
    "cylinder": 2 / 3 * (1 + 1 / 3) + 1 / 3 * (1 / 2 + 1),
    "cone": 1 / 2 + 5**0.5 / (5**0.5 + 1) * 4 * (1 - 4 / 3 + 1 / 2),
    "torus": 1 + 0.4 * 0.4 * 2,
    "tetrahedron": 1 / 3 + 2 / 3,
}


@pytest.mark.parametrize("name", ON_SURFACE)
def test_points_are_uniform_on_the_surface_of_a_solid(name):
    points = SURFACES[name](np.random.default_rng(0), 200_000)
    np.testing.assert_allclose(ON_SURFACE[name](*points.T), 0, atol=1e-12)
    np.testing.assert_allclose((points**2).sum(1).mean(), SPREAD[name], rtol=5e-3)


def test_clouds_are_centered_and_scaled():
    batch = data.solids(20, 40, batch_size=50).train[0]
    assert not batch["inputs"][~batch["valid"]].any()
    assert set(batch["valid"].sum(1)) <= set(range(20, 41)) and len(set(batch["targets"])) == 6
    counts = batch["valid"].sum(1)
    np.testing.assert_allclose(batch["inputs"].sum(1), 0, atol=1e-4)
    np.testing.assert_allclose((batch["inputs"] ** 2).sum((1, 2)) / counts, 1, rtol=1e-5)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: data.set_statistics("mode"), "`statistic` must be one of mean, median, maximum, variance, got 'mode'"),
        (lambda: data.digit_sum(5, 4), "`max_size` must be at least `min_size`, 5, got 4"),
        (lambda: data.digit_sum(read_as="list"), "`read_as` must be one of set, sequence, got 'list'"),
        (lambda: data.gaussian_mixtures(std=0), "`std` must be positive, got 0"),
        (lambda: data.odd_one_out(1), "`size` must be an integer of at least 2, got 1"),
        (lambda: data.prevalence(0), "`size` must be an integer of at least 1, got 0"),
        (lambda: data.solids(5, 4), "`max_size` must be at least `min_size`, 5, got 4"),
        (lambda: data.solids(noise=-1), "`noise` must be a number of at least 0, got -1"),
    ],
)
def test_invalid_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
