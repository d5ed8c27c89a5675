"""npz files, among them those of labelled rows of several lengths: ``x_train``, ``y_train``, ``x_test``, ``y_test``."""

from pathlib import Path

import numpy as np

from jaxnets.data import statistics
from jaxnets.data.checks import path_of
from jaxnets.data.examples import Examples
from jaxnets.data.inputs import Rows


def ragged_parts(path: str, standardise: bool) -> tuple[Examples, Examples, Rows]:
    """What to learn from and what to test on, with the lengths of the rows, and what became of raw rows.

    Args:
        path: The file. ``x`` is ``[N, T]`` or ``[N, T, D]``; a row that ends in NaN is that much shorter. ``y`` is
            ``[N]``, numbers or text.
        standardise: Whether features get mean 0 and standard deviation 1 over the training part, as ``statistics.fit``
            finds them in float64; a constant feature becomes 0.

    Raises:
        ValueError: The file cannot be read or lacks something.
    """
    arrays = read_arrays(path, ("x_train", "y_train", "x_test", "y_test"))
    train, test = (_ragged(path, arrays.pop(f"x_{part}"), arrays[f"y_{part}"], part) for part in ("train", "test"))
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        raise ValueError(f"{path}: x_train has rows of {train.inputs.shape[1:]}, x_test of {test.inputs.shape[1:]}")
    fitted = statistics.fit(train.inputs, in_row(train)) if standardise else None
    train, test = (
        part._replace(inputs=statistics.standardized(part.inputs, in_row(part), fitted)) for part in (train, test)
    )
    return train, test, Rows.of(fitted)


def in_row(examples: Examples) -> np.ndarray:
    """Which steps or elements of each row are real, ``[N, T]``."""
    length = examples.inputs.shape[1]
    lengths = np.full(len(examples.labels), length) if examples.lengths is None else examples.lengths
    return np.arange(length) < lengths[:, None]


def read_arrays(path: str, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Arrays of an npz file by their names; nothing is unpickled.

    Args:
        path: The file.
        names: What it must have.
        optional: What it may have beside.

    Raises:
        ValueError: It cannot be read, or lacks something.
    """
    file = path_of(path)
    if not file.is_file():
        raise ValueError(f"{path} must be an npz file, got a folder" if file.is_dir() else f"no file at {path}")
    arrays: dict[str, np.ndarray] = {}
    name = ""
    try:
        with np.load(file, allow_pickle=False) as archive:
            found = list(archive)
            for name in (*names, *optional):
                if name in found:
                    arrays[name] = archive[name]
    except Exception as error:  # NumPy lets the errors of zip, zlib and its own parser through
        raise ValueError(f"{path} is no npz file of plain arrays ({_problem(file, name, error)})") from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}; it has {', '.join(found) or 'nothing'}")
    return arrays


# What files that are mistaken for npz files begin with.
_FORMATS = {
    b"\x93NUMPY": "one array of np.save",
    b"\x1f\x8b": "a gzip file",
    b"MATLAB": "a MATLAB file",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet file",
}


def _problem(file: Path, name: str, error: Exception) -> str:
    """Why a file, or its array ``name``, cannot be read, and how to write a right one."""
    try:
        with file.open("rb") as opened:
            head = opened.read(512)
    except OSError as unreadable:
        return f"cannot read it: {unreadable.strerror}"
    if head.startswith(b"PK"):  # an archive, but damaged, or of objects that would have to be unpickled
        fix = "; convert them with .astype to numbers or text" if "Object arrays" in str(error) else ""
        return (f"{name}: " if name else "") + f"{error}{fix}"
    text = bool(head) and not head.translate(None, bytes(range(32, 256)) + b"\t\r\n")
    other = "text, such as CSV" if text else "something else" if head else "an empty file"
    kind = next((kind for start, kind in _FORMATS.items() if head.startswith(start)), other)
    return f"it is {kind}; np.savez(path, x_train=..., ...) writes arrays as npz"


def _ragged(path: str, x: np.ndarray, y: np.ndarray, part: str) -> Examples:
    """Raw rows ``[N, T, D]`` with their own lengths: NaN at a row's end is padding."""
    if x.ndim not in (2, 3) or x.dtype.kind not in "biuf" or y.shape != x.shape[:1]:
        raise ValueError(
            f"{path}: x_{part} as numbers [N, T] or [N, T, D] and y_{part} as [N] expected; "
            f"given {x.dtype} {x.shape} and {y.dtype} {y.shape}"
            + ("; y[:, 0] takes a column apart, np.argmax(y, 1) one-hot labels" if y.ndim == 2 else "")
        )
    if not x.size:
        empty = "no examples" if not len(x) else f"examples of shape {x.shape[1:]}, without a number,"
        raise ValueError(f"{path}: {empty} in the {'training' if part == 'train' else part} part")
    x = x[..., None] if x.ndim == 2 else x
    known = np.ones(x.shape[:2], bool)
    if np.issubdtype(x.dtype, np.floating):
        for here in statistics.blocks(x.shape):
            known[here] = ~np.isnan(x[here]).all(axis=-1)
    lengths = np.where(known.any(axis=1), x.shape[1] - np.argmax(known[:, ::-1], axis=1), 0)
    return Examples(x, y, lengths)
