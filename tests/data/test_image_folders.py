"""Folders as they are found: what is skipped and counted, what cannot be read, names in any encoding, wrong paths."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from raster_files import png
from test_images import JPEGS, folder, numbers, parts_of, saved

from jaxnets import data
from jaxnets.ops.files import write_atomically
from jaxnets.ops.printable import printable, valid_unicode
from jaxnets.training import descriptions

PIXELS = np.full((6, 6, 3), 77)
IMAGE = png(PIXELS, 8, 2)


def read(path, **options):
    return data.images(str(path), **{"size": 6, "batch": 2, **options})


def skipped(made):
    """What the description has of it."""
    return made.description.partition(" to test on")[2]


def test_nothing_skipped_is_not_mentioned(tmp_path):
    assert skipped(read(folder(tmp_path))) == ""


@pytest.mark.parametrize("parts", [("",), ("train", "test")], ids=["classes", "parts"])
@pytest.mark.parametrize("memory", [1, 0])
def test_all_that_is_skipped_is_counted(tmp_path, parts, memory):
    root = tmp_path / "images"
    path = folder(root, parts)
    cat = root / parts[0] / "cat"
    elsewhere = shutil.copytree(cat, tmp_path / "elsewhere")
    for i in range(3):
        (cat / f"{i}.HEIC").write_bytes(IMAGE)
    for i in range(2):
        (cat / f"plain{i}").write_bytes(IMAGE)
    (cat / ".hidden.png").write_bytes(IMAGE)
    (cat / ".cache").mkdir()
    (root / parts[0] / "__MACOSX").mkdir()
    (root / "loose.png").write_bytes(IMAGE)
    (root / "labels.csv").write_text("a,b")
    (cat / "more").symlink_to(elsewhere)
    (cat / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (cat / "round.png").symlink_to(cat / "round.png")
    os.mkfifo(cat / "pipe.png")
    (cat / "device.png").symlink_to("/dev/zero")
    made = read(path, memory=memory)
    assert skipped(made).removeprefix("; decoded as they are needed") == (
        "; 8 files skipped: 3 .heic, 2 beside the classes, 2 without suffix, 1 hidden"
        "; 2 broken links skipped; 2 hidden folders skipped; 1 linked folder skipped; 2 special files skipped"
    )
    assert sum(map(len, parts_of(made))) == 16 * len(parts)


def test_many_kinds_of_skipped_files_are_summed_up(tmp_path):
    path = folder(tmp_path, ("",))
    for i in range(9):
        (tmp_path / "cat" / f"a.x{i}").touch()
    (tmp_path / "cat" / ("a.x0" + "y" * 100 + "\n")).touch()
    text = skipped(read(path))
    assert text.startswith("; 10 files skipped: ")
    assert text.endswith("5 of 5 other kinds")
    assert "\n" not in text


def test_links_to_files_and_to_folders_of_classes_are_followed(tmp_path):
    path = folder(tmp_path / "images", ("",))
    cow = tmp_path / "cow"
    shutil.move(tmp_path / "images" / "dog", cow)
    (tmp_path / "images" / "dog").symlink_to(cow)
    (tmp_path / "one.png").write_bytes(IMAGE)
    (tmp_path / "images" / "dog" / "one.png").symlink_to(tmp_path / "one.png")
    made = read(path)
    assert (77, 1) in set.union(*parts_of(made))
    assert skipped(made) == ""


def unreadable(monkeypatch, path, name):
    """Makes ``os.name`` fail at one path: a mode would not stop a superuser."""
    function = getattr(os, name)

    def guarded(given, *rest, **options):
        if Path(given) == path:
            raise PermissionError(13, "Permission denied", str(given))
        return function(given, *rest, **options)

    monkeypatch.setattr(os, name, guarded)


@pytest.mark.parametrize("where", ["", "train", "train/cat", "train/cat/more/deep"])
@pytest.mark.parametrize("corrupt", ["refuse", "skip"])
def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch, where, corrupt):
    path = folder(tmp_path)
    (tmp_path / "train/cat/more/deep").mkdir(parents=True)
    unreadable(monkeypatch, tmp_path / where, "scandir")
    with pytest.raises(ValueError, match=f"cannot read folder {tmp_path / where}: Permission denied"):
        read(path, corrupt=corrupt)


@pytest.mark.parametrize("memory", [1, 0])
def test_a_file_that_cannot_be_read_is_named_or_skipped(tmp_path, monkeypatch, memory):
    path = folder(tmp_path)
    file = tmp_path / "train/cat/003.png"
    unreadable(monkeypatch, file, "open")
    with pytest.raises(ValueError, match=f"cannot read {file}: Permission denied"):
        read(path, memory=memory)
    made = read(path, memory=memory, corrupt="skip")
    assert f"; 1 corrupt image skipped, the first: cannot read {file}: Permission denied" in made.description


def test_a_file_that_becomes_a_pipe_is_named_when_it_is_met(tmp_path):
    made = read(folder(tmp_path), memory=0)
    file = tmp_path / "test/dog/030.png"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ValueError, match=f"cannot read {file}: must be a regular file"):
        list(made.splits["test"])


NAMES = (b"$a$ \\frac{", b"caf\xe9", "e\u0301tude".encode(), b"line\nend\x1b[31m", "고양이".encode(), b"\xff\xfe")


def test_names_in_any_encoding(tmp_path):
    root = os.fsencode(tmp_path) + b"/\xe9\n"
    for number, name in enumerate(NAMES):
        os.makedirs(os.path.join(root, name))
        for i in range(4):
            with open(os.path.join(root, name, b"\xff\n%d.png" % i), "wb") as file:
                file.write(png(np.full((6, 6, 3), 40 * number), 8, 2))
    made = read(os.fsdecode(root), validation=0.2, test=0.2)
    found = set.union(*parts_of(made))
    assert {made.spec.names[label]: value for value, label in found} == {
        name.decode("utf-8", "backslashreplace"): 40 * number for number, name in enumerate(NAMES)
    }
    assert made.description.startswith(f"{tmp_path}/\\xe9\\n: 6 classes, ")
    made.description.encode()
    write_atomically(tmp_path / "data.json", json.dumps(descriptions.of(made), ensure_ascii=False))
    assert json.loads((tmp_path / "data.json").read_text("utf-8"))["targets"]["names"] == list(made.spec.names)
    with open(os.path.join(root, NAMES[0], b"\xff\n0.png"), "wb") as file:
        file.write(b"no image")
    with pytest.raises(ValueError, match=r"cannot decode .*/\\xe9\\n/\$a\$ \\frac\{/\\xff\\n0.png: not in") as raised:
        read(os.fsdecode(root))
    str(raised.value).encode()
    assert "\n" not in str(raised.value)


def test_json_files_keep_surrogates(tmp_path):
    """Of other readers, whose paths are as the user gave them."""
    source = {"source": "/data/caf\udce9/\ud83d"}
    write_atomically(tmp_path / "a.json", json.dumps(source, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == source


def test_classes_that_differ_in_their_normal_form_alone(tmp_path):
    path = folder(tmp_path, classes=("cat", "caf\u00e9"))
    (tmp_path / "test" / "caf\u00e9").rename(tmp_path / "test" / "cafe\u0301")
    with pytest.raises(ValueError, match="some are the same text in other Unicode normal forms"):
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
def test_printable_names(name, shown, saved):
    assert printable(name) == shown
    shown.encode()
    if saved != "":
        assert valid_unicode(name) == (name if saved is None else saved)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_images_of_few_pixels(tmp_path, size):
    path = folder(tmp_path)
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(png(np.full((*size, 3), 9), 8, 2))
    np.testing.assert_array_equal(read(path, size=4).train[0]["inputs"], np.full((2, 4, 4, 3), 9))


def test_no_rows_of_a_batch(tmp_path):
    for memory in (1, 0):
        made = read(folder(tmp_path / str(memory)), memory=memory).part(lambda count: np.arange(0))
        assert made.train[0]["inputs"].shape == (0, 6, 6, 3)


def loose(root):
    for name in ("1.png", "2.png", "notes.txt"):
        (root / name).write_bytes(IMAGE)
    return root


def class_without_images(root):
    path = folder(root, ("",))
    for file in (root / "dog").iterdir():
        file.rename(file.with_suffix(".heic"))
    return path


WRONG = {
    "empty path": (lambda root: "", "no folder at ''"),
    "user unknown": (lambda root: "~nobody-at-all/x", "no folder at ~nobody-at-all/x"),
    "null": (lambda root: "a\0b", r"no folder at a\\x00b"),
    "npz": (
        lambda root: saved(root, JPEGS),
        r"no folder at .*a.npz \(a file is there; data.image_arrays and data.jpeg",
    ),
    "no classes": (loose, "a folder for each of two or more classes expected; images there without one: 2"),
    "one class": (
        lambda root: Path(folder(root, ("",)), "cat"),
        "two or more classes expected; images there .* one: 8",
    ),
    "no images": (class_without_images, r"class folder .*/dog holds no image; 8 files skipped: 8 \.heic"),
}


@pytest.mark.parametrize("make, message", WRONG.values(), ids=WRONG)
def test_wrong_folders(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        read(make(tmp_path))


@pytest.mark.parametrize("reader", [data.image_arrays, data.jpeg_images])
def test_a_folder_where_an_npz_file_is_expected(tmp_path, reader):
    with pytest.raises(ValueError, match="must be an npz file, got a folder; data.images reads folders of images"):
        reader(folder(tmp_path))


def test_an_npz_file_of_no_images(tmp_path):
    none = {"jpg_train": JPEGS["jpg_train"][:0], "off_train": np.zeros(1, int), "y_train": np.zeros(0, int)}
    with pytest.raises(ValueError, match="y_train must hold at least one label, got none"):
        data.jpeg_images(saved(tmp_path, JPEGS, **none))


def test_names_of_classes_as_bytes(tmp_path):
    made = data.jpeg_images(saved(tmp_path, JPEGS, classes=np.array([b"caf\xe9", "é".encode()])), batch_size=4)
    assert made.spec.names == (r"caf\xe9", "é")
    assert len(numbers(made.splits["test"])) == 6


def test_decoded_images_beyond_the_memory_of_the_machine_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"16 x 10000000 x 10000000 x 3 bytes of .*: 4,800,000.0 GB; must fit into"):
        data.jpeg_images(saved(tmp_path, JPEGS), size=10**7)
