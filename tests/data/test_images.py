"""Images from folders and npz files: splits, decoding, and errors about invalid files."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_examples import mnist_folder

from jaxnets import data
from jaxnets.data import image_files

RANDOM = np.random.default_rng(0)


def encoded(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def picture(number, size=(6, 6)):
    """An image of one color, which depends on the number."""
    return np.full((*size, 3), (number, 2 * number, 255 - number), np.uint8)


def folder(root, splits=("train", "test"), classes=("cat", "dog"), count=8, kind="png"):
    """A folder of one-color images; the name and the first channel of an image contain its number."""
    number = 0
    for split in splits:
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for _ in range(count):
                (root / split / name / f"{number:03}.{kind}").write_bytes(encoded(picture(number)))
                number += 1
    return str(root)


def numbers(batches):
    """Returns the numbers of the images in a split, with their classes."""
    return {
        (int(image[0, 0, 0]), int(target))
        for batch in batches
        for image, target, valid in zip(batch["inputs"], batch["targets"], batch["mask"], strict=True)
        if valid
    }


def splits_of(dataset):
    """Returns the numbers and classes of the images in the training, validation and test splits."""
    train = numbers(dataset.train[i] for i in range(30))
    return train, numbers(dataset.splits["validation"]), dataset.splits.get("test") and numbers(dataset.splits["test"])


def test_digits_and_idx_files_are_read_as_images(tmp_path):
    dataset, rows = data.digits("images", batch_size=4), data.digits(batch_size=4)
    inputs = dataset.train[0]["inputs"]
    assert inputs.shape == (4, 8, 8, 1)
    assert inputs.dtype == np.uint8
    np.testing.assert_array_equal(inputs[..., 0], np.round(rows.train[0]["inputs"] * 255))
    assert inputs.max() == 255
    assert set(dataset.train[0]) == {"inputs", "targets", "mask"}
    path = mnist_folder(tmp_path)
    dataset, rows = data.idx(path, "images", batch_size=5), data.idx(path, batch_size=5)
    assert dataset.splits["test"][0]["inputs"].dtype == np.uint8
    np.testing.assert_allclose(
        dataset.splits["test"][0]["inputs"][..., 0] / 255, rows.splits["test"][0]["inputs"], rtol=1e-6
    )


def test_folders_of_splits_define_the_splits(tmp_path):
    dataset = data.images(folder(tmp_path), size=6, batch_size=4, validation_fraction=0.25)
    assert dataset.spec.names == ("cat", "dog")
    assert dataset.train[0]["inputs"].shape == (4, 6, 6, 3)
    assert dataset.train[0]["inputs"].dtype == np.uint8
    train, validation, test = splits_of(dataset)
    assert test == {(i, int(i >= 24)) for i in range(16, 32)}
    assert train | validation == {(i, int(i >= 8)) for i in range(16)}
    assert len(validation) == 4 and not train & validation
    assert "12 training examples of 6x6x3, 4 validation, 16 test" in dataset.description


def test_a_validation_folder_is_not_split_again(tmp_path):
    dataset = data.images(folder(tmp_path, ("Training", "val")), size=6, batch_size=4)
    train, validation, test = splits_of(dataset)
    assert (len(train), len(validation), test) == (16, 16, None)
    other = data.images(folder(tmp_path / "three", ("train", "valid", "testing")), size=6, batch_size=4)
    assert [len(split) for split in splits_of(other)] == [16, 16, 16]


def test_a_folder_of_classes_is_split_at_random_by_class(tmp_path):
    path = folder(tmp_path, ("",), ("a", "b", "valid"), count=20)
    read = lambda seed: splits_of(
        data.images(path, size=6, batch_size=4, validation_fraction=0.25, test_fraction=0.2, seed=seed)
    )
    train, validation, test = read(0)
    assert len(train | validation | test) == len(train) + len(validation) + len(test) == 60
    for split, count in ((test, 12), (validation, 12)):
        of_class = np.bincount([label for _, label in split])
        assert of_class.sum() == count and of_class.min() >= 2
    assert read(0)[2] == test
    assert read(1)[2] != test


def test_other_files_are_skipped_and_subfolders_are_read(tmp_path):
    path = folder(tmp_path, ("",), count=3)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / "._000.png").write_bytes(b"of a Mac")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "cat" / "more").mkdir()
    (tmp_path / "cat" / "more" / "A.PNG").write_bytes(encoded(picture(99)))
    dataset = data.images(path, size=6, batch_size=1, validation_fraction=0.3, test_fraction=0.3)
    assert (99, 0) in set.union(*splits_of(dataset))


def test_images_beyond_the_memory_limit_are_decoded_on_demand(tmp_path):
    path = folder(tmp_path)
    now, later = (data.images(path, size=4, batch_size=4, memory_limit=memory_limit) for memory_limit in (1, 0))
    assert "decoded on demand" in later.description
    some = lambda dataset: [dataset.train[5], *dataset.splits["validation"], *dataset.splits["test"]]
    for one, other in zip(some(now), some(later), strict=True):
        assert other["inputs"].dtype == np.uint8
        for name, array in one.items():
            np.testing.assert_array_equal(other[name], array)


@pytest.mark.parametrize("memory_limit", [1, 0])
def test_the_fingerprint_depends_on_the_files(tmp_path, memory_limit):
    path = folder(tmp_path)
    fingerprint = lambda: data.images(path, size=4, batch_size=4, memory_limit=memory_limit).fingerprint
    before = fingerprint()
    assert fingerprint() == before
    (tmp_path / "train" / "cat" / "000.png").write_bytes(encoded(X[0]))
    changed = fingerprint()
    assert changed != before
    (tmp_path / "train" / "cat" / "000.png").rename(tmp_path / "train" / "cat" / "0.png")
    assert fingerprint() != changed


@pytest.mark.parametrize("memory_limit", [1, 0])
@pytest.mark.parametrize("content", [b"", b"GIF89b", b"no image"], ids=["empty", "cut", "text"])
def test_a_corrupt_file_is_rejected_or_skipped(tmp_path, memory_limit, content):
    path = folder(tmp_path)
    for name in ("002.png", "005.png"):
        (tmp_path / "train" / "cat" / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot decode .*train/cat/00[25].png: not in a format that Pillow supports"):
        data.images(path, size=6, batch_size=4, memory_limit=memory_limit)
    dataset = data.images(path, size=6, batch_size=2, memory_limit=memory_limit, on_corrupt="skip")
    assert "2 corrupt images skipped, the first: cannot decode" in dataset.description
    train, validation, test = splits_of(dataset)
    assert train | validation == {(i, int(i >= 8)) for i in range(16) if i not in (2, 5)}
    assert len(test) == 16


def test_a_truncated_body_is_an_error_when_its_batch_is_read(tmp_path):
    path = folder(tmp_path)
    file = tmp_path / "test" / "dog" / "025.png"
    file.write_bytes(encoded(RANDOM.integers(0, 256, (9, 9, 3)).astype(np.uint8))[:200])
    with pytest.raises(ValueError, match=f"cannot decode {file}: .*truncated"):
        data.images(path, size=6, batch_size=4)
    dataset = data.images(path, size=6, batch_size=4, memory_limit=0)
    with pytest.raises(ValueError, match=f"cannot decode {file}: .*truncated"):
        list(dataset.splits["test"])
    dataset = data.images(path, size=6, batch_size=4, memory_limit=0, on_corrupt="skip")
    assert f"1 corrupt image skipped, the first: cannot decode {file}" in dataset.description
    assert len(list(dataset.splits["test"])) > 0


@pytest.mark.parametrize("memory_limit", [1, 0])
def test_intact_files_of_unsupported_pixels_are_skipped(tmp_path, memory_limit):
    path = folder(tmp_path)
    (tmp_path / "test" / "dog" / "a.tiff").write_bytes(encoded(np.ones((9, 9), np.float32), "TIFF"))
    dataset = data.images(path, size=6, batch_size=4, memory_limit=memory_limit, on_corrupt="skip")
    assert "1 corrupt image skipped" in dataset.description
    assert len(splits_of(dataset)[2]) == 16


def test_an_image_of_too_many_pixels_is_rejected(tmp_path, monkeypatch):
    path = folder(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for memory_limit in (1, 0):
        with pytest.raises(ValueError, match=r"cannot decode .*000.png: .*decompression bomb"):
            data.images(path, size=6, batch_size=4, memory_limit=memory_limit)


DECODED = {
    "RGB": ("PNG", RANDOM.integers(0, 256, (5, 5, 3)).astype(np.uint8), lambda x: x),
    "gray": ("PNG", RANDOM.integers(0, 256, (5, 5)).astype(np.uint8), lambda x: np.stack([x] * 3, -1)),
    "transparent": ("PNG", RANDOM.integers(0, 256, (5, 5, 4)).astype(np.uint8), lambda x: x[..., :3]),
    "16 bits": ("PNG", RANDOM.integers(0, 2**16, (5, 5)).astype(np.uint16), lambda x: np.stack([x >> 8] * 3, -1)),
    "16 bits, TIFF": (
        "TIFF",
        RANDOM.integers(0, 2**16, (5, 5)).astype(np.uint16),
        lambda x: np.stack([x >> 8] * 3, -1),
    ),
    "bits": ("PNG", RANDOM.integers(0, 2, (5, 5)).astype(bool), lambda x: 255 * np.stack([x] * 3, -1)),
    "wide": ("BMP", RANDOM.integers(0, 256, (5, 8, 3)).astype(np.uint8), lambda x: x[:, 1:6]),
    "high": ("WEBP", RANDOM.integers(0, 256, (9, 5, 3)).astype(np.uint8), lambda x: x[2:7]),
}


@pytest.mark.parametrize("kind, pixels, expected", DECODED.values(), ids=DECODED)
def test_images_of_every_mode_are_decoded(kind, pixels, expected):
    options = {"lossless": True} if kind == "WEBP" else {}
    found = image_files.decode(encoded(pixels, kind, **options), 5, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected(pixels))


def test_palettes_become_colors_or_gray():
    pixels = np.repeat(np.array([[10, 20, 30], [40, 50, 60]], np.uint8)[None], 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels).quantize(4).save(file, "PNG", transparency=0)
    np.testing.assert_array_equal(image_files.decode(file.getvalue(), 2, 3), pixels)
    gray = image_files.decode(file.getvalue(), 2, 1)
    np.testing.assert_array_equal(gray[0, :, 0], [18, 48])  # 0.299 R + 0.587 G + 0.114 B


def test_the_shorter_side_is_resized_and_the_center_is_cropped():
    y, x = np.mgrid[:40, :60]
    found = image_files.decode(encoded((2 * y + x).astype(np.uint8)), 20, 1)[..., 0]
    expected = 2 * (2 * np.arange(20)[:, None] + 0.5) + 10 + 2 * np.arange(20) + 0.5
    np.testing.assert_allclose(found[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1)
    stripes = np.tile(np.array([0, 255], np.uint8), (32, 16))
    assert np.ptp(image_files.decode(encoded(stripes), 8, 1)[:, 1:-1].astype(int)) < 8  # antialiased


def test_large_jpegs_are_antialiased():
    y, x = np.mgrid[:300, :400]
    smooth = (127 + 60 * np.sin(x / 30) + 60 * np.cos(y / 40)).astype(np.uint8)
    small = Image.fromarray(smooth[:, 50:350]).resize((30, 30), Image.Resampling.BILINEAR)
    found = image_files.decode(encoded(smooth, "JPEG", quality=95), 30, 1)[..., 0]
    np.testing.assert_allclose(found, np.asarray(small), atol=2)


@pytest.mark.parametrize(
    "orientation, turn", [(1, lambda x: x), (3, lambda x: np.rot90(x, 2)), (6, lambda x: np.rot90(x, -1))]
)
def test_images_are_turned_upright(orientation, turn):
    pixels = np.zeros((4, 6), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = image_files.decode(encoded(pixels, "PNG", exif=exif), 0, 1)
    np.testing.assert_array_equal(found[..., 0], turn(pixels))


INVALID_IMAGES = {
    "floats": ("TIFF", np.ones((3, 3), np.float32), "got floating-point numbers"),
    "32 bits": ("TIFF", np.full((3, 3), 10**6, np.int32), "pixels must have 8 or 16 bits, got more"),
}


@pytest.mark.parametrize("kind, pixels, message", INVALID_IMAGES.values(), ids=INVALID_IMAGES)
def test_unsupported_pixels_are_rejected(kind, pixels, message):
    with pytest.raises(ValueError, match=message):
        image_files.decode(encoded(pixels, kind), 0, 1)


def without(path, *removed):
    for name in removed:
        shutil.rmtree(os.path.join(path, name))
    return path


def single_image(root):
    (root / "a.png").write_bytes(encoded(picture(1)))
    return str(root)


def emptied(path):
    for file in Path(path, "train", "dog").iterdir():
        file.unlink()
    return path


INVALID_FOLDERS = {
    "none": (lambda root: str(root / "none"), {}, "no folder at"),
    "empty": (str, {}, "must have folders for two or more classes, got none, and 0 images outside of a folder"),
    "no class": (single_image, {}, "got none, and 1 images outside of a folder"),
    "one class": (lambda root: folder(root, classes=("cat",)), {}, "got only .*cat"),
    "differ": (
        lambda root: without(folder(root, classes=("ape", "bee", "cat", "dog")), "test/bee", "train/ape", "train/dog"),
        {},
        "1 of train not in test: bee; 2 of test not in train: ape, dog",
    ),
    "no train": (lambda root: folder(root, ("test", "val")), {}, "must have a folder train, got test, val"),
    "two to test": (
        lambda root: folder(root, ("train", "test", "testing")),
        {},
        "must have one folder for test, got test and test",
    ),
    "empty class": (lambda root: emptied(folder(root)), {}, "class folder .*dog must have images, got none"),
    "too few": (
        lambda root: folder(root, ("",), count=1),
        {},
        "too few images: 2 of 2 classes leave 0 for the test split",
    ),
    "small fraction": (folder, {"validation_fraction": 0.01}, "16 of 2 classes leave 0 for the validation split"),
    "size": (folder, {"size": 0}, "`size` must be an integer of at least 1, got 0"),
    "channels": (folder, {"channels": 4}, "channels.* 1 or 3.* 4"),
    "on_corrupt": (folder, {"on_corrupt": "ignore"}, "refuse.* skip.* 'ignore'"),
    "memory": (folder, {"memory_limit": -1}, "`memory_limit` must be a number of at least 0, got -1"),
    "fraction": (folder, {"test_fraction": 1.0}, "`test_fraction` must be a number between 0 and 1, got 1.0"),
    "batch": (folder, {"batch_size": 20}, "training examples must fill at least one batch of 20, got 14"),
}


@pytest.mark.parametrize("make, options, message", INVALID_FOLDERS.values(), ids=INVALID_FOLDERS)
def test_invalid_folders_are_rejected(tmp_path, make, options, message):
    with pytest.raises(ValueError, match=message):
        data.images(make(tmp_path), **{"size": 6, "batch_size": 2, **options})


def test_only_corrupt_files_are_rejected(tmp_path):
    path = folder(tmp_path)
    for file in (tmp_path / "test").rglob("*.png"):
        file.write_bytes(b"")
    for memory_limit in (1, 0):
        with pytest.raises(ValueError, match=r"none of 16 images can be decoded: cannot decode .*test/cat/016.png"):
            data.images(path, size=6, batch_size=2, memory_limit=memory_limit, on_corrupt="skip")


@pytest.mark.parametrize("memory_limit", [1, 0])
def test_a_class_of_corrupt_files_is_rejected(tmp_path, memory_limit):
    path = folder(tmp_path, classes=("ape", "cat", "dog"))
    for file in tmp_path.rglob("cat/*.png"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match="no training image of class cat can be decoded: cannot .*train/cat/008"):
        data.images(path, size=6, batch_size=2, memory_limit=memory_limit, on_corrupt="skip")


X = RANDOM.integers(0, 256, (30, 5, 4, 3)).astype(np.uint8)
ARRAYS = {
    "x_train": X[:20],
    "y_train": np.arange(20).astype(np.uint8) % 2,
    "x_test": X[20:],
    "y_test": np.zeros(10, np.uint8),
}


def saved(root, arrays, **changes):
    np.savez(root / "a.npz", **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return str(root / "a.npz")


def test_arrays_of_images_are_read(tmp_path):
    dataset = data.image_arrays(saved(tmp_path, ARRAYS), batch_size=4, validation_fraction=0.2)
    np.testing.assert_array_equal(np.concatenate([b["inputs"][b["mask"]] for b in dataset.splits["test"]]), X[20:])
    assert dataset.train[0]["inputs"].dtype == np.uint8
    assert dataset.spec.names == ("0", "1")
    gray = dict(x_train=X[:20, ..., 0], x_test=X[20:, ..., 0], y_train=ARRAYS["y_train"][:, None])
    names = np.array(["odd", "even", "never"])
    dataset = data.image_arrays(saved(tmp_path, ARRAYS, **gray, classes=names), batch_size=4, validation_fraction=0.2)
    assert dataset.train[0]["inputs"].shape == (4, 5, 4, 1)
    assert dataset.spec.names == ("odd", "even")  # in the order of their numbers


def jpegs(split, count, first=0):
    """Returns the arrays of encoded images of one split."""
    files = [encoded(picture(first + i), "PNG") for i in range(count)]
    return {
        f"jpg_{split}": np.frombuffer(b"".join(files), np.uint8),
        f"off_{split}": np.cumsum([0, *map(len, files)]),
        f"y_{split}": np.arange(count) % 2,
    }


JPEGS = {**jpegs("train", 16), **jpegs("test", 6, 16), "classes": np.array(["even", "odd"])}
ZEROS = JPEGS["jpg_train"].copy()
ZEROS[JPEGS["off_train"][3] : JPEGS["off_train"][4]] = 0


def test_encoded_images_are_read_from_an_npz_file(tmp_path):
    dataset = data.jpeg_images(saved(tmp_path, JPEGS), batch_size=4, validation_fraction=0.25)
    train, validation, test = splits_of(dataset)
    assert train | validation == {(i, i % 2) for i in range(16)}
    assert test == {(i, i % 2) for i in range(16, 22)}
    assert dataset.spec.names == ("even", "odd")
    assert dataset.train[0]["inputs"].shape == (4, 6, 6, 3)
    small = data.jpeg_images(saved(tmp_path, JPEGS), size=3, channels=1, batch_size=4, validation_fraction=0.25)
    assert small.train[0]["inputs"].shape == (4, 3, 3, 1)


def test_damaged_images_are_rejected_by_index_or_skipped(tmp_path):
    path = saved(tmp_path, JPEGS, jpg_train=ZEROS)
    with pytest.raises(ValueError, match=r"cannot decode image 3 of jpg_train in .*a.npz: not in a format"):
        data.jpeg_images(path, batch_size=4)
    dataset = data.jpeg_images(path, batch_size=2, validation_fraction=0.25, on_corrupt="skip")
    assert "; 1 corrupt image skipped, the first: cannot decode image 3 of" in dataset.description
    train, validation, _ = splits_of(dataset)
    assert train | validation == {(i, i % 2) for i in range(16) if i != 3}


def test_a_class_of_damaged_images_is_rejected(tmp_path):
    odd = np.repeat(JPEGS["y_train"], np.diff(JPEGS["off_train"])) == 1
    path = saved(tmp_path, JPEGS, jpg_train=np.where(odd, 0, JPEGS["jpg_train"]).astype(np.uint8))
    with pytest.raises(ValueError, match="no training image of class odd can be decoded: cannot decode image 1"):
        data.jpeg_images(path, batch_size=2, on_corrupt="skip")


def moved(split="train", **changes):
    """Offsets with changes at the indices ``_i``."""
    offsets = JPEGS[f"off_{split}"].copy()
    for index, offset in changes.items():
        offsets[int(index[1:])] = offset
    return offsets


BIG = encoded(picture(3, (7, 6)))
INVALID_ARRAYS = {
    "floats": (
        "image_arrays",
        dict(x_train=X[:20] / 255),
        r"x_train must be uint8 .* got float64 of shape \(20, 5, 4, 3\)",
    ),
    "axes": ("image_arrays", dict(x_test=X[20:, 0, 0]), r"x_test must be uint8 .* got uint8 of shape \(10, 3\)"),
    "channels first": (
        "image_arrays",
        dict(x_train=np.zeros((20, 3, 8, 8), np.uint8)),
        "x_train must have its channels last",
    ),
    "shapes": (
        "image_arrays",
        dict(x_test=X[20:, :4]),
        "must have the shape of the training examples, 5x4x3, got 4x4x3",
    ),
    "labels": (
        "image_arrays",
        dict(y_test=np.zeros(9, int)),
        "y_test must have one target for each of 10 images in x_test, got 9",
    ),
    "columns": ("image_arrays", dict(y_train=np.eye(20)), r"y_train must be \[N\], got shape \(20, 20\)"),
    "class to test": (
        "image_arrays",
        dict(y_test=np.full(10, 7)),
        "class 7 must occur in the training split, got it only in the test split",
    ),
    "labels of no class": (
        "image_arrays",
        dict(y_test=np.full(10, np.nan)),
        "labels of the test split must not be NaN, got nan in example 0",
    ),
    "classes": ("image_arrays", dict(classes=np.array("odd")), r"classes must have shape \[C\], got \(\)"),
    "missing": ("image_arrays", dict(y_test=None), "must have the arrays y_test"),
    "objects": ("image_arrays", dict(y_test=np.array([{}] * 10)), "must be an npz file of plain arrays"),
    "label": (
        "jpeg_images",
        dict(y_train=np.arange(16)),
        "y_train must be class indices from 0 to 1, got 2 for image 2",
    ),
    "names as labels": (
        "jpeg_images",
        dict(y_test=np.array(["odd"] * 6)),
        "y_test must be integer class indices, got <U3",
    ),
    "offsets": ("jpeg_images", dict(off_train=moved()[:-1]), "off_train must be 17 integers for 16 labels"),
    "offset back": (
        "jpeg_images",
        dict(off_train=moved(_5=10)),
        "off_train must increase .*, got bytes .* to 10 for image 4",
    ),
    "offset out": ("jpeg_images", dict(off_test=moved("test", _6=10**9)), "off_test must increase .* for image 5"),
    "bytes": ("jpeg_images", dict(jpg_train=JPEGS["jpg_train"].astype(int)), "jpg_train must be uint8 with one axis"),
    "sizes": (
        "jpeg_images",
        dict(
            jpg_test=np.concatenate([JPEGS["jpg_test"], np.frombuffer(BIG, np.uint8)]),
            off_test=np.append(JPEGS["off_test"], len(JPEGS["jpg_test"]) + len(BIG)),
            y_test=np.zeros(7, int),
        ),
        "image 6 of jpg_test in .* must have the size of the first image, 6 x 6, got 7 x 6; `size` resizes",
    ),
}


@pytest.mark.parametrize("reader, changes, message", INVALID_ARRAYS.values(), ids=INVALID_ARRAYS)
def test_invalid_arrays_are_rejected(tmp_path, reader, changes, message):
    arrays, options = (ARRAYS, {}) if reader == "image_arrays" else (JPEGS, {"on_corrupt": "skip"})
    with pytest.raises(ValueError, match=message):
        getattr(data, reader)(saved(tmp_path, arrays, **changes), batch_size=2, **options)


def test_decoding_stops_at_the_first_corrupt_file(tmp_path, monkeypatch):
    decoded = []
    decode = image_files.decode
    monkeypatch.setattr(image_files, "decode", lambda *given: (decoded.append(1), decode(*given))[1])
    path = folder(tmp_path, ("train", "test"), count=300)
    (tmp_path / "train" / "cat" / "000.png").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot decode"):
        data.images(path, size=6, batch_size=2)
    assert len(decoded) < 300


def test_batches_of_digits_equal_those_of_older_versions():
    """Runs of older versions resume with the same batches."""
    dataset = data.digits(batch_size=6, seed=5)
    assert dataset.fingerprint.startswith("a4682d17a50061452e5910ab80119bd5")
    assert dataset.train[40]["targets"].tolist() == [4, 0, 7, 9, 7, 7]
    assert dataset.splits["validation"][1]["targets"].tolist() == [8, 5, 6, 1, 9, 1]
