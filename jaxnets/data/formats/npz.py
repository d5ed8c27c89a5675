"""npz files, and the layout ``x_train``, ``y_train``, ``x_test``, ``y_test`` for rows of different lengths."""

import io
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import IO

import numpy as np

from jaxnets.data import statistics
from jaxnets.data.checks import one_line_errors, open_data, path_of
from jaxnets.data.dataset import Examples
from jaxnets.data.formats.ucr import is_ucr, read_pair
from jaxnets.data.inputs import Rows
from jaxnets.data.preprocessing import lengths_of
from jaxnets.data.target_arrays import TARGET_TYPES
from jaxnets.ops.checks import check_choice
from jaxnets.ops.host.compressed import BLOCK_SIZE, open_archive
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import printable, valid_unicode

MAX_HEADER_BYTES = 10_000  # bytes of the header of an array, which is parsed as Python; usually about 100
MEMBERS_SHOWN = 10


@one_line_errors
def ragged_parts(
    path: str, standardize: bool, target_type: str = "classes"
) -> tuple[Examples, Examples, Rows, tuple[str, ...]]:
    """Reads the training and test examples of an npz file, with row lengths.

    Args:
        path: The file. ``x`` is ``[N, T]`` or ``[N, T, D]``; trailing NaNs shorten a row.
        standardize: Whether features are scaled to mean 0 and standard deviation 1 over the training split, with
            ``statistics.fit``; a constant feature becomes 0.
        target_type: The meaning of ``y``, as in ``target_arrays.encode_targets``.

    Returns:
        Training examples, test examples, the description of the preprocessing, and names of the targets.

    Raises:
        ValueError: The file cannot be read, or an array is missing.
    """
    arrays, names = labeled_arrays(path, target_type)
    train, test = (ragged(path, arrays.pop(f"x_{part}"), arrays.get(f"y_{part}"), part) for part in ("train", "test"))
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        raise ValueError(
            f"{printable(path)}: x_train and x_test must have rows of the same shape, got {train.inputs.shape[1:]} and "
            f"{test.inputs.shape[1:]}"
        )
    return *standardized_parts(train, test, standardize), names


def standardized_parts(train: Examples, test: Examples, standardize: bool) -> tuple[Examples, Examples, Rows]:
    """Standardizes the rows of both splits by the statistics of ``train``, or only casts them to float32.

    Returns:
        Training examples, test examples, and the description of the preprocessing.
    """
    fitted = statistics.fit(train.inputs, in_row(train)) if standardize else None
    train, test = (
        part._replace(inputs=statistics.standardized(part.inputs, in_row(part), fitted)) for part in (train, test)
    )
    return train, test, Rows.of(fitted)


def labeled_arrays(
    path: str, target_type: str, parts: Sequence[str] = ("train", "test")
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Reads the arrays ``x_train``, ``y_train``, ... of an npz file, and the names of its targets.

    Names of labels are in the array ``classes``, names of quantities in ``quantities``. ``y`` is not read if there are
    no targets.

    Args:
        path: The file, or the training file of a data set of the UCR archive, as ``ucr.read_pair`` reads it.
        target_type: The meaning of ``y``, as in ``target_arrays.encode_targets``.
        parts: Names of the required splits.

    Raises:
        ValueError: The file cannot be read, an array is missing, or the names are not text ``[C]``.
    """
    check_choice("target_type", target_type, TARGET_TYPES)
    if is_ucr(path):
        if target_type != "classes":
            raise ValueError(f"`target_type` must be classes for {printable(path)}, got {target_type!r}")
        return read_pair(path), ()
    letters = "x" if target_type == "none" else "xy"
    names = {"quantities": ("quantities",), "labels": ("classes",)}.get(target_type, ())
    arrays = read_arrays(path, tuple(f"{letter}_{part}" for part in parts for letter in letters), names)
    return arrays, names_of(path, arrays, names[0]) if names else ()


def names_of(path: str, arrays: Mapping[str, np.ndarray], key: str) -> tuple[str, ...]:
    """Returns the names in an array; none if the array is missing.

    Raises:
        ValueError: The array does not have shape ``[C]``.
    """
    names = arrays.get(key, np.empty(0, str))
    if names.ndim != 1:
        raise ValueError(f"{printable(path)}: {key} must have shape [C], got {names.shape}")
    if names.dtype.kind == "S":  # bytes, of any encoding
        return tuple(name.decode("utf-8", "backslashreplace") for name in names.tolist())
    return tuple(valid_unicode(name) for name in names.astype(str).tolist())


def in_row(examples: Examples) -> np.ndarray:
    """Returns the mask of valid steps or elements, ``[N, T]``."""
    length = examples.inputs.shape[1]
    lengths = np.full(len(examples.inputs), length) if examples.lengths is None else examples.lengths
    return np.arange(length) < lengths[:, None]


@one_line_errors
def read_arrays(path: str, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Reads arrays of an npz file by name. Nothing is unpickled.

    No more bytes are read or decompressed than the header of an array declares. This size must agree with the archive
    and fit into memory.

    Args:
        path: The file.
        names: Required arrays.
        optional: Optional arrays.

    Raises:
        ValueError: The file cannot be read, is not regular, exceeds a limit, or lacks an array.
    """
    arrays, held = _read(path, lambda members: [name for name in (*names, *optional) if name in members])
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{printable(path)} must have the arrays {', '.join(missing)}, got {_listed(held)}")
    return arrays


@one_line_errors
def member_names(path: str) -> list[str]:
    """Returns the names of the arrays of an npz file.

    Raises:
        ValueError: As in ``read_arrays``.
    """
    return _read(path, lambda members: [])[1]


def _listed(held: Sequence[str]) -> str:
    more = f" and {len(held) - MEMBERS_SHOWN:,} more" if len(held) > MEMBERS_SHOWN else ""
    return (", ".join(printable(name, 40) for name in held[:MEMBERS_SHOWN]) or "nothing") + more


def _read(
    path: str, chosen: Callable[[Mapping[str, zipfile.ZipInfo]], list[str]]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads the chosen arrays of a file, and returns them with the names of all arrays."""
    file, shown = path_of(path), printable(path)
    if not file.exists():
        raise ValueError(f"{shown} must be an npz file, got no such file")
    if file.is_dir():
        raise ValueError(f"{shown} must be an npz file, got a folder")
    arrays: dict[str, np.ndarray] = {}
    name = ""
    with open_data(file) as opened:
        try:
            with open_archive(opened) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                found = [(name, members[name]) for name in chosen(members)]
                check_memory(shown, sum(info.file_size for _, info in found))
                for name, info in found:
                    arrays[name] = _array(archive, info)
        except Exception as error:  # zipfile and zlib raise many kinds of errors
            problem = printable(_problem(opened, name, error), 200)
            raise ValueError(f"{shown} must be an npz file of plain arrays, got an error: {problem}") from error
    return arrays, list(members)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Reads an archive member as an array; a ``ValueError`` if it has objects or another size than declared."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may decompress without a limit
        raise ValueError(f"members must be stored or deflated, got compression {info.compress_type}")
    with archive.open(info) as member:
        begin = member.read(8)
        if not begin.startswith(np.lib.format.MAGIC_PREFIX) or begin[6:] not in (b"\1\0", b"\2\0"):
            raise ValueError(f"members must begin with the header of an array, got {begin.hex(' ') or 'nothing'}")
        length = member.read(2 if begin[6] == 1 else 4)
        size = int.from_bytes(length, "little")
        if size > MAX_HEADER_BYTES:
            raise ValueError(f"the header of an array must have at most {MAX_HEADER_BYTES:,} bytes, got {size:,}")
        header = io.BytesIO(length + member.read(size))
        read_header = np.lib.format.read_array_header_1_0 if begin[6] == 1 else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read_header(header)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded without unpickling them")
        expected = dtype.itemsize * math.prod(shape)
        declared = info.file_size - len(begin) - len(header.getvalue())
        if min(shape, default=0) < 0 or expected != declared:
            raise ValueError(f"{printable(dtype, 40)} {shape} must have {expected:,} bytes, got {declared:,}")
        content = np.empty(expected, np.uint8)
        at = 0
        while at < expected and (block := member.read(min(BLOCK_SIZE, expected - at))):
            content[at : at + len(block)] = np.frombuffer(block, np.uint8)
            at += len(block)
        if at < expected or member.read(1):  # reading to the end checks the CRC
            raise ValueError(f"the array must have {expected:,} bytes, got {'more' if at == expected else f'{at:,}'}")
    return content.view(dtype).reshape(shape, order="F" if fortran_order else "C")


def npz_of(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns the bytes of an npz file.

    Unlike ``np.savez``, this never pickles objects (NumPy before 2.1 does), and an array may have the name ``file``.

    Raises:
        ValueError: An array contains objects.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return content.getvalue()


# Signatures of files that are mistaken for npz files.
_FORMATS = {
    b"\x93NUMPY": "one array of np.save",
    b"\x1f\x8b": "a gzip file",
    b"MATLAB": "a MATLAB file",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet file",
}


def _problem(file: IO[bytes], name: str, error: Exception) -> str:
    """Explains why a file, or its array ``name``, cannot be read, and how to write a valid one."""
    try:
        file.seek(0)
        head = file.read(512)
    except OSError as unreadable:
        return f"cannot read it: {unreadable.strerror}"
    if head.startswith(b"PK"):  # a damaged archive, or one with pickled objects
        fix = "; convert them with .astype to numbers or text" if "Object arrays" in str(error) else ""
        return (f"{name}: " if name else "") + f"{error}{fix}"
    text = bool(head) and not head.translate(None, bytes(range(32, 256)) + b"\t\r\n")
    other = "text, such as CSV" if text else "something else" if head else "an empty file"
    kind = next((kind for start, kind in _FORMATS.items() if head.startswith(start)), other)
    return f"it is {kind}; np.savez(path, x_train=..., ...) writes arrays as npz"


def ragged(path: str, x: np.ndarray, y: np.ndarray | None, part: str) -> Examples:
    """Returns raw rows ``[N, T, D]`` with their lengths; trailing NaNs are padding."""
    if x.ndim not in (2, 3) or x.dtype.kind not in "biuf" or (y is not None and y.shape[:1] != x.shape[:1]):
        raise ValueError(
            f"{printable(path)}: x_{part} must be numbers [N, T] or [N, T, D] and y_{part} must be [N], got "
            f"{x.dtype} {x.shape}" + ("" if y is None else f" and {y.dtype} {y.shape}")
        )
    if not x.size:
        raise ValueError(f"{printable(path)}: x_{part} must not be empty, got shape {x.shape}")
    x = x[..., None] if x.ndim == 2 else x
    return Examples(x, y, lengths_of(x))
