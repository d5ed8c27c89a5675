"""Files of the UCR and UEA archives: ``.tsv``, ``.ts`` and ``.arff``, one labeled series per line."""

import re
from collections.abc import Iterator

import numpy as np

from jaxnets.data.checks import path_of
from jaxnets.data.formats.csv_table import PLAIN_NUMBER, plain_floats
from jaxnets.data.formats.limited_text import read_text
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import printable

SUFFIXES = (".tsv", ".ts", ".arff")
MAX_BYTES = 2**30  # of uncompressed text
MAX_FEATURES = 2**14  # dimensions of a multivariate series
MISSING = ("", "?", "nan")


def is_ucr(path: str) -> bool:
    """Returns whether a file has a suffix of the archives."""
    return path_of(path).name.lower().endswith(SUFFIXES)


def read_pair(path: str) -> dict[str, np.ndarray]:
    """Reads the training file ``NAME_TRAIN.SUFFIX`` and the test file ``NAME_TEST.SUFFIX`` beside it.

    Args:
        path: The training file.

    Returns:
        ``x_train [N, T, D]`` in float64 with NaN after the end of shorter series, ``y_train [N]`` as text, ``x_test``
        and ``y_test``.

    Raises:
        ValueError: The name does not contain ``_TRAIN``, or a file cannot be read.
    """
    name = path_of(path).name
    if "_TRAIN" not in name:
        raise ValueError(
            f"{printable(path)} must be a training file such as ECG5000_TRAIN.tsv, with the test file in its folder"
        )
    other = path_of(path).with_name("_TEST".join(name.rsplit("_TRAIN", 1)))
    parts = {"train": read_split(path), "test": read_split(str(other))}
    length = max(x.shape[1] for x, _ in parts.values())
    arrays = {}
    for part, (x, y) in parts.items():
        arrays[f"x_{part}"] = np.pad(x, ((0, 0), (0, length - x.shape[1]), (0, 0)), constant_values=np.nan)
        arrays[f"y_{part}"] = y
    return arrays


def read_split(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads one file.

    A ``.tsv`` file has a label and the values, separated by tabs. A ``.ts`` file has a header, and the values of each
    dimension separated by commas, with a colon after each dimension and the label at the end. An ``.arff`` file has a
    header, and values and label separated by commas. ``?`` or ``NaN`` at the end of a series shorten it.

    Returns:
        Series float64 ``[N, T, D]`` with NaN after the end of shorter ones, and labels as text ``[N]``.

    Raises:
        ValueError: The file cannot be read, is empty, or a line is malformed.
    """
    shown = printable(path)
    text = read_text(path, MAX_BYTES)
    check_memory(shown, 8 * len(text))
    suffix = next(suffix for suffix in SUFFIXES if path_of(path).name.lower().endswith(suffix))
    lines = _tsv_lines(text) if suffix == ".tsv" else _data_lines(shown, text, suffix)
    rows, labels, places = [], [], []
    for number, label, dimensions in lines:
        place = f"{shown}, line {number:,}"
        rows.append([_numbers(place, cells) for cells in dimensions])
        labels.append(label.strip().strip("'\""))
        places.append(place)
        if not labels[-1]:
            raise ValueError(f"{place} must have a label, got none")
        if not 1 <= len(rows[-1]) <= MAX_FEATURES:
            raise ValueError(f"{place} must have 1 to {MAX_FEATURES:,} dimensions, got {len(rows[-1]):,}")
        if len(rows[-1]) != len(rows[0]):
            raise ValueError(f"{place} must have {len(rows[0])} dimensions like the first series, got {len(rows[-1])}")
    if not rows:
        raise ValueError(f"{shown} must have at least one series, got none")
    length = max(len(values) for row in rows for values in row)
    check_memory(shown, 8 * len(rows) * length * len(rows[0]))
    x = np.full((len(rows), length, len(rows[0])), np.nan)
    for i, row in enumerate(rows):
        for dimension, values in enumerate(row):
            x[i, : len(values), dimension] = values
    return x, np.array(labels)


def _tsv_lines(text: str) -> Iterator[tuple[int, str, list[list[str]]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            label, *values = re.split(r"[ ]*[\t,][ ]*|[ ]+", line.strip(" \r\n"))
            yield number, label, [values]


def _data_lines(shown: str, text: str, suffix: str) -> Iterator[tuple[int, str, list[list[str]]]]:
    """Yields the lines after ``@data`` of a ``.ts`` or ``.arff`` file."""
    comment, in_data = {".ts": "#", ".arff": "%"}[suffix], False
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith(comment):
            continue
        if not in_data:
            word, *rest = stripped.lower().split()
            if word == "@timestamps" and rest[:1] == ["true"]:
                raise ValueError(f"{shown}, line {number:,} must be @timeStamps false, got true")
            if word == "@attribute" and rest[-1:] == ["relational"]:
                raise ValueError(f"{shown}, line {number:,} must not be relational; use the .ts file of the data set")
            if word == "@classlabel" and rest[:1] == ["false"]:
                raise ValueError(f"{shown}, line {number:,} must be @classLabel true, got false")
            in_data = word == "@data"
        elif suffix == ".ts":
            *dimensions, label = stripped.split(":")
            yield number, label, [cells.split(",") for cells in dimensions]
        else:
            *values, label = stripped.split(",")
            yield number, label, [values]
    if not in_data:
        raise ValueError(f"{shown} must have a line @data, got none")


def _numbers(place: str, cells: list[str]) -> np.ndarray:
    """Converts cells to numbers; missing ones at the end shorten the series."""
    end = len(cells)
    while end and cells[end - 1].strip().lower() in MISSING:
        end -= 1
    values = plain_floats(cells[:end]) if end else None
    if values is None or not np.isfinite(values).all():
        wrong = (
            i for i in range(end) if not PLAIN_NUMBER.fullmatch(cells[i].strip()) or not np.isfinite(float(cells[i]))
        )
        step = next(wrong, None)
        got = "no number" if step is None else f"{printable(repr(cells[step]), 40)} at step {step}"
        raise ValueError(f"{place} must have finite numbers, got {got}")
    return values
