"""Sliding windows of concatenated series, by reference: starts of windows, and arrays that are gathered on demand."""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from jaxnets.data.formats.time_series import SeriesTable


class WindowStarts:
    """The first rows of all windows, computed from their index.

    Args:
        firsts: int64 ``[series]``, the first window of each series.
        counts: int64 ``[series]``, the number of windows of each series.
        stride: Rows between windows.
    """

    def __init__(self, firsts: np.ndarray, counts: np.ndarray, stride: int):
        self._firsts, self._stride = firsts[counts > 0], stride
        self._ends = np.cumsum(counts[counts > 0])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: Any) -> np.ndarray:
        index = np.asarray(index)
        series = np.searchsorted(self._ends, index, side="right")
        before = np.concatenate([[0], self._ends])[series]
        return self._firsts[series] + self._stride * (index - before)


def window_starts(
    offsets: np.ndarray, begins: np.ndarray, ends: np.ndarray, context: int, horizon: int, stride: int
) -> WindowStarts:
    """Returns the windows whose ``horizon`` steps lie within a part of each series.

    The ``context`` steps before may reach into earlier parts, but not beyond the start of the series.

    Args:
        offsets: int64 ``[series + 1]``, the rows at which the series begin, and the end.
        begins: int64 ``[series]``, the first step of the part in each series.
        ends: int64 ``[series]``, the end of the part.
        context, horizon: Steps of a window and steps to forecast.
        stride: Steps between windows.
    """
    first = np.maximum(begins - context, 0)
    counts = np.maximum((ends - horizon - context - first) // stride + 1, 0)
    return WindowStarts(offsets[:-1] + first, counts, stride)


def covering_windows(
    offsets: np.ndarray, begins: np.ndarray, ends: np.ndarray, context: int, steps: int
) -> WindowStarts:
    """Returns windows whose last ``steps`` steps cover a part of each series once, in time order.

    The last window of a part may reach beyond its end, for which ``with_gaps`` makes room. The first ``context`` steps
    of a series are not covered. The arguments are as in ``window_starts``.
    """
    return window_starts(offsets, begins, ends + steps - 1, context, steps, steps)


def with_gaps(values: np.ndarray, offsets: np.ndarray, size: int, fill: Any) -> np.ndarray:
    """Returns an array with ``size`` rows of the value ``fill`` after each series.

    Args:
        values: ``[M, ...]``.
        offsets: int64 ``[series + 1]``, the rows at which the series begin, and the end.
        size: Rows of a gap.
        fill: The value in the gaps.
    """
    series = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    result = np.full((len(values) + size * (len(offsets) - 1), *values.shape[1:]), fill, values.dtype)
    result[np.arange(len(values)) + size * series] = values
    return result


def check_future(table: SeriesTable) -> None:
    """Raises a ValueError if a future covariate is missing at a step."""
    for i, name in enumerate(table.columns.future):
        missing = np.flatnonzero(np.isnan(table.future[:, i]))
        if len(missing):
            raise ValueError(
                f"{table.place(int(missing[0]), name)} must be known for every step, because a future covariate is "
                "read at the time of the forecast, got no value; use `past` if it is not known in advance"
            )


class Gathered:
    """An array ``[windows, length, ...]`` whose rows are slices of one array.

    Args:
        values: ``[M, ...]``.
        starts: The first row of each window.
        shift: Rows between the start of a window and its slice.
        length: Rows of a slice.
    """

    def __init__(self, values: np.ndarray, starts: WindowStarts, shift: int, length: int):
        self._starts, self._shift = starts, shift
        self.dtype, self.shape = values.dtype, (len(starts), length, *values.shape[1:])
        # All slices as a view [M - length + 1, length, ...], of which NumPy copies a slice at once, not row by row.
        size = (length, *values.shape[1:])
        fits = length <= len(values)
        self._slices = sliding_window_view(values, size).reshape(-1, *size) if fits else np.empty((0, *size))

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Returns the slices of one window or of an array of windows, as a copy."""
        slices = self._slices[self._starts[index] + self._shift]
        return slices if slices.flags.writeable else slices.copy()  # of one window it is a view


class OfSeries:
    """An array ``[windows, ...]`` whose rows belong to the series of each window.

    Args:
        values: ``[series, ...]``.
        starts: The first row of each window.
        offsets: int64 ``[series + 1]``, the rows at which the series begin, and the end.
    """

    def __init__(self, values: np.ndarray, starts: WindowStarts, offsets: np.ndarray):
        self._values, self._starts, self._offsets = values, starts, offsets
        self.dtype, self.shape = values.dtype, (len(starts), *values.shape[1:])

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Returns the rows of one window or of an array of windows."""
        return self._values[np.searchsorted(self._offsets, self._starts[index], side="right") - 1]
