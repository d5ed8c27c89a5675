"""Nested dicts of arrays as safetensors files, a format that holds numbers and nothing that could be executed."""

import json
import os
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import IO, Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxnets.ops.files import open_regular
from jaxnets.ops.memory import check_memory
from jaxnets.ops.printable import MAX_MESSAGE_LENGTH, printable
from jaxnets.weights.check import listed
from jaxnets.weights.foreign_files import what_is_wrong

# What safetensors calls the dtypes. It has others, of 4 and 6 bits, which no array of numpy holds as they are packed.
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "C64": np.dtype(np.complex64),
    "BF16": np.dtype(jnp.bfloat16),
    "F8_E4M3": np.dtype(jnp.float8_e4m3fn),
    "F8_E4M3FNUZ": np.dtype(jnp.float8_e4m3fnuz),
    "F8_E5M2": np.dtype(jnp.float8_e5m2),
    "F8_E5M2FNUZ": np.dtype(jnp.float8_e5m2fnuz),
    "F8_E8M0": np.dtype(jnp.float8_e8m0fnu),
    **{f"F{8 * size}": np.dtype(f"f{size}") for size in (2, 4, 8)},
    **{f"{kind.upper()}{8 * size}": np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)},
}
RESERVED = "__metadata__"

# Of the header, which is parsed into objects of up to thirty times its size: a hundred thousand arrays.
MAX_HEADER = 2**24
SAFETENSORS_HEADER = 100_000_000  # what safetensors itself refuses
LONGEST_NAME = 1000  # characters of an array's name; each dot in it is a dict within a dict


def write(path: str | PathLike[str], tree: Mapping[str, Any]) -> None:
    """Writes a nested dict of arrays; the names of a leaf are joined with dots. None and empty dicts leave no trace.

    Raises:
        ValueError: Two leaves would get the same name (both are named), or a leaf is not an array of a dtype that
            safetensors has.
    """
    if not isinstance(tree, Mapping):
        raise ValueError(f"a nested dict of arrays must be given, got {type(tree).__name__}")
    flat: dict[str, np.ndarray] = {}
    origins: dict[str, tuple[Any, ...]] = {}
    for keys, leaf in _leaves(tree):
        name = ".".join(map(str, keys))
        if name in flat:
            pair = " and ".join("".join(f"[{key!r}]" for key in each) for each in (origins[name], keys))
            raise ValueError(f"every leaf must have a name of its own, got two named {name}: {pair}")
        flat[name], origins[name] = _writable(name, leaf), keys
    save_file(flat, path)


def read(path: str | PathLike[str]) -> dict[str, Any]:
    """The nested dict of arrays that ``write`` wrote, in their own dtypes.

    Raises:
        ValueError: The file is missing, is not a safetensors file, holds a dtype that numpy lacks, or has an array
            whose name is the beginning of another's, as quantized files do.
    """
    tree: dict[str, Any] = {}
    arrays = read_flat(path)
    for name, value in arrays.items():
        *parents, last = name.split(".")
        node = tree
        for depth, parent in enumerate(parents, 1):
            above = ".".join(parents[:depth])
            if above in arrays:
                above, name = printable(above, 60), printable(name, 60)
                raise ValueError(
                    f"{printable(path)}: {above} and {name} do not fit into one nested dict, for {above} is an array; "
                    "safetensors.numpy.load_file reads a flat one"
                )
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def read_flat(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file under their full names, in their own dtypes.

    Raises:
        ValueError: The file is missing, is not a safetensors file (the message says what it is, and how to convert
            it), is not a regular file, exceeds a limit (``MAX_HEADER``, ``LONGEST_NAME``, memory), or holds a dtype
            that numpy lacks. The message is one line.
    """
    try:
        if Path(path).is_dir():
            raise IsADirectoryError(path)
        with open_regular(Path(path)) as file:
            return _arrays(path, file)
    except (OSError, SafetensorError, MemoryError) as error:
        # Not cut: it may end with a line of Python that converts the file.
        problem = what_is_wrong(Path(path), error)
        raise ValueError(f"{printable(path, 140)} cannot be read as safetensors: {problem}") from error
    except ValueError as error:
        raise ValueError(printable(error, MAX_MESSAGE_LENGTH - 1)) from error


def _arrays(path: str | PathLike[str], file: IO[bytes]) -> dict[str, np.ndarray]:
    shown, size = printable(path), int.from_bytes(file.read(8), "little")
    if size in range(MAX_HEADER + 1, SAFETENSORS_HEADER + 1):
        raise ValueError(f"{shown}: the header must have at most {MAX_HEADER:,} bytes, got {size:,}")
    check_memory(shown, os.fstat(file.fileno()).st_size)
    with safe_open(path, "numpy"):  # compares the header with the file
        pass
    header = json.loads(file.read(size))
    header.pop(RESERVED, None)
    long = [name for name in header if len(name) > LONGEST_NAME]
    if long:
        raise ValueError(f"{shown}: names must have at most {LONGEST_NAME:,} characters, got {listed(long[:1])}")
    odd = [f"{name} {entry['dtype']}" for name, entry in header.items() if entry["dtype"] not in DTYPES]
    if odd:
        raise ValueError(f"{shown}: dtypes must be among {', '.join(DTYPES)}, got {listed(odd)}")
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        file.seek(8 + size + begin)
        data = np.fromfile(file, np.uint8, end - begin)
        try:
            arrays[name] = data.view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
        except (ValueError, OverflowError) as error:  # NumPy's limits: 64 axes, and sizes that it cannot count
            shape = printable(entry["shape"], 60)
            raise ValueError(f"{shown}: {printable(name, 60)} of shape {shape} must fit into numpy: {error}") from error
    return arrays


def _leaves(tree: Mapping[Any, Any], keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*keys, key))
        elif value is not None:
            yield (*keys, key), value


def _writable(name: str, leaf: Any) -> np.ndarray:
    if name == RESERVED:
        raise ValueError(f"names must not be {RESERVED}, which safetensors reserves")
    if isinstance(leaf, (list, tuple)):
        raise ValueError(f"{name} must be an array, or a dict of arrays, got {type(leaf).__name__}")
    try:
        array = np.asarray(leaf.detach() if hasattr(leaf, "detach") else leaf, order="C")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array, got {type(leaf).__name__}: {error}") from error
    if array.dtype.newbyteorder("=") not in DTYPES.values():
        raise ValueError(f"{name} must have a dtype that safetensors has, got {array.dtype}")
    return array
