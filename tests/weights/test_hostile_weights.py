"""Malicious weight files, which try to block the reader, exhaust memory, or write control characters to a terminal."""

import json
import os
import struct

import numpy as np
import pytest
from hostile_files import listening, time_limit

from jaxnets import convolution, weights
from jaxnets.weights import files

HARMFUL = "\x1b[2J\n\u202e\x07"
NETWORK = convolution.ResNet((1,), num_classes=2)
READERS = [weights.read, weights.from_torch, lambda path: weights.from_torchvision(path, NETWORK)]


def is_one_line(message: str, max_length: int = 300) -> bool:
    return message.isprintable() and "\u202e" not in message and len(message) <= max_length


SPECIAL = {
    "pipe": os.mkfifo,
    "socket": listening,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path.name),
    "broken link": lambda path: path.symlink_to("nothing"),
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("suffix", ["", ".pt", ".npz", ".safetensors"])
def test_special_files_are_rejected_immediately(tmp_path, kind, suffix):
    path = tmp_path / f"a{suffix}"
    SPECIAL[kind](path)
    for read in READERS:
        with (
            time_limit(5),
            pytest.raises(ValueError, match="must be a regular file, got a |cannot be read as safetensors"),
        ):
            read(path)


def test_symbolic_links_to_files_are_followed(tmp_path):
    weights.write(tmp_path / "a", {"a": np.ones(2)})
    (tmp_path / "b").symlink_to("a")
    np.testing.assert_array_equal(weights.read(tmp_path / "b")["a"], np.ones(2))


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def written(header: object, data: bytes = bytes(4)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


WRONG = {
    "control characters": written({HARMFUL: {**ENTRY, "dtype": "F6_E2M3"}}, bytes(4)),
    "unknown dtype": written({"a": {**ENTRY, "dtype": HARMFUL * 200}}),
    "long name": written({"a" * (files.MAX_NAME_LENGTH + 1): ENTRY}),
    "long name of control characters": written({"\x1b" * (files.MAX_NAME_LENGTH + 1): ENTRY}),
    "100 axes": written({"a": {**ENTRY, "shape": [1] * 100}}),
    "100,000 axes": written({"a": {**ENTRY, "shape": [1] * 10**5}}),
    "axis of 2^63": written({"a": {**ENTRY, "shape": [0, 2**63], "data_offsets": [0, 0]}}, b""),
    "axis of 2^64": written({"a": {**ENTRY, "shape": [0, 2**64], "data_offsets": [0, 0]}}, b""),
    "nested lists": written(b"[" * 10**6),
    "nested objects": written(b'{"a":' * 10**6),
    "fractional axis": written({"a": {**ENTRY, "shape": [0.5]}}),
    "NaN axis": written(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}'),
    "metadata that is a list": written({"__metadata__": [1]}, b""),
    "reversed offsets": written({"a": {**ENTRY, "data_offsets": [4, 0]}}),
    "offset of 2^63": written({"a": {**ENTRY, "shape": [2**61], "data_offsets": [0, 2**63]}}),
    "gap between arrays": written({"a": ENTRY, "b": {**ENTRY, "data_offsets": [8, 12]}}, bytes(12)),
    "large header": struct.pack("<Q", files.MAX_HEADER + 1) + b"{}",
    "all ones": b"\xff" * 64,
}


@pytest.mark.parametrize("name", WRONG)
def test_invalid_headers_give_one_line_errors(tmp_path, name):
    path = tmp_path / f"{HARMFUL}.safetensors"
    path.write_bytes(WRONG[name])
    for read in READERS:
        with time_limit(5), pytest.raises(ValueError, match=r"\\x1b\[2J\\n\\u202e\\x07\.safetensors") as error:
            read(path)
        assert is_one_line(str(error.value))


def test_headers_and_names_of_maximum_length_are_accepted(tmp_path, monkeypatch):
    tree = {"a" * files.MAX_NAME_LENGTH: np.ones(2, np.float32)}
    weights.write(tmp_path / "a", tree)
    size = int.from_bytes((tmp_path / "a").read_bytes()[:8], "little")
    monkeypatch.setattr(files, "MAX_HEADER", size)
    assert list(weights.read(tmp_path / "a")) == list(tree)
    monkeypatch.setattr(files, "MAX_HEADER", size - 1)
    with pytest.raises(ValueError, match=f"the header must have at most {size - 1:,} bytes, got {size:,}"):
        weights.read(tmp_path / "a")


@pytest.mark.parametrize("key", [HARMFUL, HARMFUL * 10**5, "\ud800", "a" * 10**7, "\u202eweight_ih_l0"])
def test_invalid_keys_give_one_line_errors(key):
    wrong = {key: np.ones(3, np.float32)}
    converters = [
        lambda: weights.from_torch(wrong),
        lambda: weights.from_torch({"module." + key: np.ones(3), key: np.ones(3)}),
        lambda: weights.from_torchvision(wrong, NETWORK),
        lambda: weights.from_keras([wrong]),
        lambda: weights.to_torch(wrong),
        lambda: weights.to_torchvision({"params": wrong}, NETWORK),
    ]
    for convert in converters:
        with time_limit(5), pytest.raises(ValueError) as error:
            convert()
        assert is_one_line(str(error.value), 1500), str(error.value)[:2000]
