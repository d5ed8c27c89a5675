"""Examples of classes: pipelines, splits, the IDX and npz readers, and what is told about files that are wrong."""

import gzip
import struct

import numpy as np
import pytest

from jaxnets import data

COUNT = 23
ARRAYS = {
    "inputs": np.arange(COUNT, dtype=np.float32)[:, None],
    "targets": np.arange(COUNT, dtype=np.int32),
    "mask": np.ones(COUNT, bool),
}


def test_every_epoch_is_another_order_of_all_examples():
    batches = data.shuffled(ARRAYS, batch_size=COUNT, seed=3)
    first, second = batches[0]["targets"], batches[1]["targets"]
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert (first != second).any()
    np.testing.assert_array_equal(data.shuffled(ARRAYS, COUNT, 3)[1]["targets"], second)
    np.testing.assert_array_equal(batches[0]["inputs"][:, 0], first)


@pytest.mark.parametrize("batch", [1, 5, COUNT, 40])
def test_in_order_gives_every_example_once(batch):
    batches = list(data.in_order(ARRAYS, batch))
    assert len({b["inputs"].shape for b in batches}) == 1
    seen = np.concatenate([b["targets"][b["mask"]] for b in batches])
    np.testing.assert_array_equal(seen, np.arange(COUNT))


def test_no_examples_are_no_batches():
    nothing = {name: array[:0] for name, array in ARRAYS.items()}
    assert list(data.in_order(nothing, 4)) == list(data.in_order(ARRAYS, 4, np.arange(0))) == []
    for arrays, rows in ((nothing, None), (ARRAYS, np.arange(0))):
        with pytest.raises(ValueError, match="too few examples: 0 to learn from, fewer than one batch of 4"):
            data.shuffled(arrays, 4, 0, rows)
    for batches in (data.in_order, lambda arrays, batch: data.shuffled(arrays, batch, 0)):
        with pytest.raises(ValueError, match="`batch` must be an integer of at least 1, got 0"):
            batches(ARRAYS, 0)


def test_parts_do_not_overlap_and_a_seed_chooses_them():
    def parts(seed):
        digits = data.digits(batch_size=8, seed=seed)
        rows = lambda batches: {row.tobytes() for b in batches for row in b["inputs"][b["mask"]]}
        train = {row.tobytes() for i in range(200) for row in digits.train[i]["inputs"]}
        return train, rows(digits.splits["validation"]), rows(digits.splits["test"])

    train, validation, test = parts(0)
    assert not (train & validation or train & test or validation & test)
    assert len(test) == 359
    assert len(train) + len(validation) > 1400  # of 1438; the shuffle of 200 batches has seen nearly all
    others = parts(1)
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
def test_idx_files_of_every_type(tmp_path, dtype, code, pack):
    array = np.arange(-3, 9).astype(dtype).reshape(2, 3, 2)
    (tmp_path / "a").write_bytes(pack(idx_bytes(array, code)))
    found = data.read_idx(tmp_path / "a")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


IMAGES, LABELS = np.zeros((3, 4, 4), np.uint8), np.zeros(3, np.uint8)
WRONG_IDX = {
    "missing": (None, "cannot read .*: No such file"),
    "empty": (b"", "is no IDX file: it begins with nothing"),
    "other": (b"PK\x03\x04zip", "is no IDX file: it begins with 50 4b 03 04"),
    "no head": (bytes([0, 0, 8, 3, 0, 0]), "cut short: 6 bytes, its head alone has 16"),
    "short": (idx_bytes(IMAGES, 8)[:-5], r"64 bytes expected for shape \(3, 4, 4\); it has 59"),
    "half a gzip": (gzip.compress(idx_bytes(IMAGES, 8))[:-12], "is damaged"),
}


@pytest.mark.parametrize("content, message", WRONG_IDX.values(), ids=WRONG_IDX)
def test_wrong_idx_files_are_told(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        data.read_idx(tmp_path / "a")


def mnist_folder(folder, images=None, labels=None):
    random = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 10)):
        pictures = random.integers(0, 256, (count, 4, 5)).astype(np.uint8) if images is None else images
        numbers = (np.arange(count) % 10).astype(np.uint8) if labels is None else labels
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(pictures, 8)))
        (folder / f"{part}-labels.idx1-ubyte").write_bytes(idx_bytes(numbers, 8))
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


WRONG_FOLDERS = {
    "no folder": (lambda folder: str(folder / "none"), "no folder at"),
    "empty": (str, "no train-images-idx3-ubyte or .gz of it in"),
    "labels": (lambda folder: mnist_folder(folder, IMAGES, LABELS[:2]), "3 train images, but 2 labels"),
    "axes": (lambda folder: mnist_folder(folder, LABELS), "3 axes expected; given shape"),
    "nothing": (lambda folder: mnist_folder(folder, IMAGES[:0], LABELS[:0]), "no examples in the training part"),
}


@pytest.mark.parametrize("make, message", WRONG_FOLDERS.values(), ids=WRONG_FOLDERS)
def test_wrong_folders_are_told(tmp_path, make, message):
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


def test_series_are_standardized_by_what_is_learned_from(tmp_path):
    made = data.series(saved(tmp_path), batch_size=10, validation_fraction=0.2)
    assert made.spec.names == ("ill", "well")
    raw = data.series(saved(tmp_path), batch_size=10, validation_fraction=0.2, standardize=False)
    mean, deviation = SERIES["x_train"].mean(), SERIES["x_train"].std()
    np.testing.assert_allclose(
        made.splits["test"][0]["inputs"], (raw.splits["test"][0]["inputs"] - mean) / deviation, atol=1e-5
    )
    np.testing.assert_allclose(raw.splits["test"][0]["inputs"][..., 0], SERIES["x_test"], rtol=1e-6)
    assert "lengths" not in made.train[0]


def test_nan_at_the_end_of_a_row_is_padding(tmp_path):
    x = SERIES["x_train"].copy()
    x[0, 4:], x[1, 1:], x[2] = np.nan, np.nan, np.nan
    made = data.series(saved(tmp_path, x_train=x), batch_size=16, validation_fraction=0.2, standardize=False)
    rows = [row for i in range(4) for row in zip(*(made.train[i][n] for n in ("inputs", "lengths")), strict=True)]
    rows += [row for b in made.splits["validation"] for row in zip(b["inputs"], b["lengths"], strict=True)]
    assert {0, 1, 4, 7} == {int(length) for _, length in rows}
    for inputs, length in rows:
        assert np.isfinite(inputs).all()
        assert (inputs[length:] == 0).all()
        assert (inputs[:length] != 0).all()
    assert (made.splits["test"][0]["lengths"] == 7).all()


INSIDE = SERIES["x_train"].copy()
INSIDE[3, 2] = np.nan
WRONG_SERIES = {
    "no file": (lambda folder: str(folder / "none.npz"), {}, "no file at"),
    "missing": (lambda folder: saved(folder, y_test=None), {}, "has no y_test; it has x_train, y_train, x_test"),
    "shapes": (lambda folder: saved(folder, y_train=SERIES["y_train"][:-1]), {}, r"y_train as \[N\] expected; given"),
    "text": (lambda folder: saved(folder, x_test=SERIES["x_test"].astype(str)), {}, "x_test as numbers"),
    "lengths differ": (
        lambda folder: saved(folder, x_test=SERIES["x_test"][:, :5]),
        {},
        r"\(7, 1\), x_test of \(5, 1\)",
    ),
    "NaN inside": (lambda folder: saved(folder, x_train=INSIDE), {}, "nan in example 3 at position 2, 0"),
    "new class": (
        lambda folder: saved(folder, y_test=np.array(["odd"] * 10)),
        {},
        "class odd is in the test part only",
    ),
    "objects": (lambda folder: saved(folder, y_train=np.array([{}] * 40)), {}, "no npz file of plain arrays"),
    "batch": (saved, {"batch": 60}, "too few examples: 34 to learn from, fewer than one batch of 60"),
    "no batch": (saved, {"batch": 0}, "`batch` must be an integer of at least 1, got 0"),
    "validation": (saved, {"validation": 1.5}, "`validation` must be a number between 0 and 1, got 1.5"),
    "nothing held out": (saved, {"validation": 0.001}, "40 leave 0 for validation"),
}


@pytest.mark.parametrize("make, options, message", WRONG_SERIES.values(), ids=WRONG_SERIES)
def test_wrong_series_are_told(tmp_path, make, options, message):
    with pytest.raises(ValueError, match=message):
        data.series(make(tmp_path), **options)


def test_not_an_npz(tmp_path):
    (tmp_path / "a.npz").write_text("not a zip")
    with pytest.raises(ValueError, match="no npz file of plain arrays"):
        data.series(str(tmp_path / "a.npz"))
