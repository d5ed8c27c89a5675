"""One or many regular series with covariates, from CSV and npz files."""

import functools
import itertools
from typing import NamedTuple

import numpy as np

from jaxnets.data.checks import one_line_errors
from jaxnets.data.formats.csv_records import MAX_ROWS
from jaxnets.data.formats.csv_table import Cells, Table, cell_place, read_cells, read_table
from jaxnets.data.formats.features import check_columns, is_npz
from jaxnets.data.formats.npz import names_of, read_arrays
from jaxnets.data.formats.step_labels import from_array, from_texts
from jaxnets.data.timestamps import Frequency, check_regular, frequency_of, parse, start_and_frequency
from jaxnets.ops.host.printable import printable

MAX_SERIES = 2**20
COVARIATES = ("past", "future", "static")


class Columns(NamedTuple):
    """Names of the columns of a CSV file of series.

    Attributes:
        targets: Columns to forecast; empty: all columns that have no other role.
        time: Column of timestamps; empty: none.
        series: Column that names the series of a row; empty: the file is one series.
        past: Covariates that are known up to the present.
        future: Covariates that are also known for the time of the forecast.
        static: Covariates that are constant for each series.
        labels: Column of labels, 1 or true for an anomaly; empty: none. In an npz file the name of an array.
    """

    targets: tuple[str, ...] = ()
    time: str = ""
    series: str = ""
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    labels: str = ""


class SeriesTable(NamedTuple):
    """Series, concatenated along time. NaN is a missing value.

    Attributes:
        path: The path, escaped for messages.
        columns: The roles of the columns, with the names of the targets.
        targets: float64 ``[M, C]``.
        past: float64 ``[M, P]``.
        future: float64 ``[M, F]``.
        static: float64 ``[series, S]``.
        offsets: int64 ``[series + 1]``, the first row of each series and the end.
        names: Names of the series.
        starts: int64 ``[series]``, the first timestamp of each series.
        frequency: The step between rows.
        lines: int64 ``[M]``, the line of each row in a CSV file; None for npz.
        labels: bool ``[M]``, True for an anomaly; None without a column of labels.
    """

    path: str
    columns: Columns
    targets: np.ndarray
    past: np.ndarray
    future: np.ndarray
    static: np.ndarray
    offsets: np.ndarray
    names: tuple[str, ...]
    starts: np.ndarray
    frequency: Frequency
    lines: np.ndarray | None = None
    labels: np.ndarray | None = None

    def place(self, row: int, column: str) -> str:
        """Returns the position of a value for messages."""
        if self.lines is not None:
            return cell_place(self.path, int(self.lines[row]), column)
        series = int(np.searchsorted(self.offsets, row, side="right")) - 1
        step = row - int(self.offsets[series])
        return f"{self.path}, {self.series_name(series)}step {step:,}, {printable(repr(column), 60)}"

    def series_name(self, index: int) -> str:
        """Returns the name of a series for messages, followed by a comma; empty if there is one series."""
        return f"series {printable(repr(self.names[index]), 60)}, " if len(self.names) > 1 else ""


@one_line_errors
def read_series(path: str, columns: Columns, frequency: Frequency | None = None) -> SeriesTable:
    """Reads series from a CSV file with a header, or from an npz file.

    In a CSV file each row is one step, and missing values are empty cells. Times are in ISO 8601, in whole seconds and
    without a time zone, or integers.

    In an npz file ``x`` is ``[T]``, ``[T, C]`` or ``[N, T, C]`` with NaN for missing values; trailing NaNs shorten a
    series. Optional arrays are ``time [T]`` (datetime64, or integers), ``past`` and ``future`` with the leading axes of
    ``x``, ``static [N, S]``, and ``names [C]``; and the labels, if they are named, ``[T]`` or ``[N, T]``.

    Args:
        path: The file.
        columns: The roles of the columns of a CSV file.
        frequency: The step between rows; None: the most frequent one.

    Raises:
        ValueError: The file cannot be read, lacks a column, timestamps are not regular, or a column is used twice.
    """
    _check_roles(columns)
    return _from_npz(path, columns, frequency) if is_npz(path) else _from_csv(read_table(path), columns, frequency)


def _check_roles(columns: Columns) -> None:
    """Raises a ValueError if a column has two roles; a target that is also a covariate would leak the future."""
    for role in COVARIATES:
        for name in getattr(columns, role):
            if name in columns.targets:
                raise ValueError(
                    f"`{role}` must not contain the target {printable(repr(name), 60)}: as a covariate it would reveal "
                    "the values to forecast; earlier values of the targets are inputs of every model"
                )
    used = [*columns.past, *columns.future, *columns.static, *columns.targets]
    used += [columns.time, columns.series, columns.labels]
    twice = [name for name in used if name and used.count(name) > 1]
    if twice:
        raise ValueError(f"a column must have one role, got {printable(repr(twice[0]), 60)} in two")


def _from_csv(table: Table, columns: Columns, frequency: Frequency | None) -> SeriesTable:
    others = {columns.time, columns.series, columns.labels, *columns.past, *columns.future, *columns.static}
    if not columns.targets:
        free = [name for name in table.header if name not in others]
        texts = [name for name in free if not table.numeric[table.header.index(name)]]
        if texts:
            raise ValueError(
                f"{table.path} must have numbers in all columns to forecast, got text in "
                f"{printable(repr(texts[0]), 60)}; name the column of timestamps with `time` and the column of series "
                "with `series`, or the columns to forecast with `targets`"
            )
        columns = columns._replace(targets=tuple(free))
    numbers = (*columns.targets, *columns.past, *columns.future, *columns.static)
    names = [name for name in (columns.time, columns.series, columns.labels) if name]
    check_columns(table, (*numbers, *names))
    if not columns.targets:
        raise ValueError(f"{table.path} must have at least one column to forecast, got none")
    cells = read_cells(table, numbers, dict.fromkeys(names, MAX_ROWS), missing=True)
    order, offsets, series = _grouped(table, cells, columns)

    def stacked(names: tuple[str, ...]) -> np.ndarray:
        return np.stack([cells.numbers[name][order] for name in names], 1) if names else np.zeros((len(order), 0))

    static = stacked(columns.static)
    result = SeriesTable(
        path=table.path,
        columns=columns,
        targets=stacked(columns.targets),
        past=stacked(columns.past),
        future=stacked(columns.future),
        static=static[offsets[:-1]],
        offsets=offsets,
        names=series,
        starts=np.zeros(len(series), np.int64),
        frequency=frequency or Frequency(1, "1"),
        lines=cells.lines[order],
    )
    _check_static(result, static)
    if columns.labels:
        found = cells.texts[columns.labels]
        result = result._replace(labels=from_texts(found.codes[order], found.known, result.place, columns.labels))
    return _with_times(result, cells, order, frequency) if columns.time else result


def _grouped(table: Table, cells: Cells, columns: Columns) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Returns the order of the rows by series, the offsets of the series, and their names."""
    if not columns.series:
        return np.arange(table.rows), np.array([0, table.rows]), ("",)
    found = cells.texts[columns.series]
    order = np.argsort(found.codes, kind="stable")
    counts = np.bincount(found.codes, minlength=len(found.known))
    if len(counts) > MAX_SERIES:
        raise ValueError(f"{table.path} must have at most {MAX_SERIES:,} series, got {len(counts):,}")
    return order, np.concatenate([[0], np.cumsum(counts)]), found.known


def _check_static(table: SeriesTable, static: np.ndarray) -> None:
    """Raises a ValueError unless static covariates are known and constant in each series."""
    for begin, end in itertools.pairwise(table.offsets):
        wrong = np.argwhere(np.isnan(static[begin:end]) | (static[begin:end] != static[begin]))
        if len(wrong):
            row, column = wrong[0]
            place, value = table.place(begin + row, table.columns.static[column]), static[begin + row, column]
            if np.isnan(value):
                raise ValueError(f"{place} must be known, because it is a static covariate, got no value")
            raise ValueError(f"{place} must be constant in each series, got {value:g} after {static[begin, column]:g}")


def _with_times(table: SeriesTable, cells: Cells, order: np.ndarray, frequency: Frequency | None) -> SeriesTable:
    """Returns the table with the first time of each series and the frequency, after a check that times are regular."""
    found, column = cells.texts[table.columns.time], table.columns.time
    parsed = [parse(text) for text in found.known]
    calendar = sum(time is not None and time[1] for time in parsed) * 2 > len(parsed)
    wrong = [code for code, time in enumerate(parsed) if time is None or time[1] != calendar]
    if wrong:
        row = int(np.flatnonzero(np.isin(found.codes[order], wrong))[0])
        text = found.known[found.codes[order][row]]
        raise ValueError(
            f"{table.place(row, column)} must be a time such as 2016-07-01 05:00:00, in whole seconds and without a "
            f"time zone, or an integer, like the other rows, got {printable(repr(text), 60)}"
        )
    times = np.array([time[0] for time in parsed if time is not None], np.int64)[found.codes[order]]
    longest = int(np.argmax(np.diff(table.offsets)))
    if frequency is None:
        frequency = frequency_of(times[table.offsets[longest] : table.offsets[longest + 1]], calendar)
    for begin, end in itertools.pairwise(table.offsets):
        place = functools.partial(_place_after, table, int(begin), column)
        check_regular(times[begin:end], frequency, place)
    return table._replace(starts=times[table.offsets[:-1]], frequency=frequency)


def _place_after(table: SeriesTable, first: int, column: str, row: int) -> str:
    return table.place(first + row, column)


def _from_npz(path: str, columns: Columns, frequency: Frequency | None) -> SeriesTable:
    shown = printable(path)
    roles = columns._replace(labels="")
    given = [name for role in roles for name in ([role] if isinstance(role, str) else role) if name]
    if given:
        raise ValueError(
            f"{shown} must be a CSV file if columns are named, got an npz file and the column "
            f"{printable(repr(given[0]), 60)}"
        )
    needed = ("x", columns.labels) if columns.labels else ("x",)
    arrays = read_arrays(path, needed, ("time", *COVARIATES, "names"))
    x = _checked(shown, "x", arrays["x"])
    if x.ndim not in (1, 2, 3) or not x.size:
        raise ValueError(f"{shown}: x must be numbers [T], [T, C] or [N, T, C], got {x.dtype} {x.shape}")
    x = x.reshape(1, -1, 1) if x.ndim == 1 else x[None] if x.ndim == 2 else x
    num_series, length, channels = x.shape
    covariates = {"past": np.zeros((num_series, length, 0)), "future": np.zeros((num_series, length, 0))}
    for role in covariates.keys() & arrays.keys():
        array = _checked(shown, role, arrays[role])
        array = array[None] if array.ndim == 2 else array
        if array.ndim != 3 or array.shape[:2] != x.shape[:2]:
            raise ValueError(f"{shown}: {role} must have the leading axes of x, {x.shape[:2]}, got {array.shape}")
        covariates[role] = array
    static = _checked(shown, "static", arrays.get("static", np.zeros((num_series, 0))))
    if static.shape[:1] != (num_series,) or static.ndim != 2:
        raise ValueError(f"{shown}: static must be [N, S] with N = {num_series}, got {static.shape}")
    if np.isnan(static).any():
        raise ValueError(f"{shown}: static must be known for all series, got NaN")
    known = ~np.isnan(x).all(-1)
    if covariates["future"].shape[2]:
        known |= ~np.isnan(covariates["future"]).all(-1)  # steps to forecast
    ends = np.where(known.any(1), length - np.argmax(known[:, ::-1], 1), 0)
    joined = lambda array: np.concatenate([array[i, :end] for i, end in enumerate(ends)])
    names = names_of(path, arrays, "names") or tuple(f"y{i}" for i in range(channels))
    if len(names) != channels:
        raise ValueError(f"{shown}: names must have {channels} names like x, got {len(names)}")
    start, step = start_and_frequency(shown, arrays.get("time"), length, frequency)
    return SeriesTable(
        path=shown,
        columns=Columns(
            targets=names,
            past=tuple(f"past{i}" for i in range(covariates["past"].shape[2])),
            future=tuple(f"future{i}" for i in range(covariates["future"].shape[2])),
            static=tuple(f"static{i}" for i in range(static.shape[1])),
            labels=columns.labels,
        ),
        targets=joined(x),
        past=joined(covariates["past"]),
        future=joined(covariates["future"]),
        static=static,
        offsets=np.concatenate([[0], np.cumsum(ends)]),
        names=tuple(str(i) for i in range(num_series)) if num_series > 1 else ("",),
        starts=np.full(num_series, start),
        frequency=step,
        labels=from_array(shown, columns.labels, arrays[columns.labels], x.shape[:2], ends) if columns.labels else None,
    )


def _checked(shown: str, name: str, array: np.ndarray) -> np.ndarray:
    """Returns an array of an npz file as float64."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{shown}: {name} must be numbers, got {array.dtype}")
    array = array.astype(np.float64)
    if np.isinf(array).any():
        raise ValueError(f"{shown}: {name} must be finite, or NaN where a value is missing, got infinity")
    return array
