"""One or many regular series with covariates, from CSV and npz files."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxnets.data.checks import one_line_errors
from jaxnets.data.formats.csv_table import MAX_ROWS, Cells, Table, read_cells, read_table
from jaxnets.data.formats.features import check_columns, is_npz
from jaxnets.data.formats.npz import names_of, read_arrays
from jaxnets.data.timestamps import Frequency, check_regular, frequency_of, parse
from jaxnets.ops.host.printable import printable

MAX_SERIES = 2**20


class Columns(NamedTuple):
    """Names of the columns of a CSV file of series.

    Attributes:
        targets: Columns to forecast; empty: all columns that have no other role.
        time: Column of timestamps; empty: none.
        series: Column that names the series of a row; empty: the file is one series.
        past: Covariates that are known up to the present.
        future: Covariates that are also known for the time of the forecast.
        static: Covariates that are constant for each series.
    """

    targets: tuple[str, ...] = ()
    time: str = ""
    series: str = ""
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()


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
        lines: int64 ``[M]``, lines of a CSV file, or row numbers.
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
    lines: np.ndarray


@one_line_errors
def read_series(path: str, columns: Columns) -> SeriesTable:
    """Reads series from a CSV file with a header, or from an npz file.

    In a CSV file each row is one step, and missing values are empty cells. In an npz file ``x`` is ``[T]``, ``[T, C]``
    or ``[N, T, C]`` with NaN for missing values; trailing NaNs shorten a series. Optional arrays are ``time [T]``
    (datetime64, or integers), ``past`` and ``future`` with the leading axes of ``x``, ``static [N, S]``, and
    ``names [C]``.

    Raises:
        ValueError: The file cannot be read, lacks a column, timestamps are not regular, or a column is used twice.
    """
    _check_roles(columns)
    return _from_npz(path, columns) if is_npz(path) else _from_csv(read_table(path), columns)


def _check_roles(columns: Columns) -> None:
    """Raises a ValueError if a column has two roles; a target that is also a covariate would leak the future."""
    for role in ("past", "future", "static"):
        for name in getattr(columns, role):
            if name in columns.targets:
                raise ValueError(
                    f"`{role}` must not contain the target {printable(repr(name), 60)}: as a covariate it would reveal "
                    "the values to forecast; earlier values of the targets are inputs of every model"
                )
    used = [*columns.past, *columns.future, *columns.static, *columns.targets, columns.time, columns.series]
    twice = [name for name in used if name and used.count(name) > 1]
    if twice:
        raise ValueError(f"a column must have one role, got {printable(repr(twice[0]), 60)} in two")


def _from_csv(table: Table, columns: Columns) -> SeriesTable:
    others = {columns.time, columns.series, *columns.past, *columns.future, *columns.static}
    if not columns.targets:
        free = [name for name in table.header if name not in others]
        texts = [name for name in free if not table.numeric[table.header.index(name)]]
        if texts:
            raise ValueError(
                f"{table.path} must have numbers in all columns to forecast, got text in "
                f"{printable(repr(texts[0]), 60)}; "
                "name the column of timestamps with `time` and the column of series with `series`, or the columns to "
                "forecast with `targets`"
            )
        columns = columns._replace(targets=tuple(free))
    numbers = (*columns.targets, *columns.past, *columns.future, *columns.static)
    names = [name for name in (columns.time, columns.series) if name]
    check_columns(table, (*numbers, *names))
    if not columns.targets:
        raise ValueError(f"{table.path} must have at least one column to forecast, got none")
    cells = read_cells(table, numbers, dict.fromkeys(names, MAX_ROWS), missing=True)
    order, offsets, series = _grouped(table, cells, columns)
    lines = cells.lines[order]
    starts, frequency = _times(table, cells, columns, order, offsets, series, lines)
    stacked = lambda names: (
        np.stack([cells.numbers[n][order] for n in names], 1) if names else np.zeros((len(order), 0))
    )
    static = stacked(columns.static)
    for i, (begin, end) in enumerate(itertools.pairwise(offsets)):
        wrong = np.argwhere(static[begin:end] != static[begin])
        if len(wrong):
            row, column = wrong[0]
            raise ValueError(
                f"{table.path}, line {lines[begin + row]:,}, column {printable(repr(columns.static[column]), 60)} must "
                f"be constant in series {printable(repr(series[i]), 60)}, got {static[begin + row, column]:g} after "
                f"{static[begin, column]:g}"
            )
    return SeriesTable(
        path=table.path,
        columns=columns,
        targets=stacked(columns.targets),
        past=stacked(columns.past),
        future=stacked(columns.future),
        static=static[offsets[:-1]],
        offsets=offsets,
        names=series,
        starts=starts,
        frequency=frequency,
        lines=lines,
    )


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


def _times(
    table: Table,
    cells: Cells,
    columns: Columns,
    order: np.ndarray,
    offsets: np.ndarray,
    series: Sequence[str],
    lines: np.ndarray,
) -> tuple[np.ndarray, Frequency]:
    """Returns the first time of each series and the frequency, after a check that times are regular."""
    if not columns.time:
        return np.zeros(len(series), np.int64), Frequency(1, "1")
    found = cells.texts[columns.time]
    parsed = [parse(text) for text in found.known]
    if None in parsed:
        code = next(i for i, time in enumerate(parsed) if time is None)
        row = int(np.flatnonzero(found.codes[order] == code)[0])
        raise ValueError(
            f"{table.path}, line {lines[row]:,}, column {printable(repr(columns.time), 60)} must be a time such as "
            f"2016-07-01 05:00:00 or an integer, got {printable(repr(found.known[code]), 60)}"
        )
    calendar = not all(text.lstrip("+-").isdigit() for text in found.known)
    times = np.array(parsed, np.int64)[found.codes[order]]
    longest = int(np.argmax(np.diff(offsets)))
    frequency = frequency_of(times[offsets[longest] : offsets[longest + 1]], calendar)
    for i, (begin, end) in enumerate(itertools.pairwise(offsets)):
        of = f" of series {printable(repr(series[i]), 60)}" if columns.series else ""
        check_regular(table.path, columns.time, times[begin:end], lines[begin:end].tolist(), frequency, of)
    return times[offsets[:-1]], frequency


def _from_npz(path: str, columns: Columns) -> SeriesTable:
    shown = printable(path)
    given = [name for name in (columns.time, columns.series, *columns.past, *columns.future, *columns.static) if name]
    if given or columns.targets:
        raise ValueError(
            f"{shown} must be CSV where columns are named, got npz and {printable(repr(given or columns.targets), 60)}"
        )
    arrays = read_arrays(path, ("x",), ("time", "past", "future", "static", "names"))
    x = arrays["x"]
    if x.dtype.kind not in "biuf" or x.ndim not in (1, 2, 3) or not x.size:
        raise ValueError(f"{shown}: x must be numbers [T], [T, C] or [N, T, C], got {x.dtype} {x.shape}")
    x = x.reshape(1, -1, 1) if x.ndim == 1 else x[None] if x.ndim == 2 else x
    num_series, length, channels = x.shape
    covariates = {}
    for role in ("past", "future"):
        array = np.asarray(arrays.get(role, np.zeros((num_series, length, 0))), np.float64)
        array = array[None] if array.ndim == 2 else array
        if array.shape[:2] != x.shape[:2] or array.ndim != 3:
            raise ValueError(
                f"{shown}: {role} must have the leading axes of x, {x.shape[:2]}, got {arrays[role].shape}"
            )
        covariates[role] = array
    static = np.asarray(arrays.get("static", np.zeros((num_series, 0))), np.float64)
    if static.shape[:1] != (num_series,) or static.ndim != 2:
        raise ValueError(f"{shown}: static must be [N, S] with N = {num_series}, got {static.shape}")
    if np.isinf(x.astype(np.float64)).any():
        raise ValueError(f"{shown}: x must be finite, or NaN where a value is missing, got infinity")
    observed = ~np.isnan(x.astype(np.float64)).all(-1)
    ends = np.where(observed.any(1), length - np.argmax(observed[:, ::-1], 1), 0)
    rows = [np.arange(end) for end in ends]
    concatenated = lambda array: np.concatenate([array[i, keep] for i, keep in enumerate(rows)]).astype(np.float64)
    names = names_of(path, arrays, "names") or tuple(f"y{i}" for i in range(channels))
    if len(names) != channels:
        raise ValueError(f"{shown}: names must have {channels} names like x, got {len(names)}")
    start, frequency = _npz_times(shown, arrays.get("time"), length)
    roles = Columns(
        targets=names,
        past=tuple(f"past{i}" for i in range(covariates["past"].shape[2])),
        future=tuple(f"future{i}" for i in range(covariates["future"].shape[2])),
        static=tuple(f"static{i}" for i in range(static.shape[1])),
    )
    return SeriesTable(
        path=shown,
        columns=roles,
        targets=concatenated(x),
        past=concatenated(covariates["past"]),
        future=concatenated(covariates["future"]),
        static=static,
        offsets=np.concatenate([[0], np.cumsum(ends)]),
        names=tuple(str(i) for i in range(num_series)) if num_series > 1 else ("",),
        starts=np.full(num_series, start),
        frequency=frequency,
        lines=np.concatenate(rows),
    )


def _npz_times(shown: str, times: np.ndarray | None, length: int) -> tuple[int, Frequency]:
    if times is None:
        return 0, Frequency(1, "1")
    if times.shape != (length,) or times.dtype.kind not in "iuM":
        raise ValueError(
            f"{shown}: time must be integers or datetime64 of shape ({length},), got {times.dtype} {times.shape}"
        )
    calendar = times.dtype.kind == "M"
    seconds = times.astype("datetime64[s]").astype(np.int64) if calendar else times.astype(np.int64)
    frequency = frequency_of(seconds, calendar)
    check_regular(shown, "time", seconds, range(length), frequency)
    return int(seconds[0]), frequency
