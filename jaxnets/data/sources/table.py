"""Tables of features and targets, from CSV and npz files."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxnets.data import statistics
from jaxnets.data.checks import check_arguments, check_fraction, one_line_errors
from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.formats.csv_table import Cells, Table, Texts, place, read_cells, read_table
from jaxnets.data.formats.features import check_columns, features_of, is_npz, table_array, targets_of
from jaxnets.data.formats.npz import member_names, names_of, read_arrays
from jaxnets.data.inputs import Columns
from jaxnets.data.labels import MAX_CLASSES
from jaxnets.data.preprocessing import standardized_features
from jaxnets.data.sources.examples import dataset
from jaxnets.data.sources.image_folder import PARTS
from jaxnets.data.sources.parts import draw
from jaxnets.data.target_arrays import KINDS
from jaxnets.ops.checks import check_choice
from jaxnets.ops.printable import printable

MAX_CATEGORIES = 1000  # of a column


class Raw(NamedTuple):
    """A table before it is standardized.

    Attributes:
        features: ``[N, D]``.
        targets: ``[N]`` or ``[N, C]``; None where there are none.
        names: Of the classes, quantities or labels; none where they are not known.
        columns: Of the features, without statistics.
        rows: Numbers of the rows of each part.
    """

    features: np.ndarray
    targets: np.ndarray | None
    names: tuple[str, ...]
    columns: Columns
    rows: dict[str, np.ndarray]


@one_line_errors
def table(
    path: str,
    target: str | Sequence[str] = "",
    target_type: str = "classes",
    columns: Sequence[str] = (),
    categorical: Sequence[str] = (),
    split: str = "",
    batch_size: int = 64,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    standardize: bool = True,
    seed: int = 0,
) -> Dataset:
    """Rows of a table, features ``[B, D]``, from a CSV file with a header or an npz file.

    In a CSV file, columns of numbers are features, and columns of texts become a feature for each text that the
    training part has, 0 or 1. A missing value is an error that names its line and column.

    An npz file has ``x_train`` ``[N, D]``, ``y_train``, and the same with ``_test``; or ``x`` and ``y``, of which the
    test part is drawn. Names of features are in ``columns``, those of targets as in ``series``, if they are there.

    Args:
        path: The file; CSV may be gzipped.
        target: The column that is to be predicted, or several, also as one text with commas between their names:
            quantities, or labels of 0 and 1.
        target_type: As in ``series``.
        columns: Those that are features; none: all that are not targets.
        categorical: Those that are categories although they hold numbers.
        split: The column that says which part a row is in: train, validation or test; "": they are drawn.
        batch_size: B, rows.
        validation_fraction: The part of all that is held out.
        test_fraction: The part of all for testing, where the file does not say which that is.
        standardize: Whether features of numbers get mean 0 and standard deviation 1 over the training part, as
            ``statistics.fit`` finds them in float64; a constant feature becomes 0.
        seed: Of the order and of what is held out.

    Raises:
        ValueError: The file cannot be read or lacks something, a cell is not what it should be (line and column are
            named), or an argument is out of range.
    """
    check_arguments(seed, validation_fraction, batch_size=batch_size)
    check_choice("target_type", target_type, KINDS)
    check_fraction("test", test_fraction)
    if test_fraction >= 1 - validation_fraction:
        raise ValueError(
            f"`test_fraction` must be less than what `validation_fraction` leaves, {1 - validation_fraction:g}, "
            f"got {test_fraction}"
        )
    shares = {"validation": validation_fraction, "test": test_fraction}
    chosen = (target,) if isinstance(target, str) else tuple(target)
    chosen = tuple(name for name in chosen if name)
    if is_npz(path):
        if chosen or columns or categorical or split:
            raise ValueError(f"{printable(path)}: target, columns, categorical and split must be of CSV, got npz")
        raw = _of_npz(path, target_type, shares, seed)
    else:
        raw = _of_csv(read_table(path), chosen, target_type, tuple(columns), tuple(categorical), split, shares, seed)
    inputs = _fitted(raw, standardize)
    made = {
        name: Examples(
            standardized_features(raw.features[rows], inputs.statistics),
            None if raw.targets is None else raw.targets[rows],
        )
        for name, rows in raw.rows.items()
    }
    return dataset(
        made["train"],
        made.get("test"),
        batch_size=batch_size,
        validation_fraction=made["validation"],
        seed=seed,
        source=printable(path),
        targets=target_type,
        names=raw.names,
        inputs=inputs,
    )


def _of_npz(path: str, targets: str, shares: dict[str, float], seed: int) -> Raw:
    known = member_names(path)
    parts = ("_train", "_test") if "x_train" in known else ("",)
    letters = "x" if targets == "none" else "xy"
    key = {"quantities": "quantities", "labels": "classes"}.get(targets, "")
    arrays = read_arrays(
        path, tuple(letter + part for part in parts for letter in letters), ("columns", *([key] if key else ()))
    )
    xs = [table_array(path, arrays[f"x{part}"], f"x{part}") for part in parts]
    ys = [arrays[f"y{part}"] for part in parts] if targets != "none" else []
    for part, x, y in zip(parts, xs, ys, strict=False):
        if y.shape[:1] != x.shape[:1] or x.shape[1:] != xs[0].shape[1:] or y.shape[1:] != ys[0].shape[1:]:
            raise ValueError(
                f"{printable(path)}: x{part} must be [N, {xs[0].shape[1]}] and y{part} of as many rows, got {x.shape} "
                f"and {y.shape}"
            )
    first = len(xs[0])
    if len(parts) == 1:
        rows = draw(first, shares, seed)
    else:
        rows = {**draw(first, {"validation": shares["validation"]}, seed), "test": first + np.arange(len(xs[1]))}
    size = xs[0].shape[1]
    names = names_of(path, arrays, "columns") or tuple(f"x{i}" for i in range(size))
    if len(names) != size:
        raise ValueError(f"{printable(path)}: columns must be the names of {size} features, got {len(names)}")
    _check_parts(printable(path), rows)
    target_names = names_of(path, arrays, key)
    all_y = np.concatenate(ys) if ys else None
    return Raw(np.concatenate(xs), all_y, target_names, Columns(names, ((),) * size), rows)


def _of_csv(
    found: Table,
    target: tuple[str, ...],
    targets: str,
    columns: tuple[str, ...],
    categorical: tuple[str, ...],
    split: str,
    shares: dict[str, float],
    seed: int,
) -> Raw:
    if len(target) == 1 and target[0] not in found.header:
        target = tuple(name.strip() for name in target[0].split(","))
    if targets == "none" and target:
        raise ValueError(f"`target` must be empty where targets are none, got {printable(target, 60)}")
    if targets != "none" and (not target or (targets == "classes" and len(target) != 1)):
        count = "one column" if targets == "classes" else "one or more columns"
        raise ValueError(f"`target` must name {count} of {found.path}, got {len(target)}")
    columns = columns or tuple(name for name in found.header if name not in (*target, split))
    check_columns(found, (*columns, *target, *categorical, *((split,) if split else ())))
    if len(set(columns)) != len(columns) or not columns or set(columns) & {*target, split}:
        raise ValueError(f"{found.path}: features must be one or more columns that are not targets, got {len(columns)}")
    kinds = dict(zip(found.header, found.numeric, strict=True))
    numeric = tuple(name for name in columns if kinds[name] and name not in categorical)
    texts = {name: MAX_CATEGORIES for name in columns if name not in numeric}
    if targets == "classes" and not kinds[target[0]]:
        texts[target[0]] = MAX_CLASSES
    elif target:
        numeric += target
    if split:
        texts[split] = MAX_CATEGORIES
    cells = read_cells(found, numeric, texts)
    rows = _rows_of(found, cells, split) if split else {}
    rows = rows or draw(found.rows, shares, seed)
    if "validation" not in rows:
        drawn = draw(len(rows["train"]), {"validation": shares["validation"]}, seed)
        rows |= {name: rows["train"][drawn[name]] for name in ("validation", "train")}
    _check_parts(found.path, rows)
    learned = {name: _learned(cells.texts[name], rows["train"]) for name in columns if name not in numeric}
    described = Columns(columns, tuple(learned.get(name, ()) for name in columns), target)
    y, names = targets_of(cells, target, targets == "classes") if target else (None, ())
    return Raw(features_of(found, cells, described), y, names, described, rows)


def _learned(column: Texts, rows: np.ndarray) -> tuple[str, ...]:
    """The texts of a column in some rows, sorted."""
    return tuple(column.known[code] for code in np.unique(column.codes[rows]))


def _rows_of(found: Table, cells: Cells, split: str) -> dict[str, np.ndarray]:
    """The rows of the parts that a column names."""
    column = cells.texts[split]
    names = {name: part for part, names in PARTS.items() for name in names}
    parts = [names.get(text.lower(), "") for text in column.known]
    if "" in parts:
        code = parts.index("")
        row = int(np.flatnonzero(column.codes == code)[0])
        raise ValueError(
            f"{place(found, cells, row, split)} must be train, validation or test, got "
            f"{printable(repr(column.known[code]), 60)}"
        )
    rows = {
        part: np.flatnonzero(np.isin(column.codes, [i for i, each in enumerate(parts) if each == part]))
        for part in PARTS
        if part in parts
    }
    if "train" not in rows:
        raise ValueError(f"{found.path}: column {printable(repr(split), 60)} must have rows to train on, got none")
    return rows


def _check_parts(shown: str, rows: dict[str, np.ndarray]) -> None:
    for name, part in rows.items():
        if not len(part):
            raise ValueError(f"too few rows: {sum(map(len, rows.values()))} of {shown} leave none in the {name} part")


def _fitted(raw: Raw, standardize: bool) -> Columns:
    """The columns with the statistics of the training part."""
    if not standardize:
        return raw.columns
    train = raw.features[raw.rows["train"]][:, None]
    found = statistics.fit(train, np.ones(train.shape[:2], bool))
    moments = [array.copy() for array in found]
    first = 0
    for texts in raw.columns.categories:
        if texts:
            for array, value in zip(moments, (0, 0, 1), strict=True):
                array[first : first + len(texts)] = value
        first += max(1, len(texts))
    fitted = statistics.moments_of(statistics.Statistics(*moments))
    return Columns(raw.columns.names, raw.columns.categories, raw.columns.targets, **fitted)
