"""npz files, among them those of labeled rows of several lengths: ``x_train``, ``y_train``, ``x_test``, ``y_test``."""

import io
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import IO

import numpy as np

from jaxnets.data import statistics
from jaxnets.data.checks import one_line_errors, open_data, path_of
from jaxnets.data.dataset import Examples
from jaxnets.data.inputs import Rows
from jaxnets.data.preprocessing import lengths_of
from jaxnets.data.target_arrays import KINDS
from jaxnets.ops.checks import check_choice
from jaxnets.ops.compressed import BLOCK_SIZE, open_archive
from jaxnets.ops.memory import check_memory
from jaxnets.ops.printable import printable, valid_unicode

MAX_HEAD = 10_000  # bytes of an array's head, which is parsed as Python; a plain array's has about 100
MEMBERS_SHOWN = 10


@one_line_errors
def ragged_parts(
    path: str, standardize: bool, target_type: str = "classes"
) -> tuple[Examples, Examples, Rows, tuple[str, ...]]:
    """The training and test examples, with the lengths of the rows, the preprocessing of raw rows, names of targets.

    Args:
        path: The file. ``x`` is ``[N, T]`` or ``[N, T, D]``; a row that ends in NaN is that much shorter.
        standardize: Whether features get mean 0 and standard deviation 1 over the training part, as ``statistics.fit``
            finds them in float64; a constant feature becomes 0.
        target_type: What ``y`` is, as in ``target_arrays.encoded``.

    Raises:
        ValueError: The file cannot be read or lacks something.
    """
    arrays, names = labeled_arrays(path, target_type)
    train, test = (ragged(path, arrays.pop(f"x_{part}"), arrays.get(f"y_{part}"), part) for part in ("train", "test"))
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        raise ValueError(
            f"{printable(path)}: x_train has rows of {train.inputs.shape[1:]}, x_test of {test.inputs.shape[1:]}"
        )
    fitted = statistics.fit(train.inputs, in_row(train)) if standardize else None
    train, test = (
        part._replace(inputs=statistics.standardized(part.inputs, in_row(part), fitted)) for part in (train, test)
    )
    return train, test, Rows.of(fitted), names


def labeled_arrays(
    path: str, target_type: str, parts: Sequence[str] = ("train", "test")
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The arrays ``x_train``, ``y_train``, ... of an npz file, and the names of its targets where it has any.

    Those of labels are in ``classes``, those of quantities in ``quantities``. Where there are no targets, ``y`` is not
    read.

    Args:
        path: The file.
        target_type: As in ``target_arrays.encoded``.
        parts: Whose arrays it must have.

    Raises:
        ValueError: The file cannot be read or lacks something, or the names are not text ``[C]``.
    """
    check_choice("target_type", target_type, KINDS)
    letters = "x" if target_type == "none" else "xy"
    names = {"quantities": ("quantities",), "labels": ("classes",)}.get(target_type, ())
    arrays = read_arrays(path, tuple(f"{letter}_{part}" for part in parts for letter in letters), names)
    return arrays, names_of(path, arrays, names[0]) if names else ()


def names_of(path: str, arrays: Mapping[str, np.ndarray], key: str) -> tuple[str, ...]:
    """The names in an array; none where there is no such array.

    Raises:
        ValueError: It is not ``[C]``.
    """
    names = arrays.get(key, np.empty(0, str))
    if names.ndim != 1:
        raise ValueError(f"{printable(path)}: {key} as [C] expected; given shape {names.shape}")
    if names.dtype.kind == "S":  # bytes, of any encoding
        return tuple(name.decode("utf-8", "backslashreplace") for name in names.tolist())
    return tuple(valid_unicode(name) for name in names.astype(str).tolist())


def in_row(examples: Examples) -> np.ndarray:
    """Which steps or elements of each row are real, ``[N, T]``."""
    length = examples.inputs.shape[1]
    lengths = np.full(len(examples.inputs), length) if examples.lengths is None else examples.lengths
    return np.arange(length) < lengths[:, None]


@one_line_errors
def read_arrays(path: str, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Arrays of an npz file by their names; nothing is unpickled.

    No more is read, or unpacked, than the head of an array promises, and that must be what the archive promises and
    fit into memory.

    Args:
        path: The file.
        names: What it must have.
        optional: What it may have beside.

    Raises:
        ValueError: It cannot be read, is not a regular file, exceeds a limit, or lacks something.
    """
    arrays, held = _read(path, lambda members: [name for name in (*names, *optional) if name in members])
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{printable(path)} has no {', '.join(missing)}; it has {_listed(held)}")
    return arrays


@one_line_errors
def member_names(path: str) -> list[str]:
    """The names of the arrays of an npz file.

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
    """The arrays that are chosen among those of a file, and the names of all."""
    file, shown = path_of(path), printable(path)
    if not file.exists():
        raise ValueError(f"no file at {shown}")
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
        except Exception as error:  # zipfile and zlib let errors of many kinds through
            problem = printable(_problem(opened, name, error), 200)
            raise ValueError(f"{shown} is no npz file of plain arrays ({problem})") from error
    return arrays, list(members)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """A member of an archive as an array; a ``ValueError`` where that is no plain one, or larger than promised."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may unpack without a limit
        raise ValueError(f"members must be stored or deflated, got compression {info.compress_type}")
    with archive.open(info) as member:
        begin = member.read(8)
        if not begin.startswith(np.lib.format.MAGIC_PREFIX) or begin[6:] not in (b"\1\0", b"\2\0"):
            raise ValueError(f"members must begin as arrays do, got {begin.hex(' ') or 'nothing'}")
        length = member.read(2 if begin[6] == 1 else 4)
        size = int.from_bytes(length, "little")
        if size > MAX_HEAD:
            raise ValueError(f"the head of an array must have at most {MAX_HEAD:,} bytes, got {size:,}")
        head = io.BytesIO(length + member.read(size))
        reads = np.lib.format.read_array_header_1_0 if begin[6] == 1 else np.lib.format.read_array_header_2_0
        shape, by_column, dtype = reads(head)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded without unpickling them")
        expected = dtype.itemsize * math.prod(shape)
        promised = info.file_size - len(begin) - len(head.getvalue())
        if min(shape, default=0) < 0 or expected != promised:
            raise ValueError(f"{expected:,} bytes expected for {printable(dtype, 40)} {shape}; it has {promised:,}")
        content = np.empty(expected, np.uint8)
        at = 0
        while at < expected and (block := member.read(min(BLOCK_SIZE, expected - at))):
            content[at : at + len(block)] = np.frombuffer(block, np.uint8)
            at += len(block)
        if at < expected or member.read(1):  # at its end the sum of its bytes is compared
            raise ValueError(f"{expected:,} bytes expected; it has {'more' if at == expected else f'{at:,}'}")
    return content.view(dtype).reshape(shape, order="F" if by_column else "C")


def npz_of(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An npz file of arrays.

    As ``np.savez``, which before NumPy 2.1 pickles objects, and which has no room for an array called ``file``.

    Raises:
        ValueError: An array holds objects, which would be pickled.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return content.getvalue()


# What files that are mistaken for npz files begin with.
_FORMATS = {
    b"\x93NUMPY": "one array of np.save",
    b"\x1f\x8b": "a gzip file",
    b"MATLAB": "a MATLAB file",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet file",
}


def _problem(file: IO[bytes], name: str, error: Exception) -> str:
    """Why a file, or its array ``name``, cannot be read, and how to write a right one."""
    try:
        file.seek(0)
        head = file.read(512)
    except OSError as unreadable:
        return f"cannot read it: {unreadable.strerror}"
    if head.startswith(b"PK"):  # an archive, but damaged, or of objects that would have to be unpickled
        fix = "; convert them with .astype to numbers or text" if "Object arrays" in str(error) else ""
        return (f"{name}: " if name else "") + f"{error}{fix}"
    text = bool(head) and not head.translate(None, bytes(range(32, 256)) + b"\t\r\n")
    other = "text, such as CSV" if text else "something else" if head else "an empty file"
    kind = next((kind for start, kind in _FORMATS.items() if head.startswith(start)), other)
    return f"it is {kind}; np.savez(path, x_train=..., ...) writes arrays as npz"


def ragged(path: str, x: np.ndarray, y: np.ndarray | None, part: str) -> Examples:
    """Raw rows ``[N, T, D]`` with their own lengths: NaN at a row's end is padding."""
    if x.ndim not in (2, 3) or x.dtype.kind not in "biuf" or (y is not None and y.shape[:1] != x.shape[:1]):
        raise ValueError(
            f"{printable(path)}: x_{part} as numbers [N, T] or [N, T, D] and y_{part} as [N] expected; "
            f"given {x.dtype} {x.shape}" + ("" if y is None else f" and {y.dtype} {y.shape}")
        )
    if not x.size:
        empty = "no examples" if not len(x) else f"examples of shape {x.shape[1:]}, without a number,"
        raise ValueError(f"{printable(path)}: {empty} in the {'training' if part == 'train' else part} part")
    x = x[..., None] if x.ndim == 2 else x
    return Examples(x, y, lengths_of(x))
