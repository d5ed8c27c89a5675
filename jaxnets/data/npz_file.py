"""npz files, among them those of labelled rows of several lengths: ``x_train``, ``y_train``, ``x_test``, ``y_test``."""

from pathlib import Path

import numpy as np

from jaxnets.data import statistics
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
    if not Path(path).expanduser().is_file():
        raise ValueError(f"no file at {path}")
    try:
        with np.load(Path(path).expanduser(), allow_pickle=False) as file:
            found = list(file)
            arrays = {name: file[name] for name in (*names, *optional) if name in found}
    except Exception as error:  # NumPy lets the errors of zip, zlib and its own parser through
        raise ValueError(f"{path} is no npz file of plain arrays ({error})") from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}; it has {', '.join(found)}")
    return arrays


def _ragged(path: str, x: np.ndarray, y: np.ndarray, part: str) -> Examples:
    """Raw rows ``[N, T, D]`` with their own lengths: NaN at a row's end is padding."""
    kinds = (np.bool_, np.integer, np.floating)
    if x.ndim not in (2, 3) or not any(np.issubdtype(x.dtype, kind) for kind in kinds) or y.shape != x.shape[:1]:
        raise ValueError(
            f"{path}: x_{part} as numbers [N, T] or [N, T, D] and y_{part} as [N] expected; "
            f"given {x.dtype} {x.shape} and {y.dtype} {y.shape}"
        )
    x = x[..., None] if x.ndim == 2 else x
    known = np.ones(x.shape[:2], bool)
    if np.issubdtype(x.dtype, np.floating):
        for here in statistics.blocks(x.shape):
            known[here] = ~np.isnan(x[here]).all(axis=-1)
    lengths = np.where(known.any(axis=1), x.shape[1] - np.argmax(known[:, ::-1], axis=1), 0)
    return Examples(x, y, lengths)
