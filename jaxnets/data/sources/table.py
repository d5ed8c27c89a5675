"""Tables of features and targets, from CSV and npz files."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxnets.data import statistics
from jaxnets.data.checks import check_arguments, check_fraction, one_line_errors
from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.formats.csv_table import Cells, Table, place, read_cells, read_table
from jaxnets.data.formats.features import check_columns, features_of, is_npz, table_array, targets_of
from jaxnets.data.formats.npz import member_names, names_of, read_arrays
from jaxnets.data.inputs import Columns
from jaxnets.data.labels import MAX_CLASSES
from jaxnets.data.preprocessing import standardized_features
from jaxnets.data.sources.class_folders import SPLIT_NAMES
from jaxnets.data.sources.examples import from_examples
from jaxnets.data.sources.parts import random_split
from jaxnets.data.target_arrays import TARGET_TYPES
from jaxnets.ops.checks import check_choice, check_integer
from jaxnets.ops.host.printable import printable

MAX_CATEGORIES = 1000  # of a column

# (number of rows, targets or None, names of the classes, fractions of the splits to sample) -> row indices by split
Sample = Callable[[int, np.ndarray | None, tuple[str, ...], Mapping[str, float]], dict[str, np.ndarray]]


class Selection(NamedTuple):
    """The columns of a table to use, as in ``table``."""

    target: tuple[str, ...] = ()
    target_type: str = "classes"
    columns: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    split: str = ""


class Raw(NamedTuple):
    """A table before standardization.

    Attributes:
        features: ``[N, D]``.
        targets: ``[N]`` or ``[N, C]``; None if there are no targets.
        names: Names of the classes, quantities or labels; empty if they are unknown.
        columns: Columns of the features, without statistics.
        rows: Row indices of each split.
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
    """Rows of a table with features ``[B, D]``, from a CSV file with a header or an npz file.

    In a CSV file, a numeric column is one feature. A text column becomes one feature of 0 and 1 for each text that
    occurs in the training split. A missing value is an error that names its line and column.

    An npz file has ``x_train`` ``[N, D]``, ``y_train``, ``x_test`` and ``y_test``; or ``x`` and ``y``, from which the
    test split is sampled. The optional array ``columns`` holds the names of the features. Names of targets are as in
    ``series``.

    Args:
        path: The file; CSV may be gzipped.
        target: Name of the target column, or several names, also as one comma-separated string. Several columns are
            quantities, or labels of 0 and 1.
        target_type: As in ``series``.
        columns: Names of the feature columns; empty for all columns that are not targets.
        categorical: Names of numeric columns to treat as categories.
        split: Name of the column that assigns rows to the splits train, validation and test; empty to sample them.
        batch_size: B, rows of a batch; 0: all training rows.
        validation_fraction: Fraction of all rows to hold out for validation.
        test_fraction: Fraction of all rows for the test split, if the file does not define one.
        standardize: Standardizes each numeric feature by its mean and standard deviation over the training split,
            computed in float64 by ``statistics.fit``. A constant feature becomes 0.
        seed: Seed of the order and of the sampled splits.

    Raises:
        ValueError: If the file cannot be read or lacks a column, a cell is invalid (the message names line and column),
            or an argument is out of range.
    """
    check_arguments(seed, validation_fraction)
    check_integer("batch_size", batch_size, minimum=0)
    check_choice("target_type", target_type, TARGET_TYPES)
    check_fraction("test_fraction", test_fraction)
    if test_fraction >= 1 - validation_fraction:
        raise ValueError(
            f"`test_fraction` must be less than 1 - `validation_fraction`, {1 - validation_fraction:g}, "
            f"got {test_fraction}"
        )
    fractions = {"validation": validation_fraction, "test": test_fraction}
    target_names = (target,) if isinstance(target, str) else tuple(target)
    target_names = tuple(name for name in target_names if name)
    sample = lambda count, targets, names, fractions: random_split(count, fractions, seed)
    selection = Selection(target_names, target_type, tuple(columns), tuple(categorical), split)
    raw = read_raw(path, selection, fractions, sample)
    return dataset_of(raw, target_type, printable(path), batch_size, standardize, seed)


def read_raw(
    path: str, selection: Selection, fractions: Mapping[str, float], sample: Sample, all_categories: bool = False
) -> Raw:
    """Reads a table from a CSV or an npz file.

    Args:
        path: As in ``table``.
        selection: The columns.
        fractions: Fractions of all rows for the splits other than ``train`` that the file does not define.
        sample: Samples these splits.
        all_categories: Whether categories of all rows are known, and not only those of the training split.
    """
    if not is_npz(path):
        return _from_csv(read_table(path), selection, fractions, sample, all_categories)
    if selection != Selection(target_type=selection.target_type):
        raise ValueError(
            f"{printable(path)} must be CSV where `target`, `columns`, `categorical` or `split` is given, got npz"
        )
    return _from_npz(path, selection.target_type, fractions, sample)


@one_line_errors
def breast_cancer(batch_size: int = 64, standardize: bool = True, seed: int = 0) -> Dataset:
    """The table of scikit-learn of 569 tumors with 30 features, malignant or benign (Wolberg et al. 1995).

    Args:
        batch_size, standardize, seed: As in ``table``.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_arguments(seed)
    check_integer("batch_size", batch_size, minimum=0)
    raw = breast_cancer_rows(lambda y, names: random_split(len(y), {"validation": 0.15, "test": 0.15}, seed))
    return dataset_of(raw, "classes", "breast cancer", batch_size, standardize, seed)


def breast_cancer_rows(sample: Callable[[np.ndarray, tuple[str, ...]], dict[str, np.ndarray]]) -> Raw:
    """Returns the table of tumors; ``sample`` maps targets and names of classes to the row indices of the splits."""
    from sklearn.datasets import load_breast_cancer  # the import takes a second

    loaded = load_breast_cancer()
    columns = Columns(tuple(map(str, loaded.feature_names)), ((),) * loaded.data.shape[1])
    names = tuple(map(str, loaded.target_names))
    return Raw(loaded.data, loaded.target, names, columns, sample(loaded.target, names))


def dataset_of(raw: Raw, target_type: str, source: str, batch_size: int, standardize: bool, seed: int) -> Dataset:
    """Returns the dataset of a table, with the statistics of its training rows."""
    inputs = fitted_columns(raw, standardize)
    examples = {
        name: Examples(
            standardized_features(raw.features[rows], inputs.statistics),
            None if raw.targets is None else raw.targets[rows],
        )
        for name, rows in raw.rows.items()
    }
    return from_examples(
        examples["train"],
        examples.get("test"),
        batch_size=batch_size,
        validation=examples["validation"],
        seed=seed,
        source=source,
        target_type=target_type,
        names=raw.names,
        inputs=inputs,
    )


def _from_npz(path: str, target_type: str, fractions: Mapping[str, float], sample: Sample) -> Raw:
    members = member_names(path)
    x = "X" if "X" in members and "x" not in members else "x"
    suffixes = ("_train", "_test") if "x_train" in members else ("",)
    letters = x if target_type == "none" else x + "y"
    key = {"quantities": "quantities", "labels": "classes"}.get(target_type, "")
    keys = tuple(letter + suffix for suffix in suffixes for letter in letters)
    arrays = read_arrays(path, keys, ("columns", *([key] if key else ())))
    xs = [table_array(path, arrays[x + suffix], x + suffix) for suffix in suffixes]
    ys = [arrays[f"y{suffix}"] for suffix in suffixes] if target_type != "none" else []
    for suffix, found, y in zip(suffixes, xs, ys, strict=False):
        if y.shape[:1] != found.shape[:1] or found.shape[1:] != xs[0].shape[1:] or y.shape[1:] != ys[0].shape[1:]:
            raise ValueError(
                f"{printable(path)}: {x}{suffix} must be [N, {xs[0].shape[1]}] and y{suffix} must have N rows, "
                f"got {found.shape} and {y.shape}"
            )
    first, target_names = len(xs[0]), names_of(path, arrays, key)
    missing = fractions if len(suffixes) == 1 else {"validation": fractions["validation"]}
    rows = sample(first, ys[0] if ys else None, target_names, missing)
    if len(suffixes) == 2:
        rows["test"] = first + np.arange(len(xs[1]))
    size = xs[0].shape[1]
    names = names_of(path, arrays, "columns") or tuple(f"x{i}" for i in range(size))
    if len(names) != size:
        raise ValueError(f"{printable(path)}: columns must be the names of {size} features, got {len(names)}")
    _check_splits(printable(path), rows)
    all_y = np.concatenate(ys) if ys else None
    return Raw(np.concatenate(xs), all_y, target_names, Columns(names, ((),) * size), rows)


def _from_csv(
    table: Table, selection: Selection, fractions: Mapping[str, float], sample: Sample, all_categories: bool
) -> Raw:
    target, target_type, columns, categorical, split = selection
    if len(target) == 1 and target[0] not in table.header:
        target = tuple(name.strip() for name in target[0].split(","))
    if target_type == "none" and target:
        raise ValueError(f"`target` must be empty if `target_type` is none, got {printable(target, 60)}")
    if target_type != "none" and (not target or (target_type == "classes" and len(target) != 1)):
        count = "one column" if target_type == "classes" else "one or more columns"
        raise ValueError(f"`target` must name {count} of {table.path}, got {len(target)}")
    columns = columns or tuple(name for name in table.header if name not in (*target, split))
    check_columns(table, (*columns, *target, *categorical, *((split,) if split else ())))
    if len(set(columns)) != len(columns) or not columns or set(columns) & {*target, split}:
        raise ValueError(f"{table.path}: features must be one or more columns that are not targets, got {len(columns)}")
    is_numeric = dict(zip(table.header, table.numeric, strict=True))
    numeric = tuple(name for name in columns if is_numeric[name] and name not in categorical)
    max_texts = {name: MAX_CATEGORIES for name in columns if name not in numeric}
    if target_type == "classes" and not is_numeric[target[0]]:
        max_texts[target[0]] = MAX_CLASSES
    elif target:
        numeric += target
    if split:
        max_texts[split] = MAX_CATEGORIES
    cells = read_cells(table, numeric, max_texts)
    y, names = targets_of(cells, target, target_type == "classes") if target else (None, ())
    rows = _rows_by_split(table, cells, split) if split else sample(table.rows, y, names, fractions)
    if "validation" not in rows:
        train = rows["train"]
        sampled = sample(len(train), None if y is None else y[train], names, {"validation": fractions["validation"]})
        rows |= {name: train[sampled[name]] for name in ("validation", "train")}
    _check_splits(table.path, rows)
    known = np.arange(table.rows) if all_categories else rows["train"]
    of_texts = {name: cells.texts[name] for name in columns if name not in numeric}
    categories = {n: tuple(text.known[c] for c in np.unique(text.codes[known])) for n, text in of_texts.items()}
    features = Columns(columns, tuple(categories.get(name, ()) for name in columns), target)
    return Raw(features_of(table, cells, features), y, names, features, rows)


def _rows_by_split(table: Table, cells: Cells, split: str) -> dict[str, np.ndarray]:
    """Returns the row indices of each split, by the column ``split``."""
    column = cells.texts[split]
    split_of = {name: key for key, names in SPLIT_NAMES.items() for name in names}
    splits = [split_of.get(text.lower(), "") for text in column.known]
    if "" in splits:
        code = splits.index("")
        row = int(np.flatnonzero(column.codes == code)[0])
        raise ValueError(
            f"{place(table, cells, row, split)} must be train, validation or test, got "
            f"{printable(repr(column.known[code]), 60)}"
        )
    rows = {
        key: np.flatnonzero(np.isin(column.codes, [code for code, name in enumerate(splits) if name == key]))
        for key in SPLIT_NAMES
        if key in splits
    }
    if "train" not in rows:
        raise ValueError(f"{table.path}: column {printable(repr(split), 60)} must have rows to train on, got none")
    return rows


def _check_splits(shown: str, rows: dict[str, np.ndarray]) -> None:
    for name, indices in rows.items():
        if not len(indices):
            raise ValueError(
                f"{shown} must have rows for the {name} split, got {sum(map(len, rows.values()))} rows in total"
            )


def fitted_columns(raw: Raw, standardize: bool) -> Columns:
    """Returns the columns with the statistics of the training split."""
    if not standardize:
        return raw.columns
    train = raw.features[raw.rows["train"]][:, None]
    moments = [array.copy() for array in statistics.fit(train, np.ones(train.shape[:2], bool))]
    first = 0
    for texts in raw.columns.categories:
        if texts:
            for array, value in zip(moments, (0, 0, 1), strict=True):
                array[first : first + len(texts)] = value
        first += max(1, len(texts))
    fitted = statistics.moments_of(statistics.Statistics(*moments))
    return Columns(raw.columns.names, raw.columns.categories, raw.columns.targets, **fitted)
