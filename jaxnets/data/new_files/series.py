"""New series in the format of the training data.

For forecasts, these are the last window of each series, or all windows with their targets. For the scores of steps,
they are windows that cover each series once.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnets.data import statistics
from jaxnets.data.formats.features import is_npz
from jaxnets.data.formats.time_series import Columns, SeriesTable, read_series
from jaxnets.data.inputs import LabeledWindows, Windows
from jaxnets.data.sources.series.sliding import (
    Gathered,
    OfSeries,
    WindowStarts,
    check_future,
    covering_windows,
    window_starts,
    with_gaps,
)
from jaxnets.data.targets import Horizon
from jaxnets.data.timestamps import UNITS, Frequency, show
from jaxnets.ops.host.memory import check_memory

Arrays = dict[str, np.ndarray]

DAY = UNITS["day"]


def last_windows(path: str, inputs: Windows) -> Arrays:
    """Reads the last window of each series, from which the steps after its end are forecast.

    A series ends at its last step with a value of a target. Steps after it hold the future covariates.

    Args:
        path: A CSV or npz file as in training.
        inputs: The description of the windows.

    Returns:
        Raw ``inputs [N, T, C]`` and covariates in float64 with NaN for missing values; ``times [N, H]``, the times of
        the forecasts as text; and ``series [N]``, their names, if the run has a column of series.

    Raises:
        ValueError: The file cannot be read, a series is shorter than a window, or a future covariate is not known.
    """
    table = _read(path, inputs)
    frames: dict[str, list[np.ndarray]] = {name: [] for name in ("inputs", "past", "future")}
    times = []
    for i, (begin, end) in enumerate(itertools.pairwise(table.offsets)):
        known = np.flatnonzero(~np.isnan(table.targets[begin:end]).all(1))
        last = int(known[-1]) + 1 if len(known) else 0
        of = table.series_name(i)
        if last < inputs.context:
            raise ValueError(f"{table.path}: {of}the series must have at least {inputs.context} steps, got {last}")
        time_of = lambda steps, i=i: table.frequency.after(int(table.starts[i]), steps)
        times.append(_shown(table, time_of(np.arange(last, last + inputs.horizon))))
        first = begin + last - inputs.context
        future = table.future[first : min(begin + last + inputs.horizon, end)]
        missing = np.isnan(future).any(1)
        if inputs.future and (missing.any() or len(future) < inputs.context + inputs.horizon):
            step = last - inputs.context + (int(np.argmax(missing)) if missing.any() else len(future))
            raise ValueError(
                f"{table.path}: {of}the future covariates {', '.join(map(repr, inputs.future))} must be known for "
                f"{inputs.horizon} steps after the last target, got no value for "
                f"{_shown(table, time_of(np.array([step])))[0]}; add rows with empty targets"
            )
        frames["inputs"].append(table.targets[first : begin + last])
        frames["past"].append(table.past[first : begin + last])
        frames["future"].append(future)
    arrays = {name: np.stack(values) for name, values in frames.items() if values[0].shape[-1]}
    if inputs.static:
        arrays["static"] = table.static
    if inputs.series:
        arrays["series"] = np.array(table.names)
    return {**arrays, "times": np.array(times)}


def all_windows(path: str, inputs: Windows, spec: Horizon) -> Arrays:
    """Reads all windows of a file with their targets, for evaluation.

    Returns:
        Raw inputs and covariates as in ``last_windows``; ``targets [N, H, C]``, standardized as in training; and
        ``mask``, False where a target is missing.

    Raises:
        ValueError: The file cannot be read, has no window, or a future covariate is not known.
    """
    table = _read(path, inputs)
    lengths = np.diff(table.offsets)
    check_future(table)
    total = inputs.context + inputs.horizon
    starts = window_starts(table.offsets, np.zeros_like(lengths), lengths, inputs.context, inputs.horizon, 1)
    if not len(starts):
        raise ValueError(f"{table.path}: a series must have at least {total} steps, one window, got {lengths.max()}")
    check_memory(table.path, 8 * len(starts) * total * inputs.size)
    rows = np.arange(len(starts))
    gathered = lambda values, length: Gathered(values, starts, 0, length)[rows]
    raw = gathered(table.targets, total)
    targets, known = raw[:, inputs.context :], ~np.isnan(raw[:, inputs.context :])
    scaled = statistics.standardized(targets.copy(), np.ones(targets.shape[:2], bool), spec.statistics)
    arrays = {"inputs": raw[:, : inputs.context], "targets": np.where(known, scaled, np.float32(0)), "mask": known}
    if inputs.past:
        arrays["past"] = gathered(table.past, inputs.context)
    if inputs.future:
        arrays["future"] = gathered(table.future, total)
    if inputs.static:
        arrays["static"] = OfSeries(table.static, starts, table.offsets)[rows]
    return arrays


def scored_windows(path: str, inputs: LabeledWindows) -> Arrays:
    """Reads windows whose last S steps cover each series once, except its first T steps. Labels are not needed.

    Returns:
        Raw ``inputs [N, T + S, C]`` in float64 with NaN for missing values and beyond the end of a series; ``times
        [N, S]``, the times of the scored steps as text; and ``series [N]``, names, if the run has a column of series.

    Raises:
        ValueError: The file cannot be read, or a series has no scored step.
    """
    table = _read(path, inputs)
    starts, offsets = _covering(table, inputs)
    first = np.asarray(starts[np.arange(len(starts))])
    series = np.searchsorted(offsets, first, side="right") - 1
    steps = (first - offsets[series] + inputs.context)[:, None] + np.arange(inputs.horizon)
    times = [table.frequency.after(int(table.starts[i]), own) for i, own in zip(series, steps, strict=True)]
    arrays = {
        "inputs": _gapped_windows(table.targets, np.nan, table, starts, inputs, 0),
        "times": _shown(table, np.stack(times)),
    }
    return {**arrays, "series": np.array(table.names)[series]} if inputs.series else arrays


def labeled_windows(path: str, inputs: LabeledWindows) -> Arrays:
    """Reads windows as ``scored_windows`` does, with the labels of their steps, for evaluation.

    Returns:
        Raw ``inputs``; ``labels`` and ``mask``, bool ``[N, S]``, False in ``mask`` where a value is missing; and
        ``series`` int32 ``[N]``, the index of the series.

    Raises:
        ValueError: The file cannot be read, has no labels, or a series has no scored step.
    """
    table = _read(path, inputs, inputs.labels)
    assert table.labels is not None
    starts, offsets = _covering(table, inputs)
    inputs_of = lambda values, fill, shift: _gapped_windows(values, fill, table, starts, inputs, shift)
    return {
        "inputs": inputs_of(table.targets, np.nan, 0),
        "labels": inputs_of(table.labels, False, inputs.context),
        "mask": inputs_of(~np.isnan(table.targets).any(1), False, inputs.context),
        "series": OfSeries(np.arange(len(table.names), dtype=np.int32), starts, offsets)[np.arange(len(starts))],
    }


def _covering(table: SeriesTable, inputs: LabeledWindows) -> tuple[WindowStarts, np.ndarray]:
    """Returns the windows of series with gaps after them, and the offsets of these series."""
    lengths = np.diff(table.offsets)
    short = np.flatnonzero(lengths <= inputs.context)
    if len(short):
        raise ValueError(
            f"{table.path}: {table.series_name(int(short[0]))}the series must have at least {inputs.context + 1} "
            f"steps, {inputs.context} before the first score, got {lengths[short[0]]}"
        )
    offsets = table.offsets + (inputs.horizon - 1) * np.arange(len(table.offsets))
    starts = covering_windows(offsets, np.zeros_like(lengths), lengths, inputs.context, inputs.horizon)
    check_memory(table.path, 8 * len(starts) * (inputs.context + inputs.horizon) * inputs.size)
    return starts, offsets


def _gapped_windows(
    values: np.ndarray, fill: Any, table: SeriesTable, starts: WindowStarts, inputs: LabeledWindows, shift: int
) -> np.ndarray:
    """Returns the steps of all windows from the step ``shift`` on, with a value for steps beyond the series."""
    gapped = with_gaps(values, table.offsets, inputs.horizon - 1, fill)
    return Gathered(gapped, starts, shift, inputs.context + inputs.horizon - shift)[np.arange(len(starts))]


def _shown(table: SeriesTable, times: np.ndarray) -> np.ndarray:
    """Returns times as text, without the time of day if it is midnight for all of them."""
    brief = bool(np.all(times % DAY == 0))
    text = [show(int(time), table.frequency.unit, brief) for time in times.flat]
    return np.array(text).reshape(times.shape)


def _read(path: str, inputs: Windows, labels: str = "") -> SeriesTable:
    """Reads the columns of the training data, at its frequency."""
    columns = Columns(inputs.targets, inputs.time, inputs.series, inputs.past, inputs.future, inputs.static, labels)
    frequency = Frequency(inputs.count, inputs.unit)
    table = read_series(path, Columns(labels=labels) if is_npz(path) else columns, frequency)
    sizes: Sequence[tuple[str, int, int]] = (
        ("channels", table.targets.shape[1], len(inputs.targets)),
        ("past covariates", table.past.shape[1], len(inputs.past)),
        ("future covariates", table.future.shape[1], len(inputs.future)),
        ("static covariates", table.static.shape[1], len(inputs.static)),
    )
    for name, got, wanted in sizes:
        if got != wanted:
            raise ValueError(f"{table.path} must have {wanted} {name} as in training, got {got}")
    return table
