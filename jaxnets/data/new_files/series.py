"""New series in the format of the training data: the last window of each series, or all windows with their targets."""

import itertools
from collections.abc import Sequence

import numpy as np

from jaxnets.data import statistics
from jaxnets.data.formats.features import is_npz
from jaxnets.data.formats.time_series import Columns, SeriesTable, read_series
from jaxnets.data.inputs import Windows
from jaxnets.data.sources.series.sliding import Gathered, OfSeries, check_future, window_starts
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
        steps = time_of(np.arange(last, last + inputs.horizon))
        times.append([show(int(time), table.frequency.unit, brief=bool(np.all(steps % DAY == 0))) for time in steps])
        first = begin + last - inputs.context
        future = table.future[first : min(begin + last + inputs.horizon, end)]
        missing = np.isnan(future).any(1)
        if inputs.future and (missing.any() or len(future) < inputs.context + inputs.horizon):
            step = last - inputs.context + (int(np.argmax(missing)) if missing.any() else len(future))
            raise ValueError(
                f"{table.path}: {of}the future covariates {', '.join(map(repr, inputs.future))} must be known for "
                f"{inputs.horizon} steps after the last target, got no value for "
                f"{show(int(time_of(np.array(step))), table.frequency.unit)}; add rows with empty targets"
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


def _read(path: str, inputs: Windows) -> SeriesTable:
    """Reads the columns of the training data, at its frequency."""
    columns = Columns(inputs.targets, inputs.time, inputs.series, inputs.past, inputs.future, inputs.static)
    frequency = Frequency(inputs.count, inputs.unit)
    table = read_series(path, Columns() if is_npz(path) else columns, frequency)
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
