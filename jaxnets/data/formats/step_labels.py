"""Labels of the steps of series: 0 or false for a normal step, 1 or true for an anomaly."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxnets.ops.host.printable import printable

VALUES = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


def from_texts(codes: np.ndarray, known: Sequence[str], place: Callable[[int, str], str], column: str) -> np.ndarray:
    """Returns the labels of a column of a CSV file, bool ``[M]``.

    Args:
        codes: Integers ``[M]``, indices into ``known``.
        known: The different texts of the column.
        place: Returns the position of a row and column for messages.
        column: The name of the column.

    Raises:
        ValueError: A label is not one of ``VALUES``, in lower or upper case.
    """
    values = [VALUES.get(text.lower()) for text in known]
    wrong = np.flatnonzero(np.isin(codes, [code for code, value in enumerate(values) if value is None]))
    if len(wrong):
        row = int(wrong[0])
        got = printable(repr(known[codes[row]]), 60)
        raise ValueError(f"{place(row, column)} must be a label 0 or 1, or false or true, got {got}")
    return np.array(values, bool)[codes]


def from_array(shown: str, name: str, array: np.ndarray, shape: tuple[int, int], ends: np.ndarray) -> np.ndarray:
    """Returns the labels of an array of an npz file, bool ``[M]``, without the steps after the ends of the series.

    Args:
        shown: The path, escaped for messages.
        name: The name of the array.
        array: Numbers or bools ``[T]`` for one series, or ``[N, T]``.
        shape: (N, T).
        ends: ``[N]``, the lengths of the series.

    Raises:
        ValueError: The array has another shape, or a label is not 0 or 1.
    """
    if array.dtype.kind not in "biuf" or array.shape not in ((shape, shape[1:]) if shape[0] == 1 else (shape,)):
        axes = f"({shape[1]},)" if shape[0] == 1 else str(shape)
        raise ValueError(f"{shown}: {name} must be labels 0 or 1 of shape {axes}, got {array.dtype} {array.shape}")
    array = array.reshape(shape)
    wrong = np.argwhere((array != 0) & (array != 1) & (np.arange(shape[1]) < ends[:, None]))
    if len(wrong):
        series, step = wrong[0]
        of = f"series {series}, " if shape[0] > 1 else ""
        raise ValueError(f"{shown}: {name} must be 0 or 1, got {array[series, step]} at {of}step {step:,}")
    return np.concatenate([row[:end] == 1 for row, end in zip(array, ends, strict=True)])
