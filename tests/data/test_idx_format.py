"""IDX files as they are in circulation: names, folders, types, and what is wrong with them."""

import gzip
import itertools
import struct

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.formats.idx import idx_folder

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
RANDOM = np.random.default_rng(0)
ARRAYS = {
    "train-images": RANDOM.integers(0, 256, (40, 4, 5)),
    "train-labels": np.arange(40) % 4,
    "t10k-images": RANDOM.integers(0, 256, (12, 4, 5)),
    "t10k-labels": np.arange(12) % 4,
}


def idx_bytes(array, kind="u1"):
    head = bytes([0, 0, CODES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(">" + kind).tobytes()


def write(folder, place, pack=bytes, kinds=("u1", "u1")):
    """MNIST's four files at ``place``, with their names and their number of axes in it."""
    for name, array in ARRAYS.items():
        file = folder / place.format(name=name, rank=array.ndim)
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_bytes(pack(idx_bytes(array, kinds[array.ndim == 1])))


LAYOUTS = {
    "LeCun": ["{name}-idx{rank}-ubyte"],
    "a point": ["{name}.idx{rank}-ubyte"],
    "Kaggle": ["{name}-idx{rank}-ubyte/{name}-idx{rank}-ubyte", "{name}.idx{rank}-ubyte"],
    "Kaggle, folders alone": ["{name}-idx{rank}-ubyte/{name}-idx{rank}-ubyte"],
    "folders with points": ["{name}.idx{rank}-ubyte/{name}-idx{rank}-ubyte"],
    "an empty folder beside": ["{name}.idx{rank}-ubyte"],
}


@pytest.mark.parametrize("places", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("pack, suffix", [(bytes, ""), (gzip.compress, ".gz"), (bytes, ".gz"), (gzip.compress, "")])
def test_files_are_found_in_every_layout(tmp_path, places, pack, suffix):
    for place in places:
        write(tmp_path, place + suffix, pack)
    if places is LAYOUTS["an empty folder beside"]:
        (tmp_path / "train-images-idx3-ubyte").mkdir()
    for name, array in idx_folder(str(tmp_path)).items():
        np.testing.assert_array_equal(array, ARRAYS[name])
    made = data.idx(str(tmp_path), "images", batch_size=4)
    np.testing.assert_array_equal(made.splits["test"][0]["inputs"][..., 0], ARRAYS["t10k-images"][:4])


@pytest.mark.parametrize("pictures, numbers", list(itertools.product(CODES, repeat=2)))
def test_every_type_of_images_and_labels(tmp_path, pictures, numbers):
    write(tmp_path, "{name}-idx{rank}-ubyte", kinds=(pictures, numbers))
    made = data.idx(str(tmp_path), batch_size=4)
    expected = ARRAYS["t10k-images"].astype("u1").astype(pictures) / np.float32(255)
    np.testing.assert_allclose(made.splits["test"][0]["inputs"], expected[:4], rtol=1e-6)
    np.testing.assert_array_equal(
        np.concatenate([batch["targets"] for batch in made.splits["test"]]), ARRAYS["t10k-labels"]
    )
    if pictures != "u1":
        with pytest.raises(ValueError, match="train-images must be uint8, got"):
            data.idx(str(tmp_path), "images", batch_size=4)


def spoil(name, content):
    def run(folder):
        write(folder, "{name}-idx{rank}-ubyte")
        (folder / name).write_bytes(content)
        return folder

    return run


def remove(folder):
    write(folder, "{name}-idx{rank}-ubyte")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    for i in range(12):
        (folder / f"other{i:02}").touch()
    return folder


def file_alone(folder):
    write(folder, "{name}-idx{rank}-ubyte")
    return folder / "train-images-idx3-ubyte"


QUANTITIES = idx_bytes(ARRAYS["train-labels"] + 0.5, "f4")
WRONG = {
    "a file": (file_alone, "no folder at .*train-images-idx3-ubyte; it is a file"),
    "one missing": (remove, "no t10k-labels-idx1-ubyte or .gz of it in .*; it holds other00, .* and 5 more"),
    "magic": (
        spoil("train-images-idx3-ubyte", b"\1\0\x08\3" + bytes(16)),
        "is no IDX file: it begins with 01 00 08 03",
    ),
    "type": (spoil("train-images-idx3-ubyte", b"\0\0\x0a\3" + bytes(16)), "is no IDX file: it begins with 00 00 0a 03"),
    "no axes": (spoil("train-labels-idx1-ubyte", b"\0\0\x08\0\1"), "is no IDX file: it begins with 00 00 08 00"),
    "empty": (spoil("train-labels-idx1-ubyte", b""), "is no IDX file: it begins with nothing"),
    "too long": (spoil("train-labels-idx1-ubyte", idx_bytes(ARRAYS["train-labels"]) + b"\0"), "48 bytes expected"),
    "too short": (spoil("train-labels-idx1-ubyte", idx_bytes(ARRAYS["train-labels"])[:-1]), "it has 47"),
    "another head": (spoil("train-labels-idx1-ubyte", b"\0\0\x08\1\xff\xff\xff\xff"), "4294967303 bytes expected"),
    "huge and empty": (
        spoil("train-images-idx3-ubyte", b"\0\0\x08\3" + bytes(4) + b"\xff" * 8),
        "train-images-idx3-ubyte must be an array that NumPy can hold, got 3 axes|training split must have examples",
    ),
    "many axes": (spoil("train-images-idx3-ubyte", b"\0\0\x08\xff" + bytes(1020)), "got 255 axes"),
    "axes": (spoil("train-images-idx3-ubyte", idx_bytes(ARRAYS["train-labels"])), "3 axes expected; given shape"),
    "counts": (spoil("train-labels-idx1-ubyte", idx_bytes(np.arange(39))), "40 train images, but 39 labels"),
    "gzip": (spoil("t10k-images-idx3-ubyte", gzip.compress(bytes(99))[:-5]), "t10k-images-idx3-ubyte is damaged"),
    "quantities": (spoil("train-labels-idx1-ubyte", QUANTITIES), "got float32 with 0.5 in example 0"),
}


@pytest.mark.parametrize("make, message", WRONG.values(), ids=WRONG)
def test_wrong_folders_are_told(tmp_path, make, message):
    path = make(tmp_path)
    with pytest.raises(ValueError, match=message):
        data.idx(str(path), batch_size=4)


def test_a_file_is_read_by_its_name_too(tmp_path):
    (tmp_path / "a").write_bytes(idx_bytes(ARRAYS["train-labels"]))
    np.testing.assert_array_equal(data.read_idx(str(tmp_path / "a")), data.read_idx(tmp_path / "a"))
    with pytest.raises(ValueError, match="cannot read .*: Is a directory"):
        data.read_idx(str(tmp_path))
