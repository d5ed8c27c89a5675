"""Windows of series with a label per step, split by time, for the detection of anomalies."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnets.data import statistics
from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.time_series import Columns, SeriesTable, read_series
from jaxnets.data.inputs import LabeledWindows
from jaxnets.data.sources.parts import ADJECTIVES, SPLITS, Split, assemble, describe, digest
from jaxnets.data.sources.series.forecasting import standardized_arrays
from jaxnets.data.sources.series.sliding import Gathered, OfSeries, covering_windows, window_starts, with_gaps
from jaxnets.data.sources.series.splits import check_columns, check_leaks, ends_of_parts, names_of, rows_before
from jaxnets.data.targets import LabeledSteps


def labeled_steps(
    path: str,
    context: int = 64,
    steps: int = 64,
    *,
    labels: str = "anomaly",
    targets: str | Sequence[str] = "",
    time: str = "",
    series: str = "",
    splits: Sequence[float] = (0.5, 0.1, 0.4),
    split: str = "time",
    standardize: str = "train",
    batch_size: int = 32,
    seed: int = 0,
) -> Dataset:
    """Windows of one or many series with a label per step, from a CSV or npz file as in ``data.forecasting``.

    A batch has ``inputs`` float32 ``[B, T + S, C]``, a window of T steps of context and S scored steps, 0 where a value
    is missing; ``observed`` bool ``[B, T + S, C]``, False there; ``mask`` bool ``[B, S]``, the steps to use; ``labels``
    bool ``[B, S]``, True for an anomaly; and ``series`` int32 ``[B]``, the index of the series.

    Windows of the training part begin at every step. In the validation and the test part each step is scored in exactly
    one window, in time order; its context may reach into the part before. The first T steps of a series are not scored.
    Steps with a missing value and, in training and validation, anomalies are masked.

    Args:
        path: The file.
        context: T, steps before the scored ones.
        steps: S, scored steps of a window.
        labels: Column of labels, 0 or false for a normal step and 1 or true for an anomaly. In an npz file the name of
            an array ``[T]`` or ``[N, T]``.
        targets: Columns of the channels, also as one comma-separated string; empty: all columns without another role.
        time, series, splits, split: As in ``data.forecasting``.
        standardize: ``"train"``: to mean 0 and standard deviation 1 over the normal steps of the training part; or
            ``"none"``. Statistics of all data are refused, because they reveal the future.
        batch_size: B, rows of a batch.
        seed: Seed of the order.

    Raises:
        ValueError: If the file cannot be read, a label is neither 0 nor 1, a column is missing or constant in the
            training part, timestamps are irregular, a part has no window, the training part has no normal step, or an
            argument would leak.
    """
    check_arguments(seed, batch_size=batch_size, context=context, steps=steps)
    check_leaks(split, standardize)
    if not isinstance(labels, str) or not labels:
        raise ValueError(f"`labels` must be the name of a column, got {labels!r}")
    return from_labeled_series(
        read_series(path, Columns(names_of(targets), time, series, labels=labels)),
        context,
        steps,
        splits=splits,
        standardize=standardize == "train",
        batch_size=batch_size,
        seed=seed,
    )


def from_labeled_series(
    table: SeriesTable,
    context: int,
    steps: int,
    *,
    splits: Sequence[float],
    standardize: bool,
    batch_size: int,
    seed: int,
) -> Dataset:
    """Returns the dataset of the windows of series with labels; the arguments are as in ``labeled_steps``."""
    assert table.labels is not None
    ends, labels = ends_of_parts(table, splits), table.labels
    train = rows_before(table.offsets, ends[:, 0])
    if labels[train].all():
        raise ValueError(f"{table.path}: the training part must have normal steps, got {train.sum():,} anomalies")
    check_columns(table, train & ~labels)
    fitted = statistics.fit(table.targets[None], (train & ~labels)[None]) if standardize else None
    arrays = standardized_arrays(table, fitted, None)
    complete = arrays["observed"].all(1)
    # The last window of a part may reach beyond the end of the series.
    gapped = lambda values: with_gaps(values, table.offsets, steps - 1, 0)
    offsets = table.offsets + (steps - 1) * np.arange(len(table.offsets))
    values, observed, gapped_labels = gapped(arrays["targets"]), gapped(arrays["observed"]), gapped(labels)
    index = np.arange(len(table.names), dtype=np.int32)
    parts, counts, previous = {}, {}, np.zeros(len(ends), np.int64)
    for i, name in enumerate(SPLITS):
        bounds = previous, ends[:, i]
        if name == "train":
            starts = window_starts(offsets, *bounds, context, steps, 1)
        else:
            starts = covering_windows(offsets, *bounds, context, steps)
        if not len(starts):
            _raise_too_short(table, name, *bounds, context, steps)
        here = rows_before(table.offsets, bounds[1]) & ~rows_before(table.offsets, bounds[0])
        used = here & complete & (True if name == "test" else ~labels)
        parts[name] = Split(
            {
                "inputs": Gathered(values, starts, 0, context + steps),
                "observed": Gathered(observed, starts, 0, context + steps),
                "mask": Gathered(gapped(used), starts, context, steps),
                "labels": Gathered(gapped_labels, starts, context, steps),
                "series": OfSeries(index, starts, offsets),
            }
        )
        counts[name], previous = len(starts), bounds[1]
    moments: dict[str, Any] = statistics.moments_of(fitted)
    names, frequency = table.columns.targets, table.frequency
    test = rows_before(table.offsets, ends[:, 2]) & ~rows_before(table.offsets, ends[:, 1])
    channels = "1 channel" if len(names) == 1 else f"{len(names)} channels"
    many = f"{len(table.names):,} series" if len(table.names) > 1 else "1 series"
    summary = f"{many} of {channels}, {len(labels):,} steps ({frequency}), {labels[test].mean():.1%} anomalies in test"
    return assemble(
        parts,
        batch_size=batch_size,
        seed=seed,
        spec=LabeledSteps(names, context, steps, **moments),
        fingerprint=digest(
            [{**arrays, "labels": labels, "ends": ends, "offsets": table.offsets, "sizes": np.array([context, steps])}]
        ),
        description=describe(table.path, f"windows of {context} + {steps} steps", counts, summary),
        inputs=LabeledWindows(
            targets=names,
            context=context,
            horizon=steps,
            time=table.columns.time,
            series=table.columns.series,
            count=frequency.count,
            unit=frequency.unit,
            labels=table.columns.labels,
            **moments,
        ),
    )


def _raise_too_short(
    table: SeriesTable, name: str, begins: np.ndarray, ends: np.ndarray, context: int, steps: int
) -> None:
    got, part = int((ends - begins).max()), ADJECTIVES.get(name, name)
    of = f"of the longest series {got}" if len(table.names) > 1 else f"{got}"
    needed = f"{context + steps} steps for a window of {context} + {steps}" if name == "train" else "1 step to score"
    raise ValueError(f"{table.path}: the {part} part must have at least {needed}, got {of}")
