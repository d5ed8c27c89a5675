"""Tables whose normal rows are for training, with anomalies in the test split."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxnets.data.checks import check_arguments, check_fraction, one_line_errors
from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.preprocessing import standardized_features
from jaxnets.data.sources.anomalies.series import NAMES, as_text
from jaxnets.data.sources.examples import arrays_of
from jaxnets.data.sources.parts import Split, assemble, describe, digest
from jaxnets.data.sources.table import Selection, breast_cancer_rows, fitted_columns, read_raw
from jaxnets.data.targets import Classes
from jaxnets.ops.checks import check_integer
from jaxnets.ops.host.printable import printable


@one_line_errors
def table_anomalies(
    path: str = "",
    target: str = "",
    normal: str = "0",
    columns: Sequence[str] = (),
    categorical: Sequence[str] = (),
    split: str = "",
    batch_size: int = 64,
    test_fraction: float = 0.5,
    validation_fraction: float = 0.1,
    standardize: bool = True,
    seed: int = 0,
) -> Dataset:
    """Rows of a table for anomaly detection: one class is normal, all others are anomalies.

    The training and the validation split hold normal rows only. The test split holds the other normal rows and all
    anomalies, with the targets 0 and 1; or the rows of the test part of a file that has one.

    Args:
        path: A file as in ``data.table``, where npz files may also have the arrays ``X`` and ``y``; empty for the
            tumors of ``data.breast_cancer``, whose benign ones are normal.
        target: Name of the column of classes of a CSV file.
        normal: The class of normal rows, such as ``"0"`` or ``"legitimate"``.
        columns, categorical, split, batch_size: As in ``data.table``. Categories of all rows are known.
        test_fraction: Fraction of the normal rows for the test split, if the file does not define one.
        validation_fraction: Fraction of the other normal rows to hold out for validation.
        standardize: Standardizes each numeric feature by its mean and standard deviation over the training split.
        seed: Seed of the order and of the sampled splits.

    Raises:
        ValueError: If the file cannot be read, no row is normal, none is an anomaly, or an argument is out of range.
    """
    check_arguments(seed, validation_fraction)
    check_integer("batch_size", batch_size, minimum=0)
    check_fraction("test_fraction", test_fraction)
    shown = printable(path) if path else "breast cancer"
    if not path:
        normal = "benign" if normal == "0" else normal

    def sample(
        count: int, targets: np.ndarray | None, names: tuple[str, ...], fractions: Mapping[str, float]
    ) -> dict[str, np.ndarray]:
        is_normal = _is_normal(targets, names, str(normal), shown)
        order = np.random.default_rng(seed).permutation(np.flatnonzero(is_normal))
        held_out = round(len(order) * fractions.get("test", 0.0))
        known = order[held_out:]
        validation = round(len(known) * fractions["validation"])
        rows = {"train": np.sort(known[validation:]), "validation": np.sort(known[:validation])}
        if "test" in fractions:
            rows["test"] = np.sort(np.concatenate([order[:held_out], np.flatnonzero(~is_normal)]))
        return rows

    fractions = {"validation": validation_fraction, "test": test_fraction}
    if path:
        names = (target,) if target else ()
        selection = Selection(names, "classes", tuple(columns), tuple(categorical), split)
        raw = read_raw(path, selection, fractions, sample, all_categories=True)
    else:
        raw = breast_cancer_rows(lambda targets, names: sample(len(targets), targets, names, fractions))
    is_normal = _is_normal(raw.targets, raw.names, str(normal), shown)
    rows = {name: indices if name == "test" else indices[is_normal[indices]] for name, indices in raw.rows.items()}
    anomalies = int(np.sum(~is_normal[rows["test"]])) if "test" in rows else 0
    for name, count in {**{name: len(indices) for name, indices in rows.items()}, "anomaly": anomalies}.items():
        if not count:
            kind = "an anomaly to test on" if name == "anomaly" else f"normal rows for the {name} split"
            raise ValueError(f"{shown} must have {kind}, got {is_normal.sum():,} normal rows of {len(is_normal):,}")
    inputs = fitted_columns(raw._replace(rows=rows), standardize)
    features = standardized_features(raw.features, inputs.statistics)
    arrays = arrays_of(Examples(features), (~is_normal).astype(np.int32), shown)
    return assemble(
        {name: Split(arrays, indices) for name, indices in rows.items()},
        batch_size=batch_size,
        seed=seed,
        spec=Classes(NAMES),
        fingerprint=digest([arrays, rows]),
        description=describe(
            shown,
            f"normal rows of {features.shape[1]}",
            {name: len(indices) for name, indices in rows.items()},
            f"{anomalies:,} anomalies in the test split",
        ),
        inputs=inputs,
    )


def _is_normal(targets: np.ndarray | None, names: tuple[str, ...], normal: str, shown: str) -> np.ndarray:
    """Returns which rows have the normal class, bool ``[N]``."""
    if targets is None or targets.ndim != 1:
        raise ValueError(
            f"{shown}: the classes must have the shape [N], got {targets if targets is None else targets.shape}"
        )
    labels = np.array(names)[targets.astype(int)] if names else as_text(targets)
    found = labels == normal
    if not found.any():
        known = ", ".join(printable(label, 40) for label in sorted(set(labels.tolist()))[:10])
        raise ValueError(f"`normal` must be a class of {shown}: {known}, got {printable(normal, 60)}")
    return found
