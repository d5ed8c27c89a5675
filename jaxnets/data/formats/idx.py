"""The IDX format of MNIST and its relatives: a magic number, the sizes, the bytes; plain or gzipped."""

import math
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from jaxnets.data.checks import one_line_errors, open_data, path_of
from jaxnets.ops.compressed import append_blocks, read_blocks
from jaxnets.ops.memory import check_memory
from jaxnets.ops.printable import printable

_LARGEST_HEAD = 4 + 4 * 255
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@one_line_errors
def read_idx(path: str | Path) -> np.ndarray:
    """The array in an IDX file; no more is read, or unpacked, than its head promises.

    Raises:
        ValueError: It cannot be read, is not a regular file, is no IDX file, is larger or smaller than its head
            promises, or that is more than memory holds.
    """
    shown = printable(path)
    with open_data(path) as file:
        try:
            return _array(shown, file)
        except OSError as error:
            raise ValueError(f"cannot read {shown}: {error.strerror or error}") from error
        except (EOFError, zlib.error) as error:
            raise ValueError(f"{shown} is damaged: {error}") from error


def _array(path: str, file: IO[bytes]) -> np.ndarray:
    content, source = bytearray(), read_blocks(file)
    append_blocks(content, source, _LARGEST_HEAD)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or content[3] == 0:
        raise ValueError(f"{path} is no IDX file: it begins with {content[:4].hex(' ') or 'nothing'}")
    kind, rank = np.dtype(_TYPES[content[2]]), content[3]
    begin = 4 + 4 * rank
    if len(content) < begin:
        raise ValueError(f"{path} is cut short: {len(content)} bytes, its head alone has {begin}")
    shape = struct.unpack(f">{rank}I", content[4:begin])
    expected = begin + kind.itemsize * math.prod(shape)
    check_memory(path, 2 * expected)  # it is copied once
    append_blocks(content, source, expected + 1)
    if len(content) != expected:
        given = "more" if len(content) > expected else len(content)
        raise ValueError(f"{path}: {expected} bytes expected for shape {shape}; it has {given}")
    try:
        return np.frombuffer(content, kind, offset=begin).reshape(shape).astype(kind.newbyteorder("="))
    except ValueError as error:  # NumPy's limits: 64 axes, and sizes that it cannot count
        raise ValueError(f"{path} must be an array that NumPy can hold, got {rank} axes: {error}") from error


@one_line_errors
def idx_folder(path: str) -> dict[str, np.ndarray]:
    """The arrays of MNIST's layout in a folder: ``train-images``, ``train-labels``, ``t10k-images``, ``t10k-labels``.

    Raises:
        ValueError: One is missing, cannot be read, or has another number of rows than its partner.
    """
    folder = path_of(path)
    if not folder.is_dir():
        raise ValueError(f"no folder at {printable(path)}" + ("; it is a file" if folder.exists() else ""))
    arrays = {}
    for part in ("train", "t10k"):
        for what, rank in (("images", 3), ("labels", 1)):
            file = _file(folder, f"{part}-{what}", rank)
            array = read_idx(file)
            if array.ndim != rank:
                raise ValueError(f"{printable(file)}: {rank} axes expected; given shape {array.shape}")
            arrays[f"{part}-{what}"] = array
        images, labels = (len(arrays[f"{part}-{what}"]) for what in ("images", "labels"))
        if images != labels:
            raise ValueError(f"{printable(path)}: {images} {part} images, but {labels} labels")
    return arrays


def _file(folder: Path, name: str, rank: int) -> Path:
    """The file of an array: in the folder, or in a folder of the file's name in it, as Kaggle unpacks MNIST."""
    # Both "train-images-idx3-ubyte" and "train-images.idx3-ubyte" are in circulation, with and without ".gz".
    pattern = f"{name}[.-]idx{rank}-ubyte*"
    named = sorted(folder.glob(pattern))
    inside = [file for each in named if each.is_dir() for file in sorted(each.glob(pattern))]
    files = [file for file in (*named, *inside) if not file.is_dir()]
    if not files:
        held = sorted(printable(each.name, 60) for each in folder.iterdir())
        raise ValueError(
            f"no {name}-idx{rank}-ubyte or .gz of it in {printable(folder)}; it holds "
            + (", ".join(held[:10]) or "nothing")
            + (f" and {len(held) - 10} more" if len(held) > 10 else "")
        )
    return files[0]
