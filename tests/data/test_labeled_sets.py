"""Sets from npz files: sizes, standardization, and errors that name the position of invalid numbers."""

import numpy as np
import pytest

from jaxnets import data

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(50, 6, 3)).astype(np.float32)
X[4, 2:] = X[9, 0:] = np.nan  # a set of two elements, and an empty one
Y = np.array(["odd", "even"] * 25)


def saved(folder, x=X, y=Y):
    np.savez(folder / "sets.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    return str(folder / "sets.npz")


def test_nan_at_the_end_of_a_set_is_padding(tmp_path):
    dataset = data.labeled_sets(saved(tmp_path), batch_size=4, validation_fraction=0.2, standardize=False)
    assert dataset.spec.names == ("even", "odd")
    seen = [row for batch in dataset.splits["validation"] for row in zip(batch["inputs"], batch["valid"], strict=True)]
    for step in range(16):
        batch = dataset.train[step]
        assert "lengths" not in batch and batch["valid"].dtype == bool
        seen += list(zip(batch["inputs"], batch["valid"], strict=True))
    assert {0, 2, 6} == {int(valid.sum()) for _, valid in seen}
    for xs, valid in seen:
        assert np.isfinite(xs).all() and not xs[~valid].any() and xs[valid].all()


def test_features_are_standardized_over_valid_elements(tmp_path):
    dataset = data.labeled_sets(saved(tmp_path, 5 + 3 * X), batch_size=8, validation_fraction=0.2)
    batches = [*dataset.splits["validation"], *(dataset.train[step] for step in range(4))]
    elements = np.concatenate([batch["inputs"][batch["valid"] & batch["mask"][:, None]] for batch in batches])
    np.testing.assert_allclose(elements.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(elements.std(0), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "row, element, feature, number, message",
    [
        (3, 2, 1, np.nan, "training split: example 3 must be finite, got nan at position 2, 1"),
        (41, 5, 0, np.nan, "test split: example 1 must be finite, got nan at position 5, 0"),
        (7, 1, 2, np.inf, "training split: example 7 must be finite, got inf at position 1, 2"),
    ],
)
def test_nonfinite_elements_are_rejected_with_their_position(tmp_path, row, element, feature, number, message):
    x = X.copy()
    x[row, element, feature] = number
    with pytest.raises(ValueError, match=message):
        data.labeled_sets(saved(tmp_path, x))
