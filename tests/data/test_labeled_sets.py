"""Sets of a user's file: their sizes, and what is wrong in it told by its place."""

import numpy as np
import pytest

from jaxnets import data

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(50, 6, 3)).astype(np.float32)
X[4, 2:] = X[9, 0:] = np.nan  # two elements; none
Y = np.array(["odd", "even"] * 25)


def saved(folder, x=X, y=Y):
    np.savez(folder / "sets.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    return str(folder / "sets.npz")


def test_a_set_that_ends_in_nan_is_that_much_smaller(tmp_path):
    made = data.labeled_sets(saved(tmp_path), batch_size=4, validation_fraction=0.2, standardize=False)
    assert made.spec.names == ("even", "odd")
    seen = [row for batch in made.splits["validation"] for row in zip(batch["inputs"], batch["valid"], strict=True)]
    for step in range(16):
        batch = made.train[step]
        assert "lengths" not in batch and batch["valid"].dtype == bool
        seen += list(zip(batch["inputs"], batch["valid"], strict=True))
    assert {0, 2, 6} == {int(real.sum()) for _, real in seen}
    for xs, real in seen:
        assert np.isfinite(xs).all() and not xs[~real].any() and xs[real].all()


def test_features_are_standardized_over_what_is_real(tmp_path):
    made = data.labeled_sets(saved(tmp_path, 5 + 3 * X), batch_size=8, validation_fraction=0.2)
    batches = [*made.splits["validation"], *(made.train[step] for step in range(4))]
    known = np.concatenate([batch["inputs"][batch["valid"] & batch["mask"][:, None]] for batch in batches])
    np.testing.assert_allclose(known.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(known.std(0), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "row, element, feature, number, message",
    [
        (3, 2, 1, np.nan, "training part: nan in example 3 at position 2, 1"),
        (41, 5, 0, np.nan, "test part: nan in example 1 at position 5, 0"),
        (7, 1, 2, np.inf, "training part: inf in example 7 at position 1, 2"),
    ],
)
def test_what_is_not_finite_is_told_by_its_place(tmp_path, row, element, feature, number, message):
    x = X.copy()
    x[row, element, feature] = number
    with pytest.raises(ValueError, match=message):
        data.labeled_sets(saved(tmp_path, x))
