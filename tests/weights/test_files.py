"""Weight files: name clashes, damaged files, and other formats, which are never unpickled."""

import io
import json
import pickle
import re
import struct
import zipfile

import jax
import numpy as np
import pytest
from safetensors.numpy import save, save_file

from jaxnets import convolution, weights

ONE, TWO = np.ones(2, np.float32), np.zeros(3)


@pytest.mark.parametrize(
    "tree, names",
    [
        ({"a.b": ONE, "a": {"b": TWO}}, "a.b: ['a.b'] and ['a']['b']"),
        ({"a": {"b": TWO}, "a.b": ONE}, "a.b: ['a']['b'] and ['a.b']"),
        ({0: ONE, "0": TWO}, "0: [0] and ['0']"),
        ({"x": {"a": {"b.c": ONE}, "a.b": {"c": TWO}}}, "x.a.b.c: ['x']['a']['b.c'] and ['x']['a.b']['c']"),
    ],
)
def test_name_clashes_are_rejected(tree, names, tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"names of arrays must be unique, got two named {names}")):
        weights.write(tmp_path / "w", tree)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("names", [("a", "a.b"), ("layer.weight", "layer.weight.absmax"), ("a", "a.b.c.d"), ("", ".a")])
def test_names_that_are_prefixes_of_others_are_rejected(names, tmp_path):
    save_file(dict(zip(names, (ONE, TWO), strict=True)), tmp_path / "w")
    with pytest.raises(ValueError, match=re.escape(f"{names[0]} and {names[1]} cannot be in one nested dict")):
        weights.read(tmp_path / "w")


@pytest.mark.parametrize(
    "tree, message",
    [
        ({"a": {"b": [ONE, TWO]}}, "a.b must be an array or a dict of arrays, got list"),
        ({"a": (ONE,)}, "a must be an array or a dict of arrays, got tuple"),
        ({"a": "text"}, "a must have a dtype that safetensors supports, got <U4"),
        ({"a": np.array([None])}, "a must have a dtype that safetensors supports, got object"),
        ({"a": np.ones(2, np.complex128)}, "a must have a dtype that safetensors supports, got complex128"),
        ({"a": jax.random.key(0)}, "a must be an array, got PRNGKeyArray"),
        ({"__metadata__": ONE}, "names must not be __metadata__"),
        ([ONE], "`tree` must be a nested dict of arrays, got list"),
    ],
)
def test_leaves_that_are_not_arrays_are_rejected(tree, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        weights.write(tmp_path / "w", tree)


class Bomb:
    """An object that fails the test when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def pickled(protocol=2):
    return pickle.dumps({"a": Bomb()}, protocol=protocol)


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def header(entries, data=b"\0" * 8):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


WHOLE = save({"a": ONE, "b": TWO})
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
FILES = {
    "x.pt": (zipped(**{"x__data.pkl": pickled()}), "a torch file, which is a pickle and can execute code"),
    "x.ckpt": (zipped(**{"archive__data.pkl": pickled()}), "torch.load('x.ckpt', weights_only=True), 'x.safetensors'"),
    "named.safetensors": (zipped(**{"x__data.pkl": pickled()}), "it is a torch file"),
    "old.pth": (pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickled(), "it is a torch file"),
    "pytorch_model.bin": (
        pickled(),
        "it is a pickle, which can execute code when it is loaded; if you trust it, convert",
    ),
    "x.pkl": (pickled(4), "it is a pickle"),
    "x.npz": (zipped(**{"a.npy": b""}), "jaxnets.weights.write('x.safetensors', dict(numpy.load('x.npz')))"),
    "x.npy": (b"\x93NUMPY\x01\x00", "it is a NumPy file"),
    "x.h5": (b"\x89HDF\r\n\x1a\n" + bytes(8), "it is an HDF5 file, possibly of Keras"),
    "x.keras": (zipped(**{"config.json": "{}", "model.weights.h5": b""}), "keras.saving.load_model('x.keras').layers"),
    "x.zip": (zipped(), "header too large"),
    "lfs.safetensors": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull downloads the file"),
    "x.index.json": (b'{"weight_map": {}}', "the index of a sharded file"),
    "empty": (b"", "header too small"),
    "truncated": (WHOLE[:-1], "incomplete metadata, file not fully covered"),
    "longer": (WHOLE + b"\0", "incomplete metadata, file not fully covered"),
    "half a header": (WHOLE[:40], "invalid header"),
    "long header": (struct.pack("<Q", 2**60) + WHOLE[8:], "header too large"),
    "text": (b"not weights, but a text that is longer", "header too large"),
    "shape": (header({"a": {**ENTRY, "shape": [3]}}), "invalid shape"),
    "large shape": (header({"a": {**ENTRY, "shape": [2**40, 2**40]}}), "overflow"),
    "negative shape": (header({"a": {**ENTRY, "shape": [-2]}}), "invalid value"),
    "offsets": (header({"a": {**ENTRY, "data_offsets": [4, 12]}}), "invalid offset"),
    "overlap": (header({"a": ENTRY, "b": ENTRY}), "invalid offset"),
    "unknown dtype": (header({"a": {**ENTRY, "dtype": "F99"}}), "unknown variant `F99`"),
    "list": (header([1]), "invalid type"),
    "not JSON": (struct.pack("<Q", 8) + b"\xff" * 8, "invalid UTF-8"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_other_formats_are_explained(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content)
    network = convolution.ResNet((1,), num_classes=2)
    for read in (weights.read, weights.from_torch, lambda path: weights.from_torchvision(path, network)):
        with pytest.raises(ValueError, match=f"^{name} cannot be read as safetensors: .*{re.escape(message)}"):
            read(name)


@pytest.mark.parametrize("dtype, count", [("F4", 16), ("F6_E2M3", 32), ("F6_E3M2", 32)])
def test_packed_dtypes_are_rejected(dtype, count, tmp_path):
    entry = {"dtype": dtype, "shape": [count], "data_offsets": [0, count * int(dtype[1]) // 8]}
    (tmp_path / "w").write_bytes(header({"a": entry}, bytes(entry["data_offsets"][1])))
    with pytest.raises(ValueError, match=f"dtypes must be among .*F8_E8M0.*, got a {dtype}"):
        weights.from_torch(tmp_path / "w")


def test_the_format_is_detected_by_content(tmp_path):
    for name in ("pytorch_model.bin", "x.pt", "without"):
        (tmp_path / name).write_bytes(WHOLE)
        np.testing.assert_array_equal(weights.read(tmp_path / name)["a"], ONE)


def test_missing_files_and_folders_are_explained(tmp_path):
    with pytest.raises(ValueError, match=r"none.safetensors cannot be read as safetensors: the file does not exist$"):
        weights.read(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match=r"the file does not exist; its suffix is that of a torch file.*torch\.load"):
        weights.from_torch(str(tmp_path / "none.pt"))
    for i in range(12):
        (tmp_path / f"model-{i:02}.safetensors").write_bytes(WHOLE)
    with pytest.raises(ValueError, match=r"it is a folder; .*: model-00\.safetensors, .*model-09.*, \.\.\. and 2 more"):
        weights.from_torch(tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_raise_nothing_but_value_errors(seed, tmp_path):
    """Random bytes are changed, removed and inserted."""
    random = np.random.default_rng(seed)
    path = tmp_path / "w"
    errors = 0
    for _ in range(50):
        content = bytearray(WHOLE)
        for _ in range(random.integers(1, 4)):
            start = int(random.integers(len(content)))
            end = start + int(random.integers(2))
            content[start:end] = random.integers(0, 256, random.integers(3), np.uint8).tobytes()
        path.write_bytes(content)
        try:
            weights.read(path)
        except ValueError:
            errors += 1
    assert errors > 25
