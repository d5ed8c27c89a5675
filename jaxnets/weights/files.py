"""Nested dicts of arrays in safetensors files, a format that contains no executable code."""

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

from jaxnets.ops.host.files import open_regular
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import MAX_MESSAGE_LENGTH, printable
from jaxnets.weights.check import listed
from jaxnets.weights.foreign_files import explain_error

# Dtypes by their names in safetensors. Its packed dtypes of 4 and 6 bits have no NumPy equivalent.
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

# The header is parsed into objects of up to 30 times its size. This allows about 100,000 arrays.
MAX_HEADER = 2**24
SAFETENSORS_MAX_HEADER = 100_000_000  # the limit of safetensors itself
MAX_NAME_LENGTH = 1000  # characters of an array's name; each dot in it creates a nested dict


def write(path: str | PathLike[str], tree: Mapping[str, Any]) -> None:
    """Writes a nested dict of arrays to a safetensors file.

    The name of an array in the file is its keys, joined with dots. None and empty dicts are omitted.

    Args:
        path: Path of the file.
        tree: Nested dict of arrays.

    Raises:
        ValueError: If two arrays have the same name, or if a leaf is not an array of a dtype that safetensors supports.
    """
    if not isinstance(tree, Mapping):
        raise ValueError(f"`tree` must be a nested dict of arrays, got {type(tree).__name__}")
    flat: dict[str, np.ndarray] = {}
    paths: dict[str, tuple[Any, ...]] = {}
    for keys, leaf in _leaves(tree):
        name = ".".join(map(str, keys))
        if name in flat:
            pair = " and ".join("".join(f"[{key!r}]" for key in each) for each in (paths[name], keys))
            raise ValueError(f"names of arrays must be unique, got two named {name}: {pair}")
        flat[name], paths[name] = _to_numpy(name, leaf), keys
    save_file(flat, path)


def read(path: str | PathLike[str]) -> dict[str, Any]:
    """Reads a nested dict of arrays from a safetensors file, the inverse of ``write``.

    Args:
        path: Path of the file.

    Returns:
        Nested dict of arrays, in the dtypes of the file.

    Raises:
        ValueError: If the file is missing, is not a safetensors file, or has a dtype that NumPy lacks, or if the name
            of an array is also the prefix of another name, as in quantized files.
    """
    tree: dict[str, Any] = {}
    arrays = read_flat(path)
    for name, value in arrays.items():
        *parents, last = name.split(".")
        node = tree
        for depth, parent in enumerate(parents, 1):
            prefix = ".".join(parents[:depth])
            if prefix in arrays:
                prefix, name = printable(prefix, 60), printable(name, 60)
                raise ValueError(
                    f"{printable(path)}: {prefix} and {name} cannot be in one nested dict, since {prefix} is an array; "
                    "safetensors.numpy.load_file returns a flat dict"
                )
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def read_flat(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the arrays of a safetensors file.

    Args:
        path: Path of the file.

    Returns:
        Arrays by their full names, in the dtypes of the file.

    Raises:
        ValueError: If the file is missing, is not a safetensors file (the message states its format and a conversion),
            is not a regular file, exceeds a limit (``MAX_HEADER``, ``MAX_NAME_LENGTH``, memory), or has a dtype that
            NumPy lacks. The message is a single line.
    """
    try:
        if Path(path).is_dir():
            raise IsADirectoryError(path)
        with open_regular(Path(path)) as file:
            return _read_arrays(path, file)
    except (OSError, SafetensorError, MemoryError) as error:
        # The explanation is not truncated: it may end with the Python code of a conversion.
        problem = explain_error(Path(path), error)
        raise ValueError(f"{printable(path, 140)} cannot be read as safetensors: {problem}") from error
    except ValueError as error:
        raise ValueError(printable(error, MAX_MESSAGE_LENGTH - 1)) from error


def _read_arrays(path: str | PathLike[str], file: IO[bytes]) -> dict[str, np.ndarray]:
    shown_path, header_size = printable(path), int.from_bytes(file.read(8), "little")
    if header_size in range(MAX_HEADER + 1, SAFETENSORS_MAX_HEADER + 1):
        raise ValueError(f"{shown_path}: the header must have at most {MAX_HEADER:,} bytes, got {header_size:,}")
    check_memory(shown_path, os.fstat(file.fileno()).st_size)
    with safe_open(path, "numpy"):  # validates the header
        pass
    header = json.loads(file.read(header_size))
    header.pop(RESERVED, None)
    long_names = [name for name in header if len(name) > MAX_NAME_LENGTH]
    if long_names:
        name = listed(long_names[:1])
        raise ValueError(f"{shown_path}: names must have at most {MAX_NAME_LENGTH:,} characters, got {name}")
    unsupported = [f"{name} {entry['dtype']}" for name, entry in header.items() if entry["dtype"] not in DTYPES]
    if unsupported:
        raise ValueError(f"{shown_path}: dtypes must be among {', '.join(DTYPES)}, got {listed(unsupported)}")
    arrays = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        file.seek(8 + header_size + start)
        data = np.fromfile(file, np.uint8, end - start)
        try:
            arrays[name] = data.view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
        except (ValueError, OverflowError) as error:  # more than 64 axes, or a size beyond int64
            shape, name = printable(entry["shape"], 60), printable(name, 60)
            raise ValueError(f"{shown_path}: {name} of shape {shape} must be a valid NumPy array: {error}") from error
    return arrays


def _leaves(tree: Mapping[Any, Any], keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*keys, key))
        elif value is not None:
            yield (*keys, key), value


def _to_numpy(name: str, leaf: Any) -> np.ndarray:
    if name == RESERVED:
        raise ValueError(f"names must not be {RESERVED}, which is reserved by safetensors")
    if isinstance(leaf, (list, tuple)):
        raise ValueError(f"{name} must be an array or a dict of arrays, got {type(leaf).__name__}")
    try:
        array = np.asarray(leaf.detach() if hasattr(leaf, "detach") else leaf, order="C")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array, got {type(leaf).__name__}: {error}") from error
    if array.dtype.newbyteorder("=") not in DTYPES.values():
        raise ValueError(f"{name} must have a dtype that safetensors supports, got {array.dtype}")
    return array
