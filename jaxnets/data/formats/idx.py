"""IDX files, the format of MNIST: a magic number, the sizes and the values, plain or gzipped."""

import math
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from jaxnets.data.checks import one_line_errors, open_data, path_of
from jaxnets.ops.host.compressed import append_blocks, read_blocks
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import printable

_MAX_HEADER = 4 + 4 * 255
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@one_line_errors
def read_idx(path: str | Path) -> np.ndarray:
    """Reads the array of an IDX file, and no more bytes than its header declares.

    Raises:
        ValueError: The file cannot be read, is not regular or not IDX, its size differs from that in the header, or it
            does not fit into memory.
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
    append_blocks(content, source, _MAX_HEADER)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or content[3] == 0:
        raise ValueError(f"{path} must be an IDX file, got a file that begins with {content[:4].hex(' ') or 'nothing'}")
    kind, rank = np.dtype(_TYPES[content[2]]), content[3]
    begin = 4 + 4 * rank
    if len(content) < begin:
        raise ValueError(f"{path} must have a header of {begin} bytes, got a file of {len(content)}")
    shape = struct.unpack(f">{rank}I", content[4:begin])
    expected = begin + kind.itemsize * math.prod(shape)
    check_memory(path, 2 * expected)  # one copy is made
    append_blocks(content, source, expected + 1)
    if len(content) != expected:
        given = "more" if len(content) > expected else len(content)
        raise ValueError(f"{path} must have {expected} bytes for shape {shape}, got {given}")
    try:
        return np.frombuffer(content, kind, offset=begin).reshape(shape).astype(kind.newbyteorder("="))
    except ValueError as error:  # limits of NumPy: 64 axes, and the number of elements
        raise ValueError(f"{path} must contain an array that NumPy supports, got {rank} axes: {error}") from error


@one_line_errors
def idx_folder(path: str) -> dict[str, np.ndarray]:
    """Reads a folder in the layout of MNIST: ``train-images``, ``train-labels``, ``t10k-images``, ``t10k-labels``.

    Raises:
        ValueError: A file is missing or cannot be read, or images and labels differ in number.
    """
    folder = path_of(path)
    if not folder.is_dir():
        raise ValueError(
            f"{printable(path)} must be a folder, got " + ("a file" if folder.exists() else "no such path")
        )
    arrays = {}
    for part in ("train", "t10k"):
        for kind, rank in (("images", 3), ("labels", 1)):
            file = _file(folder, f"{part}-{kind}", rank)
            array = read_idx(file)
            if array.ndim != rank:
                raise ValueError(f"{printable(file)} must have {rank} axes, got shape {array.shape}")
            arrays[f"{part}-{kind}"] = array
        images, labels = (len(arrays[f"{part}-{kind}"]) for kind in ("images", "labels"))
        if images != labels:
            raise ValueError(
                f"{printable(path)} must have one label per image, got {images} {part} images and {labels} labels"
            )
    return arrays


def _file(folder: Path, name: str, rank: int) -> Path:
    """Finds a file in the folder, or in a subfolder with the name of the file, as in the archive of Kaggle."""
    # Both "train-images-idx3-ubyte" and "train-images.idx3-ubyte" are common, with and without ".gz".
    pattern = f"{name}[.-]idx{rank}-ubyte*"
    named = sorted(folder.glob(pattern))
    inside = [file for each in named if each.is_dir() for file in sorted(each.glob(pattern))]
    files = [file for file in (*named, *inside) if not file.is_dir()]
    if not files:
        names = sorted(printable(each.name, 60) for each in folder.iterdir())
        raise ValueError(
            f"{printable(folder)} must contain {name}-idx{rank}-ubyte or {name}-idx{rank}-ubyte.gz, got "
            + (", ".join(names[:10]) or "nothing")
            + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        )
    return files[0]
