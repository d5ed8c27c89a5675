"""Splits of series by time, checks of their columns, and arguments that would leak the future."""

from collections.abc import Sequence

import numpy as np

from jaxnets.data.formats.time_series import SeriesTable
from jaxnets.data.sources.series.sliding import check_future
from jaxnets.ops.checks import check_choice
from jaxnets.ops.host.printable import printable


def check_leaks(split: str, standardize: str) -> None:
    """Raises a ValueError for a random split and for statistics of all data."""
    if split == "random":
        raise ValueError(
            "`split` must be time, got random: neighboring windows share almost all their steps, so that the training "
            "part would contain the test part"
        )
    check_choice("split", split, ("time",))
    if standardize == "all":
        raise ValueError(
            "`standardize` must be train or none, got all: the mean and the standard deviation of all data reveal the "
            "level of the test part"
        )
    check_choice("standardize", standardize, ("train", "none"))


def names_of(names: str | Sequence[str]) -> tuple[str, ...]:
    """Returns names that may be given as one comma-separated string."""
    given = names.split(",") if isinstance(names, str) else names
    return tuple(name.strip() for name in given if name.strip())


def ends_of_parts(table: SeriesTable, splits: Sequence[float]) -> np.ndarray:
    """Returns the ends of the parts within each series, int64 ``[series, 3]``.

    Args:
        table: The series.
        splits: Sizes of the parts: numbers of steps, or fractions of each series.

    Raises:
        ValueError: ``splits`` has another form, or no series has so many steps.
    """
    if len(splits) != 3 or not all(isinstance(size, int | float) and size >= 0 for size in splits) or not splits[0]:
        raise ValueError(f"`splits` must be three numbers of steps or fractions, got {tuple(splits)}")
    lengths = np.diff(table.offsets)
    total = sum(splits)
    if total <= 1:
        cuts = np.floor(np.cumsum(splits)[None] * lengths[:, None] + 1e-9).astype(np.int64)
    elif all(size == int(size) for size in splits):
        cuts = np.minimum(np.cumsum(np.array(splits, np.int64))[None], lengths[:, None])
        if total > lengths.max():
            raise ValueError(f"{table.path} must have {int(total):,} steps for `splits`, got {int(lengths.max()):,}")
    else:
        raise ValueError(
            f"`splits` must be fractions with a sum of at most 1, or numbers of steps, got {tuple(splits)}"
        )
    return cuts


def rows_before(offsets: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns the mask of the rows before the ends ``[series]`` within each series."""
    mask = np.zeros(offsets[-1], bool)
    for begin, end in zip(offsets[:-1], ends, strict=True):
        mask[begin : begin + end] = True
    return mask


def check_columns(table: SeriesTable, train: np.ndarray) -> None:
    """Raises a ValueError for a column that is missing or constant in training, or a future covariate with gaps.

    Args:
        table: The series.
        train: bool ``[M]``, True for the rows from which the statistics come.
    """
    roles = {"targets": table.targets, "past": table.past, "future": table.future}
    for role, values in roles.items():
        for i, name in enumerate(getattr(table.columns, role)):
            shown, column = printable(repr(name), 60), values[:, i]
            known = column[train & ~np.isnan(column)]
            if not len(known):
                where = "" if np.isnan(column).all() else " in the training part"
                raise ValueError(f"{table.path}, column {shown} must have values, got none{where}")
            if role == "targets" and known.min() == known.max():
                raise ValueError(
                    f"{table.path}, column {shown} must vary in the training part, got the constant {known[0]:g}"
                )
    check_future(table)
