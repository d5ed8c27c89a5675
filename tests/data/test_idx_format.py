"""IDX files: common names and folder layouts, types, and errors."""

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


def idx_bytes(array, dtype="u1"):
    header = bytes([0, 0, CODES[dtype], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(">" + dtype).tobytes()


def write(folder, pattern, compress=bytes, dtypes=("u1", "u1")):
    """Writes the four files of MNIST; ``pattern`` contains ``{name}`` and ``{rank}``."""
    for name, array in ARRAYS.items():
        file = folder / pattern.format(name=name, rank=array.ndim)
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_bytes(compress(idx_bytes(array, dtypes[array.ndim == 1])))


LAYOUTS = {
    "LeCun": ["{name}-idx{rank}-ubyte"],
    "dot": ["{name}.idx{rank}-ubyte"],
    "Kaggle": ["{name}-idx{rank}-ubyte/{name}-idx{rank}-ubyte", "{name}.idx{rank}-ubyte"],
    "Kaggle, only folders": ["{name}-idx{rank}-ubyte/{name}-idx{rank}-ubyte"],
    "folders with dots": ["{name}.idx{rank}-ubyte/{name}-idx{rank}-ubyte"],
    "empty folder": ["{name}.idx{rank}-ubyte"],
}


@pytest.mark.parametrize("patterns", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("compress, suffix", [(bytes, ""), (gzip.compress, ".gz"), (bytes, ".gz"), (gzip.compress, "")])
def test_files_are_found_in_every_layout(tmp_path, patterns, compress, suffix):
    for pattern in patterns:
        write(tmp_path, pattern + suffix, compress)
    if patterns is LAYOUTS["empty folder"]:
        (tmp_path / "train-images-idx3-ubyte").mkdir()
    for name, array in idx_folder(str(tmp_path)).items():
        np.testing.assert_array_equal(array, ARRAYS[name])
    dataset = data.idx(str(tmp_path), "images", batch_size=4)
    np.testing.assert_array_equal(dataset.splits["test"][0]["inputs"][..., 0], ARRAYS["t10k-images"][:4])


@pytest.mark.parametrize("images, labels", list(itertools.product(CODES, repeat=2)))
def test_images_and_labels_of_all_dtypes_are_read(tmp_path, images, labels):
    write(tmp_path, "{name}-idx{rank}-ubyte", dtypes=(images, labels))
    dataset = data.idx(str(tmp_path), batch_size=4)
    expected = ARRAYS["t10k-images"].astype("u1").astype(images) / np.float32(255)
    np.testing.assert_allclose(dataset.splits["test"][0]["inputs"], expected[:4], rtol=1e-6)
    np.testing.assert_array_equal(
        np.concatenate([batch["targets"] for batch in dataset.splits["test"]]), ARRAYS["t10k-labels"]
    )
    if images != "u1":
        with pytest.raises(ValueError, match="train-images must be uint8, got"):
            data.idx(str(tmp_path), "images", batch_size=4)


def replaced(name, content):
    """A function that writes all files, one of them with other content."""

    def make(folder):
        write(folder, "{name}-idx{rank}-ubyte")
        (folder / name).write_bytes(content)
        return folder

    return make


def incomplete(folder):
    write(folder, "{name}-idx{rank}-ubyte")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    for i in range(12):
        (folder / f"other{i:02}").touch()
    return folder


def single_file(folder):
    write(folder, "{name}-idx{rank}-ubyte")
    return folder / "train-images-idx3-ubyte"


QUANTITIES = idx_bytes(ARRAYS["train-labels"] + 0.5, "f4")
WRONG = {
    "file": (single_file, "train-images-idx3-ubyte must be a folder, got a file"),
    "missing file": (
        incomplete,
        "must contain t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz, got other00, .* and 5 more",
    ),
    "magic": (
        replaced("train-images-idx3-ubyte", b"\1\0\x08\3" + bytes(16)),
        "must be an IDX file, got a file that begins with 01 00 08 03",
    ),
    "type": (replaced("train-images-idx3-ubyte", b"\0\0\x0a\3" + bytes(16)), "got a file that begins with 00 00 0a 03"),
    "no axes": (replaced("train-labels-idx1-ubyte", b"\0\0\x08\0\1"), "got a file that begins with 00 00 08 00"),
    "empty": (replaced("train-labels-idx1-ubyte", b""), "got a file that begins with nothing"),
    "too long": (
        replaced("train-labels-idx1-ubyte", idx_bytes(ARRAYS["train-labels"]) + b"\0"),
        "must have 48 bytes for shape .*, got more",
    ),
    "too short": (
        replaced("train-labels-idx1-ubyte", idx_bytes(ARRAYS["train-labels"])[:-1]),
        "must have 48 bytes for shape .*, got 47",
    ),
    "wrong shape": (replaced("train-labels-idx1-ubyte", b"\0\0\x08\1\xff\xff\xff\xff"), "must have 4294967303 bytes"),
    "huge and empty": (
        replaced("train-images-idx3-ubyte", b"\0\0\x08\3" + bytes(4) + b"\xff" * 8),
        "train-images-idx3-ubyte must contain an array that NumPy supports, got 3 axes"
        "|training split must have examples",
    ),
    "many axes": (replaced("train-images-idx3-ubyte", b"\0\0\x08\xff" + bytes(1020)), "got 255 axes"),
    "axes": (replaced("train-images-idx3-ubyte", idx_bytes(ARRAYS["train-labels"])), "must have 3 axes, got shape"),
    "counts": (
        replaced("train-labels-idx1-ubyte", idx_bytes(np.arange(39))),
        "must have one label per image, got 40 train images and 39 labels",
    ),
    "gzip": (replaced("t10k-images-idx3-ubyte", gzip.compress(bytes(99))[:-5]), "t10k-images-idx3-ubyte is damaged"),
    "quantities": (replaced("train-labels-idx1-ubyte", QUANTITIES), "got float32 with 0.5 in example 0"),
}


@pytest.mark.parametrize("make, message", WRONG.values(), ids=WRONG)
def test_invalid_folders_are_rejected(tmp_path, make, message):
    path = make(tmp_path)
    with pytest.raises(ValueError, match=message):
        data.idx(str(path), batch_size=4)


def test_read_idx_accepts_strings_and_paths(tmp_path):
    (tmp_path / "a").write_bytes(idx_bytes(ARRAYS["train-labels"]))
    np.testing.assert_array_equal(data.read_idx(str(tmp_path / "a")), data.read_idx(tmp_path / "a"))
    with pytest.raises(ValueError, match="cannot read .*: Is a directory"):
        data.read_idx(str(tmp_path))
