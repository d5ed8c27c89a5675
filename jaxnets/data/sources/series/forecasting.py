"""Sliding windows of series for forecasting, split by time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxnets.data import statistics
from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.time_series import Columns, SeriesTable, read_series
from jaxnets.data.inputs import Windows
from jaxnets.data.sources.parts import ADJECTIVES, SPLITS, Split, assemble, describe, digest
from jaxnets.data.sources.series.sliding import Gathered, OfSeries, window_starts
from jaxnets.data.sources.series.splits import check_columns, check_leaks, ends_of_parts, names_of, rows_before
from jaxnets.data.targets import Horizon
from jaxnets.ops.checks import check_integer


def forecasting(
    path: str,
    horizon: int = 24,
    context: int = 96,
    *,
    targets: str | Sequence[str] = "",
    time: str = "",
    series: str = "",
    past: str | Sequence[str] = "",
    future: str | Sequence[str] = "",
    static: str | Sequence[str] = "",
    season: int = 1,
    splits: Sequence[float] = (0.7, 0.1, 0.2),
    split: str = "time",
    standardize: str = "train",
    stride: int = 1,
    batch_size: int = 32,
    seed: int = 0,
) -> Dataset:
    """Windows of one or many series for forecasting, from a CSV or npz file as ``formats.time_series`` describes.

    A batch has ``inputs`` float32 ``[B, T, C]``, the window; ``targets`` ``[B, H, C]``, the steps after it; ``mask``
    bool ``[B, H, C]``, False where a target is missing; ``observed`` bool ``[B, T, C]`` if the file has missing values;
    and the covariates ``past [B, T, P]``, ``future [B, T + H, F]`` and ``static [B, S]``, if there are any. Missing
    values of targets are 0 and masked; missing values of past covariates are 0, their mean if they are standardized.

    The series are split by time. The window of a validation or test target may reach into the part before, as it does
    in use. Windows are gathered when they are read: the series are in memory once.

    Args:
        path: The file.
        horizon: H, steps to forecast.
        context: T, steps of the window.
        targets: Columns to forecast, also as one comma-separated string; empty: all columns without another role.
        time: Column of timestamps, sorted and without gaps; empty: none.
        series: Column that names the series of a row; empty: the file is one series.
        past: Covariates that are known up to the present.
        future: Covariates that are also known for the time of the forecast, such as the hour or holidays.
        static: Covariates that are constant in each series.
        season: The period in steps, for the seasonal naive forecast and for MASE.
        splits: Sizes of the parts for training, validation and test, in time order: numbers of steps, or fractions of
            each series. Steps after them are not used.
        split: ``"time"``. Random splits are refused: neighboring windows share almost all their steps.
        standardize: ``"train"``: to mean 0 and standard deviation 1 over the training part, computed in float64 by
            ``statistics.fit``; or ``"none"``. Statistics of all data are refused, because they reveal the future.
        stride: Steps between the starts of training windows.
        batch_size: B, rows of a batch; 0: all training rows.
        seed: Seed of the order.

    Raises:
        ValueError: If the file cannot be read, a column is missing or constant or has no value in the training part,
            timestamps are irregular, a part has no window, a future covariate is not known, or an argument would leak.
    """
    check_arguments(seed, horizon=horizon, context=context, season=season, stride=stride)
    check_integer("batch_size", batch_size, minimum=0)
    check_leaks(split, standardize)
    columns = Columns(names_of(targets), time, series, names_of(past), names_of(future), names_of(static))
    return from_series(
        read_series(path, columns),
        horizon,
        context,
        season=season,
        splits=splits,
        standardize=standardize == "train",
        stride=stride,
        batch_size=batch_size,
        seed=seed,
    )


def from_series(
    table: SeriesTable,
    horizon: int,
    context: int,
    *,
    season: int,
    splits: Sequence[float],
    standardize: bool,
    stride: int,
    batch_size: int,
    seed: int,
) -> Dataset:
    """Returns the dataset of the windows of series; the arguments are as in ``forecasting``."""
    ends = ends_of_parts(table, splits)
    train = rows_before(table.offsets, ends[:, 0])
    check_columns(table, train)
    values = np.concatenate([table.targets, table.past, table.future], axis=1)
    fitted = statistics.fit(values[None], train[None]) if standardize else None
    of_static = statistics.fit(table.static[None], np.ones((1, len(table.static)), bool)) if standardize else None
    arrays = standardized_arrays(table, fitted, of_static)
    spec = Horizon(
        names=table.columns.targets,
        horizon=horizon,
        context=context,
        season=season,
        naive_error=naive_errors(arrays["targets"], arrays["observed"], table.offsets, ends[:, 0], season),
        **statistics.moments_of(fitted and statistics.Statistics(*(m[: table.targets.shape[1]] for m in fitted))),
    )
    parts = {}
    for i, name in enumerate(SPLITS):
        begins = ends[:, i - 1] if i else np.zeros(len(ends), np.int64)
        starts = window_starts(table.offsets, begins, ends[:, i], context, horizon, stride if i == 0 else 1)
        if not len(starts):
            _raise_too_short(table, name, begins, ends[:, i], context, horizon)
        parts[name] = starts
    has_gaps = not arrays["observed"].all()
    split_arrays = {
        name: Split(_views(arrays, starts, table, context, horizon, has_gaps)) for name, starts in parts.items()
    }
    channels = "1 channel" if len(table.columns.targets) == 1 else f"{len(table.columns.targets)} channels"
    columns, sizes = table.columns, np.array([context, horizon])
    counts = {name: len(starts) for name, starts in parts.items()}
    many = f"{len(table.names):,} series" if len(table.names) > 1 else "1 series"
    summary = f"{many} of {channels}, {len(table.targets):,} steps ({table.frequency})"
    return assemble(
        split_arrays,
        batch_size=batch_size,
        seed=seed,
        spec=spec,
        fingerprint=digest([{**arrays, "offsets": table.offsets, "ends": ends, "sizes": sizes}]),
        description=describe(table.path, f"windows of {context} + {horizon} steps", counts, summary),
        inputs=Windows(
            targets=columns.targets,
            context=context,
            horizon=horizon,
            time=columns.time,
            series=columns.series,
            past=columns.past,
            future=columns.future,
            static=columns.static,
            count=table.frequency.count,
            unit=table.frequency.unit,
            **_all_moments(fitted, of_static),
        ),
    )


def standardized_arrays(
    table: SeriesTable, fitted: statistics.Statistics | None, of_static: statistics.Statistics | None
) -> dict[str, np.ndarray]:
    """Returns the values of a table as float32 arrays, 0 where missing, and ``observed`` bool ``[M, C]``."""
    values = np.concatenate([table.targets, table.past, table.future], axis=1)
    known = ~np.isnan(values)
    scaled = statistics.standardized(values[None], np.ones((1, len(values)), bool), fitted)[0]
    scaled = np.where(known, scaled, np.float32(0))
    cuts = np.cumsum([table.targets.shape[1], table.past.shape[1]])
    targets, past, future = np.split(scaled, cuts, axis=1)
    static = statistics.standardized(table.static[None], np.ones((1, len(table.static)), bool), of_static)[0]
    return {"targets": targets, "past": past, "future": future, "static": static, "observed": known[:, : cuts[0]]}


def naive_errors(
    values: np.ndarray, observed: np.ndarray, offsets: np.ndarray, ends: np.ndarray, season: int
) -> tuple[float, ...]:
    """Returns the mean absolute difference to the value one season before, over the training part, per channel."""
    total, count = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for begin, end in zip(offsets[:-1], offsets[:-1] + ends, strict=True):
        if end - begin <= season:
            continue
        both = observed[begin + season : end] & observed[begin : end - season]
        difference = np.abs(values[begin + season : end].astype(np.float64) - values[begin : end - season])
        total += np.where(both, difference, 0).sum(0)
        count += both.sum(0)
    return tuple((total / np.maximum(count, 1)).tolist())


def _views(
    arrays: Mapping[str, np.ndarray], starts: Any, table: SeriesTable, context: int, horizon: int, has_gaps: bool
) -> dict[str, Any]:
    """Returns the arrays of a batch as views of the series."""
    views: dict[str, Any] = {
        "inputs": Gathered(arrays["targets"], starts, 0, context),
        "targets": Gathered(arrays["targets"], starts, context, horizon),
        "mask": Gathered(arrays["observed"], starts, context, horizon),
    }
    if has_gaps:
        views["observed"] = Gathered(arrays["observed"], starts, 0, context)
    if table.past.shape[1]:
        views["past"] = Gathered(arrays["past"], starts, 0, context)
    if table.future.shape[1]:
        views["future"] = Gathered(arrays["future"], starts, 0, context + horizon)
    if table.static.shape[1]:
        views["static"] = OfSeries(arrays["static"], starts, table.offsets)
    return views


def _raise_too_short(
    table: SeriesTable, name: str, begins: np.ndarray, ends: np.ndarray, context: int, horizon: int
) -> None:
    needed = context + horizon if name == "train" else horizon
    got = int((ends - begins).max())
    sizes = f"a window of {context} + {horizon} steps" if name == "train" else f"a horizon of {horizon} steps"
    of = f"of the longest series {got}" if len(table.names) > 1 else f"{got}"
    before = "" if name == "train" or got < horizon else f" after at least {context} steps of earlier parts"
    part = ADJECTIVES.get(name, name)
    raise ValueError(f"{table.path}: the {part} part must have at least {needed} steps for {sizes}{before}, got {of}")


def _all_moments(
    fitted: statistics.Statistics | None, of_static: statistics.Statistics | None
) -> dict[str, tuple[float, ...]]:
    if fitted is None or of_static is None:
        return {}
    both = zip(fitted._asdict().items(), of_static, strict=True)
    return {name: (*a.tolist(), *static.tolist()) for (name, a), static in both}
