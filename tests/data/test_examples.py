"""Labeled examples: pipelines, splits, the IDX and npz readers, and errors about invalid files."""

import gzip
import struct

import grain
import numpy as np
import pytest

from jaxnets import data

COUNT = 23
ARRAYS = {
    "inputs": np.arange(COUNT, dtype=np.float32)[:, None],
    "targets": np.arange(COUNT, dtype=np.int32),
    "mask": np.ones(COUNT, bool),
}


def test_every_epoch_has_all_examples_in_a_new_order():
    batches = data.shuffled(ARRAYS, batch_size=COUNT, seed=3)
    first, second = batches[0]["targets"], batches[1]["targets"]
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert (first != second).any()
    np.testing.assert_array_equal(data.shuffled(ARRAYS, COUNT, 3)[1]["targets"], second)
    np.testing.assert_array_equal(batches[0]["inputs"][:, 0], first)


@pytest.mark.parametrize(("batch_size", "seed"), [(1, 0), (5, 7), (COUNT, 3), (5, 2**31)])
def test_the_order_is_that_of_grain(batch_size, seed):
    found = data.shuffled(ARRAYS, batch_size, seed)
    expected = grain.MapDataset.range(COUNT).shuffle(seed).repeat().batch(batch_size)
    for step in (0, 1, 2, COUNT, 1000):
        np.testing.assert_array_equal(found[step]["targets"], expected[step])


@pytest.mark.parametrize("batch_size", [1, 5, COUNT, 40])
def test_in_order_has_every_example_once(batch_size):
    batches = list(data.in_order(ARRAYS, batch_size))
    assert len({b["inputs"].shape for b in batches}) == 1
    seen = np.concatenate([b["targets"][b["mask"]] for b in batches])
    np.testing.assert_array_equal(seen, np.arange(COUNT))


def test_no_examples_give_no_batches():
    empty = {name: array[:0] for name, array in ARRAYS.items()}
    assert list(data.in_order(empty, 4)) == list(data.in_order(ARRAYS, 4, np.arange(0))) == []
    for arrays, rows in ((empty, None), (ARRAYS, np.arange(0))):
        with pytest.raises(ValueError, match="training examples must fill at least one batch of 4, got 0"):
            data.shuffled(arrays, 4, 0, rows)
    for batches in (data.in_order, lambda arrays, batch_size: data.shuffled(arrays, batch_size, 0)):
        with pytest.raises(ValueError, match="`batch_size` must be an integer of at least 1, got 0"):
            batches(ARRAYS, 0)


def test_splits_are_disjoint_and_depend_on_the_seed():
    def splits(seed):
        digits = data.digits(batch_size=8, seed=seed)
        rows = lambda batches: {row.tobytes() for b in batches for row in b["inputs"][b["mask"]]}
        train = {row.tobytes() for i in range(200) for row in digits.train[i]["inputs"]}
        return train, rows(digits.splits["validation"]), rows(digits.splits["test"])

    train, validation, test = splits(0)
    assert not (train & validation or train & test or validation & test)
    assert len(test) == 359
    assert len(train) + len(validation) > 1400  # of 1438; 200 shuffled batches cover nearly all
    others = splits(1)
    assert others[2] == test
    assert others[1] != validation


def test_digits_are_read_by_rows_or_pixels():
    rows, pixels = data.digits(batch_size=4), data.digits("pixels", batch_size=4)
    assert rows.train[0]["inputs"].shape == (4, 8, 8)
    np.testing.assert_array_equal(rows.train[0]["inputs"].reshape(4, 64, 1), pixels.train[0]["inputs"])
    assert rows.train[0]["inputs"].max() == 1
    assert rows.spec == data.Classes(tuple("0123456789"))
    assert "width" not in rows.train[0]
    for batch in (pixels.train[0], pixels.splits["validation"][0], pixels.splits["test"][0]):
        np.testing.assert_array_equal(batch["width"], [8] * 4)


def idx_bytes(array, code):
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("dtype, code", [("u1", 8), ("i1", 9), ("i2", 11), ("i4", 12), ("f4", 13), ("f8", 14)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_files_of_every_dtype_are_read(tmp_path, dtype, code, pack):
    array = np.arange(-3, 9).astype(dtype).reshape(2, 3, 2)
    (tmp_path / "a").write_bytes(pack(idx_bytes(array, code)))
    found = data.read_idx(tmp_path / "a")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


IMAGES, LABELS = np.zeros((3, 4, 4), np.uint8), np.zeros(3, np.uint8)
INVALID_IDX = {
    "missing": (None, "cannot read .*: No such file"),
    "empty": (b"", "must be an IDX file, got a file that begins with nothing"),
    "another format": (b"PK\x03\x04zip", "must be an IDX file, got a file that begins with 50 4b 03 04"),
    "no header": (bytes([0, 0, 8, 3, 0, 0]), "must have a header of 16 bytes, got a file of 6"),
    "short": (idx_bytes(IMAGES, 8)[:-5], r"must have 64 bytes for shape \(3, 4, 4\), got 59"),
    "half a gzip": (gzip.compress(idx_bytes(IMAGES, 8))[:-12], "is damaged"),
}


@pytest.mark.parametrize("content, message", INVALID_IDX.values(), ids=INVALID_IDX)
def test_invalid_idx_files_are_rejected(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        data.read_idx(tmp_path / "a")


def mnist_folder(folder, images=None, labels=None):
    random = np.random.default_rng(0)
    for split, count in (("train", 30), ("t10k", 10)):
        pictures = random.integers(0, 256, (count, 4, 5)).astype(np.uint8) if images is None else images
        numbers = (np.arange(count) % 10).astype(np.uint8) if labels is None else labels
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(pictures, 8)))
        (folder / f"{split}-labels.idx1-ubyte").write_bytes(idx_bytes(numbers, 8))
    return str(folder)


def test_a_folder_of_idx_files_is_read_by_rows_or_pixels(tmp_path):
    path = mnist_folder(tmp_path)
    rows, pixels = (
        data.idx(path, batch_size=5, validation_fraction=0.2),
        data.idx(path, "pixels", batch_size=5, validation_fraction=0.2),
    )
    assert rows.train[0]["inputs"].shape == (5, 4, 5)
    np.testing.assert_array_equal(
        rows.splits["test"][0]["inputs"].reshape(5, 20, 1), pixels.splits["test"][0]["inputs"]
    )
    assert 0.9 < rows.train[0]["inputs"].max() <= 1
    assert set(pixels.splits["test"][0]["width"]) == {5}


INVALID_FOLDERS = {
    "no folder": (lambda folder: str(folder / "none"), "must be a folder, got no such path"),
    "empty": (str, "must contain train-images-idx3-ubyte or train-images-idx3-ubyte.gz, got nothing"),
    "labels": (
        lambda folder: mnist_folder(folder, IMAGES, LABELS[:2]),
        "must have one label per image, got 3 train images and 2 labels",
    ),
    "axes": (lambda folder: mnist_folder(folder, LABELS), "must have 3 axes, got shape"),
    "no examples": (
        lambda folder: mnist_folder(folder, IMAGES[:0], LABELS[:0]),
        "the training split must have examples, got none",
    ),
}


@pytest.mark.parametrize("make, message", INVALID_FOLDERS.values(), ids=INVALID_FOLDERS)
def test_invalid_folders_are_rejected(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        data.idx(make(tmp_path))


RANDOM = np.random.default_rng(1)
SERIES = {
    "x_train": 5 + 3 * RANDOM.normal(size=(40, 7)),
    "y_train": np.array(["ill", "well"] * 20),
    "x_test": 5 + 3 * RANDOM.normal(size=(10, 7)),
    "y_test": np.array(["well", "ill"] * 5),
}


def saved(folder, **changes):
    np.savez(folder / "a.npz", **{k: v for k, v in {**SERIES, **changes}.items() if v is not None})
    return str(folder / "a.npz")


def test_series_are_standardized_by_the_training_split(tmp_path):
    dataset = data.series(saved(tmp_path), batch_size=10, validation_fraction=0.2)
    assert dataset.spec.names == ("ill", "well")
    raw = data.series(saved(tmp_path), batch_size=10, validation_fraction=0.2, standardize=False)
    mean, std = SERIES["x_train"].mean(), SERIES["x_train"].std()
    np.testing.assert_allclose(
        dataset.splits["test"][0]["inputs"], (raw.splits["test"][0]["inputs"] - mean) / std, atol=1e-5
    )
    np.testing.assert_allclose(raw.splits["test"][0]["inputs"][..., 0], SERIES["x_test"], rtol=1e-6)
    assert "lengths" not in dataset.train[0]


def test_nan_at_the_end_of_a_row_is_padding(tmp_path):
    x = SERIES["x_train"].copy()
    x[0, 4:], x[1, 1:], x[2] = np.nan, np.nan, np.nan
    dataset = data.series(saved(tmp_path, x_train=x), batch_size=16, validation_fraction=0.2, standardize=False)
    rows = [row for i in range(4) for row in zip(*(dataset.train[i][n] for n in ("inputs", "lengths")), strict=True)]
    rows += [row for b in dataset.splits["validation"] for row in zip(b["inputs"], b["lengths"], strict=True)]
    assert {0, 1, 4, 7} == {int(length) for _, length in rows}
    for inputs, length in rows:
        assert np.isfinite(inputs).all()
        assert (inputs[length:] == 0).all()
        assert (inputs[:length] != 0).all()
    assert (dataset.splits["test"][0]["lengths"] == 7).all()


INSIDE = SERIES["x_train"].copy()
INSIDE[3, 2] = np.nan
INVALID_SERIES = {
    "no file": (lambda folder: str(folder / "none.npz"), {}, "must be an npz file, got no such file"),
    "missing": (
        lambda folder: saved(folder, y_test=None),
        {},
        "must have the arrays y_test, got x_train, y_train, x_test",
    ),
    "shapes": (lambda folder: saved(folder, y_train=SERIES["y_train"][:-1]), {}, r"y_train must be \[N\], got"),
    "text": (lambda folder: saved(folder, x_test=SERIES["x_test"].astype(str)), {}, "x_test must be numbers"),
    "lengths differ": (
        lambda folder: saved(folder, x_test=SERIES["x_test"][:, :5]),
        {},
        r"rows of the same shape, got \(7, 1\) and \(5, 1\)",
    ),
    "NaN inside": (
        lambda folder: saved(folder, x_train=INSIDE),
        {},
        "example 3 must be finite, got nan at position 2, 0",
    ),
    "new class": (
        lambda folder: saved(folder, y_test=np.array(["odd"] * 10)),
        {},
        "class odd must occur in the training split, got it only in the test split",
    ),
    "objects": (lambda folder: saved(folder, y_train=np.array([{}] * 40)), {}, "must be an npz file of plain arrays"),
    "batch": (saved, {"batch_size": 60}, "training examples must fill at least one batch of 60, got 34"),
    "no batch": (saved, {"batch_size": -1}, "`batch_size` must be an integer of at least 0, got -1"),
    "fraction": (
        saved,
        {"validation_fraction": 1.5},
        "`validation_fraction` must be a number between 0 and 1, got 1.5",
    ),
    "small fraction": (saved, {"validation_fraction": 0.001}, "40 examples must leave at least one .*, got 40 and 0"),
}


@pytest.mark.parametrize("make, options, message", INVALID_SERIES.values(), ids=INVALID_SERIES)
def test_invalid_series_are_rejected(tmp_path, make, options, message):
    with pytest.raises(ValueError, match=message):
        data.series(make(tmp_path), **options)


def test_other_files_than_npz_are_rejected(tmp_path):
    (tmp_path / "a.npz").write_text("not a zip")
    with pytest.raises(ValueError, match="must be an npz file of plain arrays"):
        data.series(str(tmp_path / "a.npz"))
