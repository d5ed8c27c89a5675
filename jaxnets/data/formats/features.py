"""Features and targets of tables, from columns of CSV files or arrays of npz files."""

import difflib
from collections.abc import Sequence

import numpy as np

from jaxnets.data.checks import open_data
from jaxnets.data.formats.csv_table import Cells, Table, place
from jaxnets.data.inputs import Columns
from jaxnets.ops.host.printable import printable

MAX_FEATURES = 2**16


def is_npz(path: str) -> bool:
    """Returns whether a file is a zip archive, such as npz."""
    with open_data(path) as file:
        return file.read(2) == b"PK"


def table_array(path: str, x: np.ndarray, name: str) -> np.ndarray:
    """Checks that an array of an npz file contains finite features ``[N, D]``, and returns it."""
    if x.ndim != 2 or x.dtype.kind not in "biuf" or not 0 < x.shape[1] <= MAX_FEATURES:
        raise ValueError(
            f"{printable(path)}: {name} must be numbers [N, D] of at most {MAX_FEATURES:,} features, got {x.dtype} "
            f"{x.shape}"
        )
    wrong = np.argwhere(~np.isfinite(x))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{printable(path)}: feature {column} of row {row} in {name} must be finite, got {x[row, column]}"
        )
    return x


def features_of(found: Table, cells: Cells, columns: Columns) -> np.ndarray:
    """Returns the features float64 ``[N, D]`` of the columns of a table.

    Raises:
        ValueError: A value is not one of the categories of its column, or there are too many features.
    """
    if columns.features > MAX_FEATURES:
        raise ValueError(f"{found.path} must have at most {MAX_FEATURES:,} features, got {columns.features:,}")
    features = np.zeros((found.rows, columns.features))
    first = 0
    for name, texts in zip(columns.names, columns.categories, strict=True):
        if not texts:
            features[:, first] = cells.numbers[name]
            first += 1
            continue
        number = {text: i for i, text in enumerate(texts)}
        known = cells.texts[name].known
        codes = np.array([number.get(text, -1) for text in known])[cells.texts[name].codes]
        wrong = np.flatnonzero(codes < 0)
        if len(wrong):
            text = known[cells.texts[name].codes[wrong[0]]]
            raise ValueError(
                f"{place(found, cells, wrong[0], name)} must be one of {len(texts)} categories of the training split, "
                f"got {printable(repr(text), 60)}"
            )
        features[np.arange(found.rows), first + codes] = 1
        first += len(texts)
    return features


def check_columns(found: Table, names: Sequence[str]) -> None:
    """Raises a ``ValueError`` if a table lacks a column."""
    missing = [name for name in names if name not in found.header]
    if missing:
        held = ", ".join(printable(name, 30) for name in found.header[:10])
        close = difflib.get_close_matches(missing[0], found.header, 1)
        hint = f"; the nearest is {printable(repr(close[0]), 60)}" if close else ""
        raise ValueError(f"{found.path} must have a column {printable(repr(missing[0]), 60)}, got {held}{hint}")


def targets_of(cells: Cells, target: Sequence[str], classes: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the targets ``[N]`` or ``[N, C]`` of columns, and their names.

    Args:
        cells: The values of the columns.
        target: Names of the target columns.
        classes: Whether the single target column contains classes, as text or integers.
    """
    if target[0] in cells.texts:
        return cells.texts[target[0]].codes, cells.texts[target[0]].known
    values = np.stack([cells.numbers[name] for name in target], axis=1)
    return (_integers(values[:, 0]), ()) if classes else (values, tuple(target))


def _integers(values: np.ndarray) -> np.ndarray:
    """Converts numbers to int64 if all are integers that float64 represents."""
    return values.astype(np.int64) if np.all((values == np.round(values)) & (np.abs(values) <= 2**53)) else values
