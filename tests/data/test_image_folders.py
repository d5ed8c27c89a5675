"""Image folders of users: skipped files, unreadable files, names in any encoding, invalid paths."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from raster_files import png
from test_images import JPEGS, folder, numbers, saved, splits_of

from jaxnets import data
from jaxnets.ops.host.files import write_atomically
from jaxnets.ops.host.printable import printable, valid_unicode
from jaxnets.training import descriptions

PIXELS = np.full((6, 6, 3), 77)
IMAGE = png(PIXELS, 8, 2)


def read(path, **options):
    return data.images(str(path), **{"size": 6, "batch_size": 2, **options})


def skipped(dataset):
    """Returns the end of the description, about skipped files."""
    return dataset.description.partition(" test")[2]


def test_the_description_does_not_mention_zero_skipped_files(tmp_path):
    assert skipped(read(folder(tmp_path))) == ""


@pytest.mark.parametrize("splits", [("",), ("train", "test")], ids=["classes", "splits"])
@pytest.mark.parametrize("memory_limit", [1, 0])
def test_all_skipped_entries_are_counted(tmp_path, splits, memory_limit):
    root = tmp_path / "images"
    path = folder(root, splits)
    cat = root / splits[0] / "cat"
    elsewhere = shutil.copytree(cat, tmp_path / "elsewhere")
    for i in range(3):
        (cat / f"{i}.HEIC").write_bytes(IMAGE)
    for i in range(2):
        (cat / f"plain{i}").write_bytes(IMAGE)
    (cat / ".hidden.png").write_bytes(IMAGE)
    (cat / ".cache").mkdir()
    (root / splits[0] / "__MACOSX").mkdir()
    (root / "loose.png").write_bytes(IMAGE)
    (root / "labels.csv").write_text("a,b")
    (cat / "more").symlink_to(elsewhere)
    (cat / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (cat / "round.png").symlink_to(cat / "round.png")
    os.mkfifo(cat / "pipe.png")
    (cat / "device.png").symlink_to("/dev/zero")
    dataset = read(path, memory_limit=memory_limit)
    assert skipped(dataset).removeprefix("; decoded on demand") == (
        "; 8 files skipped: 3 .heic, 2 outside of class folders, 2 without suffix, 1 hidden"
        "; 2 broken links skipped; 2 hidden folders skipped; 1 linked folder skipped; 2 special files skipped"
    )
    assert sum(map(len, splits_of(dataset))) == 16 * len(splits)


def test_rare_kinds_of_skipped_files_are_summed_up(tmp_path):
    path = folder(tmp_path, ("",))
    for i in range(9):
        (tmp_path / "cat" / f"a.x{i}").touch()
    (tmp_path / "cat" / ("a.x0" + "y" * 100 + "\n")).touch()
    text = skipped(read(path))
    assert text.startswith("; 10 files skipped: ")
    assert text.endswith("5 of 5 other kinds")
    assert "\n" not in text


def test_links_to_files_and_to_class_folders_are_followed(tmp_path):
    path = folder(tmp_path / "images", ("",))
    cow = tmp_path / "cow"
    shutil.move(tmp_path / "images" / "dog", cow)
    (tmp_path / "images" / "dog").symlink_to(cow)
    (tmp_path / "one.png").write_bytes(IMAGE)
    (tmp_path / "images" / "dog" / "one.png").symlink_to(tmp_path / "one.png")
    dataset = read(path)
    assert (77, 1) in set.union(*splits_of(dataset))
    assert skipped(dataset) == ""


def unreadable(monkeypatch, path, name):
    """Makes a function of ``os`` fail at one path; file permissions do not apply to the superuser."""
    function = getattr(os, name)

    def guarded(given, *rest, **options):
        if Path(given) == path:
            raise PermissionError(13, "Permission denied", str(given))
        return function(given, *rest, **options)

    monkeypatch.setattr(os, name, guarded)


@pytest.mark.parametrize("where", ["", "train", "train/cat", "train/cat/more/deep"])
@pytest.mark.parametrize("on_corrupt", ["refuse", "skip"])
def test_an_unreadable_folder_is_rejected(tmp_path, monkeypatch, where, on_corrupt):
    path = folder(tmp_path)
    (tmp_path / "train/cat/more/deep").mkdir(parents=True)
    unreadable(monkeypatch, tmp_path / where, "scandir")
    with pytest.raises(ValueError, match=f"cannot read folder {tmp_path / where}: Permission denied"):
        read(path, on_corrupt=on_corrupt)


@pytest.mark.parametrize("memory_limit", [1, 0])
def test_an_unreadable_file_is_rejected_or_skipped(tmp_path, monkeypatch, memory_limit):
    path = folder(tmp_path)
    file = tmp_path / "train/cat/003.png"
    unreadable(monkeypatch, file, "open")
    with pytest.raises(ValueError, match=f"cannot read {file}: Permission denied"):
        read(path, memory_limit=memory_limit)
    dataset = read(path, memory_limit=memory_limit, on_corrupt="skip")
    assert f"; 1 corrupt image skipped, the first: cannot read {file}: Permission denied" in dataset.description


def test_a_file_that_becomes_a_pipe_is_an_error_when_its_batch_is_read(tmp_path):
    dataset = read(folder(tmp_path), memory_limit=0)
    file = tmp_path / "test/dog/030.png"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ValueError, match=f"cannot read {file}: must be a regular file"):
        list(dataset.splits["test"])


NAMES = (b"$a$ \\frac{", b"caf\xe9", "e\u0301tude".encode(), b"line\nend\x1b[31m", "고양이".encode(), b"\xff\xfe")


def test_folder_names_may_have_any_encoding(tmp_path):
    root = os.fsencode(tmp_path) + b"/\xe9\n"
    for number, name in enumerate(NAMES):
        os.makedirs(os.path.join(root, name))
        for i in range(4):
            with open(os.path.join(root, name, b"\xff\n%d.png" % i), "wb") as file:
                file.write(png(np.full((6, 6, 3), 40 * number), 8, 2))
    dataset = read(os.fsdecode(root), validation_fraction=0.2, test_fraction=0.2)
    found = set.union(*splits_of(dataset))
    assert {dataset.spec.names[label]: value for value, label in found} == {
        name.decode("utf-8", "backslashreplace"): 40 * number for number, name in enumerate(NAMES)
    }
    assert dataset.description.startswith(f"{tmp_path}/\\xe9\\n: 6 classes, ")
    dataset.description.encode()
    write_atomically(tmp_path / "data.json", json.dumps(descriptions.describe(dataset), ensure_ascii=False))
    assert json.loads((tmp_path / "data.json").read_text("utf-8"))["targets"]["names"] == list(dataset.spec.names)
    with open(os.path.join(root, NAMES[0], b"\xff\n0.png"), "wb") as file:
        file.write(b"no image")
    with pytest.raises(ValueError, match=r"cannot decode .*/\\xe9\\n/\$a\$ \\frac\{/\\xff\\n0.png: not in") as raised:
        read(os.fsdecode(root))
    str(raised.value).encode()
    assert "\n" not in str(raised.value)


def test_json_files_keep_surrogates(tmp_path):
    """Other readers save the paths of users unchanged."""
    source = {"source": "/data/caf\udce9/\ud83d"}
    write_atomically(tmp_path / "a.json", json.dumps(source, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == source


def test_classes_in_different_unicode_normal_forms_are_rejected(tmp_path):
    path = folder(tmp_path, classes=("cat", "caf\u00e9"))
    (tmp_path / "test" / "caf\u00e9").rename(tmp_path / "test" / "cafe\u0301")
    with pytest.raises(ValueError, match="some names differ only in their Unicode normalization"):
        read(path)


@pytest.mark.parametrize(
    "name, shown, saved",
    [
        ("plain é e\u0301 한 \u200d🏳", "plain é e\u0301 한 \u200d🏳", None),
        ("a\nb\tc\x1b\x7f\u2028", r"a\nb\tc\x1b\x7f\u2028", None),
        ("caf\udce9", r"caf\xe9", r"caf\xe9"),
        ("\ud83d", r"\ud83d", r"\ud83d"),
        (b"caf\xe9", r"caf\xe9", ""),
        ("a" * 150 + "b" * 150, "a" * 100 + "…" + "b" * 100, None),
    ],
)
def test_names_are_printable_and_valid_unicode(name, shown, saved):
    assert printable(name) == shown
    shown.encode()
    if saved != "":
        assert valid_unicode(name) == (name if saved is None else saved)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_images_of_few_pixels_are_resized(tmp_path, size):
    path = folder(tmp_path)
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(png(np.full((*size, 3), 9), 8, 2))
    np.testing.assert_array_equal(read(path, size=4).train[0]["inputs"], np.full((2, 4, 4, 3), 9))


def test_a_part_without_rows_is_empty(tmp_path):
    for memory_limit in (1, 0):
        dataset = read(folder(tmp_path / str(memory_limit)), memory_limit=memory_limit).part(lambda count: np.arange(0))
        assert dataset.train[0]["inputs"].shape == (0, 6, 6, 3)


def without_folders(root):
    for name in ("1.png", "2.png", "notes.txt"):
        (root / name).write_bytes(IMAGE)
    return root


def class_without_images(root):
    path = folder(root, ("",))
    for file in (root / "dog").iterdir():
        file.rename(file.with_suffix(".heic"))
    return path


INVALID = {
    "empty path": (lambda root: "", "no folder at ''"),
    "user unknown": (lambda root: "~nobody-at-all/x", "no folder at ~nobody-at-all/x"),
    "null": (lambda root: "a\0b", r"no folder at a\\x00b"),
    "npz": (
        lambda root: saved(root, JPEGS),
        r"no folder at .*a.npz \(it is a file; data.image_arrays and data.jpeg",
    ),
    "no classes": (
        without_folders,
        "must have folders for two or more classes, got none, and 2 images outside of a folder",
    ),
    "one class": (
        lambda root: Path(folder(root, ("",)), "cat"),
        "two or more classes, got none, and 8 images outside of a folder",
    ),
    "no images": (class_without_images, r"class folder .*/dog must have images, got none; 8 files skipped: 8 \.heic"),
}


@pytest.mark.parametrize("make, message", INVALID.values(), ids=INVALID)
def test_invalid_folders_are_rejected(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        read(make(tmp_path))


@pytest.mark.parametrize("reader", [data.image_arrays, data.jpeg_images])
def test_npz_readers_reject_a_folder(tmp_path, reader):
    with pytest.raises(ValueError, match="must be an npz file, got a folder; data.images reads folders of images"):
        reader(folder(tmp_path))


def test_an_npz_file_without_images_is_rejected(tmp_path):
    none = {"jpg_train": JPEGS["jpg_train"][:0], "off_train": np.zeros(1, int), "y_train": np.zeros(0, int)}
    with pytest.raises(ValueError, match="y_train must hold at least one label, got none"):
        data.jpeg_images(saved(tmp_path, JPEGS, **none))


def test_class_names_may_be_bytes(tmp_path):
    dataset = data.jpeg_images(saved(tmp_path, JPEGS, classes=np.array([b"caf\xe9", "é".encode()])), batch_size=4)
    assert dataset.spec.names == (r"caf\xe9", "é")
    assert len(numbers(dataset.splits["test"])) == 6


def test_decoded_images_beyond_the_memory_of_the_machine_are_rejected(tmp_path):
    with pytest.raises(
        ValueError, match=r"must fit into memory, .* got 16 x 10000000 x 10000000 x 3 bytes, 4,800,000.0 GB"
    ):
        data.jpeg_images(saved(tmp_path, JPEGS), size=10**7)
