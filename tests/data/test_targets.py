"""Targets of every type from npz files, with every reader; errors name the position of invalid targets."""

import numpy as np
import pytest

from jaxnets import data

RANDOM = np.random.default_rng(0)
COUNT = 50
BYTES = RANDOM.integers(0, 256, (COUNT, 5, 4), np.uint8)
READERS = {
    "series": (data.series, RANDOM.normal(size=(COUNT, 5, 2))),
    "sets": (data.labeled_sets, RANDOM.normal(size=(COUNT, 5, 2))),
    "images": (data.image_arrays, BYTES),
}
QUANTITIES = 1.7e9 + np.array([3600.0, 1e-3]) * RANDOM.normal(size=(COUNT, 2))
LABELS = RANDOM.random((COUNT, 3)) < 0.4


def saved(folder, x, y=None, **names):
    arrays = {"x_train": x[:40], "x_test": x[40:]}
    if y is not None:
        arrays |= {"y_train": y[:40], "y_test": y[40:]}
    np.savez(folder / "a.npz", **arrays, **names)
    return str(folder / "a.npz")


@pytest.mark.parametrize("reader, x", READERS.values(), ids=READERS)
def test_quantities_are_standardized_and_recovered_in_their_units(tmp_path, reader, x):
    path = saved(tmp_path, x, QUANTITIES, quantities=np.array(["time", "mass"]))
    dataset = reader(path, batch_size=5, target_type="quantities")
    assert dataset.spec.names == ("time", "mass")
    assert "2 quantities, " in dataset.description
    mean, std = dataset.spec.scale
    np.testing.assert_allclose(mean, QUANTITIES[:40].mean(0), rtol=1e-14)
    np.testing.assert_allclose(std, QUANTITIES[:40].std(0), rtol=1e-6)
    batches = list(dataset.splits["test"])
    found = np.concatenate([batch["targets"][batch["mask"]] for batch in batches])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found * std + mean - 1.7e9, QUANTITIES[40:] - 1.7e9, rtol=1e-5, atol=1e-6)
    one = reader(saved(tmp_path, x, QUANTITIES[:, 0]), batch_size=5, target_type="quantities")
    assert one.spec.names == ("y0",) and one.train[0]["targets"].shape == (5, 1)


@pytest.mark.parametrize("reader, x", READERS.values(), ids=READERS)
def test_labels_are_bool_and_targets_are_optional(tmp_path, reader, x):
    for given in (LABELS, LABELS.astype(np.int64), LABELS.astype(float)):
        dataset = reader(
            saved(tmp_path, x, given, classes=np.array(["a", "b", "c"])), batch_size=5, target_type="labels"
        )
        assert dataset.spec == data.Labels(("a", "b", "c"))
        np.testing.assert_array_equal(dataset.splits["test"][0]["targets"], LABELS[40:45])
    named = reader(saved(tmp_path, x, LABELS), batch_size=5, target_type="labels")
    assert named.spec == data.Labels(("0", "1", "2"))
    bare = reader(saved(tmp_path, x), batch_size=5, target_type="none")
    assert bare.spec == data.Unlabeled(bare.train[0]["inputs"].shape[-1])
    assert "targets" not in bare.train[0]
    np.testing.assert_array_equal(
        bare.train[0]["inputs"], dataset.train[0]["inputs"]
    )  # the same rows in the same order
    half = bare.part(lambda count: np.arange(count)[: count // 2])
    np.testing.assert_array_equal(half.train[3]["inputs"], bare.train[3]["inputs"][:2])


def with_value(array, value, row=41, column=1):
    """Returns the array with one element replaced."""
    changed = array.astype(object if isinstance(value, str) else np.float64)
    changed[row, column] = value
    return changed.astype(str) if isinstance(value, str) else changed


INVALID = {
    "type": (
        "numbers",
        QUANTITIES,
        {},
        "`target_type` must be one of classes, quantities, labels, none, got 'numbers'",
    ),
    "NaN": (
        "quantities",
        with_value(QUANTITIES, np.nan),
        {},
        "test split: quantity y1 of example 1 must be finite, got nan",
    ),
    "beyond float32": (
        "quantities",
        with_value(QUANTITIES, 1e300),
        {},
        "example 1 must be within the range of float32",
    ),
    "text": ("quantities", QUANTITIES.astype(str), {}, "training split: quantities must be numbers, got <U"),
    "too many names": ("quantities", QUANTITIES, {"quantities": np.array(["a"])}, "must have 2 different names, got 1"),
    "names twice": ("quantities", QUANTITIES, {"quantities": np.array(["a", "a"])}, "must have 2 different names"),
    "names of two axes": (
        "quantities",
        QUANTITIES,
        {"quantities": np.array([["a"]])},
        "quantities must have shape .C., got",
    ),
    "three axes": ("quantities", QUANTITIES[..., None], {}, r"must be \[40\] or \[40, C\], got shape \(40, 2, 1\)"),
    "no quantity": ("quantities", QUANTITIES[:, :0], {}, "one or more different names"),
    "not 0 or 1": ("labels", with_value(LABELS, 2.0), {}, "test split: label 1 of example 1 must be 0 or 1, got 2.0"),
    "labels as text": ("labels", LABELS.astype(str), {}, "labels must be bools, or numbers 0 and 1, got <U"),
    "classes": ("classes", QUANTITIES, {}, r"must be \[40\], got shape \(40, 2\); y\[:, 0\] selects one column"),
}


@pytest.mark.parametrize("target_type, y, names, message", INVALID.values(), ids=INVALID)
def test_invalid_targets_are_rejected(tmp_path, target_type, y, names, message):
    with pytest.raises(ValueError, match=message):
        data.series(saved(tmp_path, READERS["series"][1], y, **names), target_type=target_type)


def test_splits_with_different_numbers_of_targets_are_rejected(tmp_path):
    x, y = READERS["series"][1], QUANTITIES
    np.savez(tmp_path / "a.npz", x_train=x[:40], x_test=x[40:], y_train=y[:40], y_test=y[40:, :1])
    with pytest.raises(ValueError, match="the test split must have 2 quantities, as the training split has, got 1"):
        data.series(str(tmp_path / "a.npz"), target_type="quantities")
