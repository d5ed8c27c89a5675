"""Problems on sets: what they ask, in numpy; deterministic, fresh each step, their parts apart."""

import numpy as np
import pytest

from jaxnets import data

PROBLEMS = {
    "mean": lambda **o: data.set_statistics("mean", size=30, batch=5, **o),
    "median": lambda **o: data.set_statistics("median", size=30, batch=5, **o),
    "maximum": lambda **o: data.maximum(6, batch=5, **o),
    "digit_sum": lambda **o: data.digit_sum(2, 7, batch=5, **o),
    "mixture": lambda **o: data.mixture(3, 20, 40, batch=5, **o),
    "intruder": lambda **o: data.intruder(6, batch=5, **o),
    "prevalence": lambda **o: data.prevalence(50, batch=5, **o),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_batches_are_a_function_of_seed_part_and_step(name):
    one, same, other = PROBLEMS[name](seed=1), PROBLEMS[name](seed=1), PROBLEMS[name](seed=2)
    first = one.train[3]
    assert all((first[key] == same.train[3][key]).all() for key in first)
    for batch in (one.train[4], other.train[3], one.validation[3], one.test[3]):
        assert not np.array_equal(batch["inputs"], first["inputs"])
    assert all((one.test[0][key] == other.test[0][key]).all() for key in first)
    assert first["members"].shape == first["inputs"].shape[:2] and first["members"].any(1).all()
    assert np.isfinite(first["inputs"]).all()


def test_the_answers_are_those_of_what_is_there():
    for name, statistic in (("mean", np.mean), ("median", np.median)):
        batch = PROBLEMS[name]().train[0]
        np.testing.assert_allclose(batch["targets"][:, 0], statistic(batch["inputs"][..., 0], 1), rtol=1e-6)
    for name, statistic in (("maximum", np.max), ("digit_sum", np.sum)):
        batch = PROBLEMS[name]().train[0]
        for xs, real, answer in zip(batch["inputs"], batch["members"], batch["targets"], strict=True):
            assert statistic(xs[real]) == answer[0]


def test_the_oracle_of_mixtures_is_that_of_the_literature():
    problem = data.mixture(batch=200)
    oracle = np.mean([problem.validation[step]["oracle"].mean() for step in range(10)])
    np.testing.assert_allclose(oracle, -1.4726, atol=0.02)  # Lee et al. 2019, table 4


def test_an_intruder_is_of_another_class_and_its_images_of_its_part():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    number = {image.tobytes(): i for i, image in enumerate((images / 16).astype(np.float32))}
    problem = PROBLEMS["intruder"]()
    for part, fifths in ((problem.train, {0, 1, 2}), (problem.validation, {3}), (problem.test, {4})):
        batch = part[0]
        found = np.array([[number[image.tobytes()] for image in row] for row in batch["inputs"]])
        assert set(np.unique(found % 5)) <= fifths
        for row, target in zip(labels[found], batch["targets"], strict=True):
            others = np.delete(row, target)
            assert len(set(others)) == 1 and row[target] != others[0]


def test_prevalences_are_realised_ones():
    batch = PROBLEMS["prevalence"]().train[0]
    np.testing.assert_allclose(batch["targets"].sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(batch["targets"] * 50, np.round(batch["targets"] * 50), atol=1e-4)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: data.set_statistics("mode"), "statistic: one of mean, median, maximum, variance; given 'mode'"),
        (lambda: data.digit_sum(5, 4), "longest: at least shortest, 5; given 4"),
        (lambda: data.mixture(deviation=0), "deviation: above 0; given 0"),
        (lambda: data.intruder(1), "size: at least 2; given 1"),
        (lambda: data.prevalence(0), "size: at least 1; given 0"),
    ],
)
def test_what_does_not_fit_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()
