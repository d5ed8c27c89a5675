"""Images as examples: readers of folders and npz files, what is decoded how, and what is told about what is wrong."""

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
    """A plain image of a color of its own."""
    return np.full((*size, 3), (number, 2 * number, 255 - number), np.uint8)


def folder(root, parts=("train", "test"), classes=("cat", "dog"), count=8, kind="png"):
    """Plain images; the number of a file is in its name and its first channel."""
    number = 0
    for part in parts:
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for _ in range(count):
                (root / part / name / f"{number:03}.{kind}").write_bytes(encoded(picture(number)))
                number += 1
    return str(root)


def numbers(batches):
    """Which pictures are in a part, and their classes."""
    return {
        (int(image[0, 0, 0]), int(target))
        for batch in batches
        for image, target, real in zip(batch["inputs"], batch["targets"], batch["mask"], strict=True)
        if real
    }


def parts_of(made):
    train = numbers(made.train[i] for i in range(30))
    return train, numbers(made.splits["validation"]), made.splits.get("test") and numbers(made.splits["test"])


def test_digits_and_idx_files_as_images(tmp_path):
    made, rows = data.digits("images", batch_size=4), data.digits(batch_size=4)
    inputs = made.train[0]["inputs"]
    assert inputs.shape == (4, 8, 8, 1)
    assert inputs.dtype == np.uint8
    np.testing.assert_array_equal(inputs[..., 0], np.round(rows.train[0]["inputs"] * 255))
    assert inputs.max() == 255
    assert set(made.train[0]) == {"inputs", "targets", "mask"}
    path = mnist_folder(tmp_path)
    made, rows = data.idx(path, "images", batch_size=5), data.idx(path, batch_size=5)
    assert made.splits["test"][0]["inputs"].dtype == np.uint8
    np.testing.assert_allclose(
        made.splits["test"][0]["inputs"][..., 0] / 255, rows.splits["test"][0]["inputs"], rtol=1e-6
    )


def test_a_folder_with_parts_is_read_as_they_are(tmp_path):
    made = data.images(folder(tmp_path), size=6, batch_size=4, validation_fraction=0.25)
    assert made.spec.names == ("cat", "dog")
    assert made.train[0]["inputs"].shape == (4, 6, 6, 3)
    assert made.train[0]["inputs"].dtype == np.uint8
    train, validation, test = parts_of(made)
    assert test == {(i, int(i >= 24)) for i in range(16, 32)}
    assert train | validation == {(i, int(i >= 8)) for i in range(16)}
    assert len(validation) == 4 and not train & validation
    assert "12 examples of 6x6x3 to learn from, 4 to validate on, 16 to test on" in made.description


def test_a_part_to_validate_on_is_not_drawn(tmp_path):
    made = data.images(folder(tmp_path, ("Training", "val")), size=6, batch_size=4)
    train, validation, test = parts_of(made)
    assert (len(train), len(validation), test) == (16, 16, None)
    other = data.images(folder(tmp_path / "three", ("train", "valid", "testing")), size=6, batch_size=4)
    assert [len(part) for part in parts_of(other)] == [16, 16, 16]


def test_a_folder_of_classes_is_split_by_the_seed_class_by_class(tmp_path):
    path = folder(tmp_path, ("",), ("a", "b", "valid"), count=20)
    read = lambda seed: parts_of(
        data.images(path, size=6, batch_size=4, validation_fraction=0.25, test_fraction=0.2, seed=seed)
    )
    train, validation, test = read(0)
    assert len(train | validation | test) == len(train) + len(validation) + len(test) == 60
    for part, count in ((test, 12), (validation, 12)):
        of_class = np.bincount([label for _, label in part])
        assert of_class.sum() == count and of_class.min() >= 2
    assert read(0)[2] == test
    assert read(1)[2] != test


def test_what_is_no_image_is_passed_over_and_below_is_looked_into(tmp_path):
    path = folder(tmp_path, ("",), count=3)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / "._000.png").write_bytes(b"of a Mac")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "cat" / "more").mkdir()
    (tmp_path / "cat" / "more" / "A.PNG").write_bytes(encoded(picture(99)))
    made = data.images(path, size=6, batch_size=1, validation_fraction=0.3, test_fraction=0.3)
    assert (99, 0) in set.union(*parts_of(made))


def test_images_that_do_not_fit_into_memory_are_decoded_as_they_are_needed(tmp_path):
    path = folder(tmp_path)
    now, later = (data.images(path, size=4, batch_size=4, memory_limit=memory) for memory in (1, 0))
    assert "decoded as they are needed" in later.description
    some = lambda made: [made.train[5], *made.splits["validation"], *made.splits["test"]]
    for one, other in zip(some(now), some(later), strict=True):
        assert other["inputs"].dtype == np.uint8
        for name, array in one.items():
            np.testing.assert_array_equal(other[name], array)


@pytest.mark.parametrize("memory", [1, 0])
def test_the_fingerprint_is_of_the_files(tmp_path, memory):
    path = folder(tmp_path)
    fingerprint = lambda: data.images(path, size=4, batch_size=4, memory_limit=memory).fingerprint
    before = fingerprint()
    assert fingerprint() == before
    (tmp_path / "train" / "cat" / "000.png").write_bytes(encoded(X[0]))
    changed = fingerprint()
    assert changed != before
    (tmp_path / "train" / "cat" / "000.png").rename(tmp_path / "train" / "cat" / "0.png")
    assert fingerprint() != changed


@pytest.mark.parametrize("memory", [1, 0])
@pytest.mark.parametrize("content", [b"", b"GIF89b", b"no image"], ids=["empty", "cut", "text"])
def test_a_corrupt_file_is_named_or_skipped(tmp_path, memory, content):
    path = folder(tmp_path)
    for name in ("002.png", "005.png"):
        (tmp_path / "train" / "cat" / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot decode .*train/cat/00[25].png: not in a format that Pillow knows"):
        data.images(path, size=6, batch_size=4, memory_limit=memory)
    made = data.images(path, size=6, batch_size=2, memory_limit=memory, on_corrupt="skip")
    assert "2 corrupt images skipped, the first: cannot decode" in made.description
    train, validation, test = parts_of(made)
    assert train | validation == {(i, int(i >= 8)) for i in range(16) if i not in (2, 5)}
    assert len(test) == 16


def test_a_body_that_is_cut_short_is_named_when_it_is_met(tmp_path):
    path = folder(tmp_path)
    file = tmp_path / "test" / "dog" / "025.png"
    file.write_bytes(encoded(RANDOM.integers(0, 256, (9, 9, 3)).astype(np.uint8))[:200])
    with pytest.raises(ValueError, match=f"cannot decode {file}: .*truncated"):
        data.images(path, size=6, batch_size=4)
    made = data.images(path, size=6, batch_size=4, memory_limit=0)
    with pytest.raises(ValueError, match=f"cannot decode {file}: .*truncated"):
        list(made.splits["test"])
    made = data.images(path, size=6, batch_size=4, memory_limit=0, on_corrupt="skip")
    assert f"1 corrupt image skipped, the first: cannot decode {file}" in made.description
    assert len(list(made.splits["test"])) > 0


@pytest.mark.parametrize("memory", [1, 0])
def test_whole_files_that_are_not_read_are_skipped_too(tmp_path, memory):
    path = folder(tmp_path)
    (tmp_path / "test" / "dog" / "a.tiff").write_bytes(encoded(np.ones((9, 9), np.float32), "TIFF"))
    made = data.images(path, size=6, batch_size=4, memory_limit=memory, on_corrupt="skip")
    assert "1 corrupt image skipped" in made.description
    assert len(parts_of(made)[2]) == 16


def test_an_image_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    path = folder(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for memory in (1, 0):
        with pytest.raises(ValueError, match=r"cannot decode .*000.png: .*decompression bomb"):
            data.images(path, size=6, batch_size=4, memory_limit=memory)


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
def test_images_of_every_kind_are_decoded(kind, pixels, expected):
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


def test_the_shorter_side_is_resized_and_the_middle_taken():
    y, x = np.mgrid[:40, :60]
    found = image_files.decode(encoded((2 * y + x).astype(np.uint8)), 20, 1)[..., 0]
    expected = 2 * (2 * np.arange(20)[:, None] + 0.5) + 10 + 2 * np.arange(20) + 0.5
    np.testing.assert_allclose(found[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1)
    stripes = np.tile(np.array([0, 255], np.uint8), (32, 16))
    assert np.ptp(image_files.decode(encoded(stripes), 8, 1)[:, 1:-1].astype(int)) < 8  # antialiased


def test_large_jpegs_are_antialiased_alike():
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


WRONG_IMAGES = {
    "floats": ("TIFF", np.ones((3, 3), np.float32), "pixels in floating point"),
    "32 bits": ("TIFF", np.full((3, 3), 10**6, np.int32), "pixels of more than 16 bits"),
}


@pytest.mark.parametrize("kind, pixels, message", WRONG_IMAGES.values(), ids=WRONG_IMAGES)
def test_pixels_that_mean_nothing_known_are_told(kind, pixels, message):
    with pytest.raises(ValueError, match=message):
        image_files.decode(encoded(pixels, kind), 0, 1)


def without(path, *removed):
    for name in removed:
        shutil.rmtree(os.path.join(path, name))
    return path


def alone(root):
    (root / "a.png").write_bytes(encoded(picture(1)))
    return str(root)


def emptied(path):
    for file in Path(path, "train", "dog").iterdir():
        file.unlink()
    return path


WRONG_FOLDERS = {
    "none": (lambda root: str(root / "none"), {}, "no folder at"),
    "nothing": (str, {}, "a folder for each of two or more classes expected; images there without one: 0"),
    "no class": (alone, {}, "images there without one: 1"),
    "one class": (lambda root: folder(root, classes=("cat",)), {}, "there is only cat"),
    "differ": (
        lambda root: without(folder(root, classes=("ape", "bee", "cat", "dog")), "test/bee", "train/ape", "train/dog"),
        {},
        "1 of train not in test: bee; 2 of test not in train: ape, dog",
    ),
    "no train": (lambda root: folder(root, ("test", "val")), {}, "has test, val, but no train"),
    "two to test": (lambda root: folder(root, ("train", "test", "testing")), {}, "two folders for test: test and test"),
    "empty class": (lambda root: emptied(folder(root)), {}, "class folder .*dog holds no image"),
    "too few": (lambda root: folder(root, ("",), count=1), {}, "too few images: 2 of 2 classes leave 0 for testing"),
    "nothing held out": (folder, {"validation": 0.01}, "16 of 2 classes leave 0 for validation"),
    "size": (folder, {"size": 0}, "`size` must be an integer of at least 1, got 0"),
    "channels": (folder, {"channels": 4}, "channels: 1 or 3; given 4"),
    "corrupt": (folder, {"corrupt": "ignore"}, "corrupt: refuse or skip; given 'ignore'"),
    "memory": (folder, {"memory": -1}, "memory: gigabytes, not below 0; given -1"),
    "test": (folder, {"test": 1.0}, "test: a part between 0 and 1; given 1"),
    "batch": (folder, {"batch": 20}, "14 to learn from, fewer than one batch of 20"),
}


@pytest.mark.parametrize("make, options, message", WRONG_FOLDERS.values(), ids=WRONG_FOLDERS)
def test_wrong_folders_are_told(tmp_path, make, options, message):
    with pytest.raises(ValueError, match=message):
        data.images(make(tmp_path), **{"size": 6, "batch": 2, **options})


def test_nothing_but_corrupt_files_is_told(tmp_path):
    path = folder(tmp_path)
    for file in (tmp_path / "test").rglob("*.png"):
        file.write_bytes(b"")
    for memory in (1, 0):
        with pytest.raises(ValueError, match=r"none of 16 images can be decoded; cannot decode .*test/cat/016.png"):
            data.images(path, size=6, batch_size=2, memory_limit=memory, on_corrupt="skip")


@pytest.mark.parametrize("memory", [1, 0])
def test_a_class_of_which_nothing_is_left_to_learn_from_is_told(tmp_path, memory):
    path = folder(tmp_path, classes=("ape", "cat", "dog"))
    for file in tmp_path.rglob("cat/*.png"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match="no image of class cat to learn from can be decoded; cannot .*train/cat/008"):
        data.images(path, size=6, batch_size=2, memory_limit=memory, on_corrupt="skip")


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


def test_arrays_of_images(tmp_path):
    made = data.image_arrays(saved(tmp_path, ARRAYS), batch_size=4, validation_fraction=0.2)
    np.testing.assert_array_equal(np.concatenate([b["inputs"][b["mask"]] for b in made.splits["test"]]), X[20:])
    assert made.train[0]["inputs"].dtype == np.uint8
    assert made.spec.names == ("0", "1")
    gray = dict(x_train=X[:20, ..., 0], x_test=X[20:, ..., 0], y_train=ARRAYS["y_train"][:, None])
    names = np.array(["odd", "even", "never"])
    made = data.image_arrays(saved(tmp_path, ARRAYS, **gray, classes=names), batch_size=4, validation_fraction=0.2)
    assert made.train[0]["inputs"].shape == (4, 5, 4, 1)
    assert made.spec.names == ("odd", "even")  # in the order of their numbers


def jpegs(part, count, first=0):
    files = [encoded(picture(first + i), "PNG") for i in range(count)]
    return {
        f"jpg_{part}": np.frombuffer(b"".join(files), np.uint8),
        f"off_{part}": np.cumsum([0, *map(len, files)]),
        f"y_{part}": np.arange(count) % 2,
    }


JPEGS = {**jpegs("train", 16), **jpegs("test", 6, 16), "classes": np.array(["even", "odd"])}
ZEROS = JPEGS["jpg_train"].copy()
ZEROS[JPEGS["off_train"][3] : JPEGS["off_train"][4]] = 0


def test_encoded_images_in_an_npz_file(tmp_path):
    made = data.jpeg_images(saved(tmp_path, JPEGS), batch_size=4, validation_fraction=0.25)
    train, validation, test = parts_of(made)
    assert train | validation == {(i, i % 2) for i in range(16)}
    assert test == {(i, i % 2) for i in range(16, 22)}
    assert made.spec.names == ("even", "odd")
    assert made.train[0]["inputs"].shape == (4, 6, 6, 3)
    small = data.jpeg_images(saved(tmp_path, JPEGS), size=3, channels=1, batch_size=4, validation_fraction=0.25)
    assert small.train[0]["inputs"].shape == (4, 3, 3, 1)


def test_damaged_bytes_are_told_by_number_or_skipped(tmp_path):
    path = saved(tmp_path, JPEGS, jpg_train=ZEROS)
    with pytest.raises(ValueError, match=r"cannot decode image 3 of jpg_train in .*a.npz: not in a format"):
        data.jpeg_images(path, batch_size=4)
    made = data.jpeg_images(path, batch_size=2, validation_fraction=0.25, on_corrupt="skip")
    assert "; 1 corrupt image skipped, the first: cannot decode image 3 of" in made.description
    train, validation, _ = parts_of(made)
    assert train | validation == {(i, i % 2) for i in range(16) if i != 3}


def test_a_class_of_which_no_bytes_are_left_is_told(tmp_path):
    odd = np.repeat(JPEGS["y_train"], np.diff(JPEGS["off_train"])) == 1
    path = saved(tmp_path, JPEGS, jpg_train=np.where(odd, 0, JPEGS["jpg_train"]).astype(np.uint8))
    with pytest.raises(ValueError, match="no image of class odd to learn from can be decoded; cannot decode image 1"):
        data.jpeg_images(path, batch_size=2, on_corrupt="skip")


def moved(part="train", **changes):
    offsets = JPEGS[f"off_{part}"].copy()
    for at, offset in changes.items():
        offsets[int(at[1:])] = offset
    return offsets


BIG = encoded(picture(3, (7, 6)))
WRONG_ARRAYS = {
    "floats": ("image_arrays", dict(x_train=X[:20] / 255), r"x_train as uint8 .* given float64 \(20, 5, 4, 3\)"),
    "axes": ("image_arrays", dict(x_test=X[20:, 0, 0]), r"x_test as uint8 .* given uint8 \(10, 3\)"),
    "channels first": ("image_arrays", dict(x_train=np.zeros((20, 3, 8, 8), np.uint8)), "with channels last"),
    "shapes": ("image_arrays", dict(x_test=X[20:, :4]), "to learn from are of 5x4x3, those to test on of 4x4x3"),
    "labels": ("image_arrays", dict(y_test=np.zeros(9, int)), "10 images in x_test, 9 in y_test"),
    "columns": ("image_arrays", dict(y_train=np.eye(20)), r"y_train as \[N\] expected; given shape \(20, 20\)"),
    "class to test": ("image_arrays", dict(y_test=np.full(10, 7)), "class 7 is in the test part only"),
    "labels of no class": ("image_arrays", dict(y_test=np.full(10, np.nan)), "label nan of example 0 in the test part"),
    "classes": ("image_arrays", dict(classes=np.array("odd")), r"classes as \[C\] expected; given shape \(\)"),
    "missing": ("image_arrays", dict(y_test=None), "has no y_test"),
    "objects": ("image_arrays", dict(y_test=np.array([{}] * 10)), "no npz file of plain arrays"),
    "label": ("jpeg_images", dict(y_train=np.arange(16)), "label 2 of image 2 in y_train is out of range: 2 classes"),
    "names as labels": ("jpeg_images", dict(y_test=np.array(["odd"] * 6)), "y_test as numbers of classes expected"),
    "offsets": ("jpeg_images", dict(off_train=moved()[:-1]), "off_train of 17 integers expected for 16 labels"),
    "offset back": ("jpeg_images", dict(off_train=moved(_5=10)), "off_train says that image 4 is bytes .* to 10 of"),
    "offset out": ("jpeg_images", dict(off_test=moved("test", _6=10**9)), "off_test says that image 5 is bytes"),
    "bytes": ("jpeg_images", dict(jpg_train=JPEGS["jpg_train"].astype(int)), r"jpg_train as uint8 \[bytes\]"),
    "sizes": (
        "jpeg_images",
        dict(
            jpg_test=np.concatenate([JPEGS["jpg_test"], np.frombuffer(BIG, np.uint8)]),
            off_test=np.append(JPEGS["off_test"], len(JPEGS["jpg_test"]) + len(BIG)),
            y_test=np.zeros(7, int),
        ),
        "image 6 of jpg_test in .* is of 7 x 6, others of 6 x 6; size= makes them equal",
    ),
}


@pytest.mark.parametrize("reader, changes, message", WRONG_ARRAYS.values(), ids=WRONG_ARRAYS)
def test_wrong_arrays_are_told(tmp_path, reader, changes, message):
    arrays, options = (ARRAYS, {}) if reader == "image_arrays" else (JPEGS, {"corrupt": "skip"})
    with pytest.raises(ValueError, match=message):
        getattr(data, reader)(saved(tmp_path, arrays, **changes), batch=2, **options)


def test_what_is_not_decoded_when_one_is_refused_is_not_decoded_any_more(tmp_path, monkeypatch):
    seen = []
    decode = image_files.decode
    monkeypatch.setattr(image_files, "decode", lambda *given: (seen.append(1), decode(*given))[1])
    path = folder(tmp_path, ("train", "test"), count=300)
    (tmp_path / "train" / "cat" / "000.png").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot decode"):
        data.images(path, size=6, batch_size=2)
    assert len(seen) < 300


def test_the_order_of_a_run_does_not_change_with_the_way_examples_are_taken():
    """Batches of the digits as they were before images were read: runs of older versions can go on."""
    made = data.digits(batch_size=6, seed=5)
    assert made.fingerprint.startswith("a4682d17a50061452e5910ab80119bd5")
    assert made.train[40]["targets"].tolist() == [4, 0, 7, 9, 7, 7]
    assert made.splits["validation"][1]["targets"].tolist() == [8, 5, 6, 1, 9, 1]
