"""Series of one normal class, with anomalies in the test split."""

import numpy as np

from jaxnets.data.checks import check_arguments, one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.npz import labeled_arrays, ragged, standardized_parts
from jaxnets.data.sources.examples import arrays_of
from jaxnets.data.sources.labeled_series import without_full_lengths
from jaxnets.data.sources.parts import Split, assemble, describe, digest, random_split
from jaxnets.data.targets import Classes
from jaxnets.ops.checks import check_integer
from jaxnets.ops.host.printable import printable

NAMES = ("normal", "anomaly")


@one_line_errors
def series_anomalies(
    path: str,
    normal: str,
    batch_size: int = 32,
    validation_fraction: float = 0.15,
    standardize: bool = True,
    seed: int = 0,
) -> Dataset:
    """Labeled series for anomaly detection: one class is normal, all others are anomalies.

    The training and the validation split hold the normal series of the training part of the file. The test split holds
    all series of its test part, with the targets 0 for normal ones and 1 for anomalies.

    Args:
        path: A file as in ``data.series``.
        normal: The label of normal series, such as ``"1"``.
        batch_size, validation_fraction, seed: As in ``data.series``.
        standardize: Standardizes each feature by its mean and standard deviation over the normal training series.

    Raises:
        ValueError: If the file cannot be read, no training series has the label, or an argument is out of range.
    """
    check_arguments(seed, validation_fraction)
    check_integer("batch_size", batch_size, minimum=0)
    arrays, _ = labeled_arrays(path, "classes")
    labels = {part: as_text(arrays[f"y_{part}"]) for part in ("train", "test")}
    is_normal = labels["train"] == str(normal)
    if not is_normal.any():
        known = ", ".join(printable(label, 40) for label in sorted(set(labels["train"]))[:10])
        raise ValueError(f"`normal` must be a label of {printable(path)}: {known}, got {printable(normal, 60)}")
    train = ragged(path, arrays["x_train"][is_normal], np.zeros(is_normal.sum(), np.int32), "train")
    test = ragged(path, arrays["x_test"], (labels["test"] != str(normal)).astype(np.int32), "test")
    train, test, inputs = standardized_parts(train, test, standardize)
    train, test = without_full_lengths(train, test)
    rows = random_split(len(train.inputs), {"validation": validation_fraction}, seed)
    if not all(map(len, rows.values())):
        raise ValueError(
            f"{printable(path)} must have normal series for training and for validation, got {len(train.inputs)}"
        )
    of_train = arrays_of(train, train.targets, f"{printable(path)}, training part")
    of_test = arrays_of(test, test.targets, f"{printable(path)}, test part")
    splits = {name: Split(of_train, indices) for name, indices in rows.items()} | {"test": Split(of_test)}
    anomalies = int(of_test["targets"].sum())
    return assemble(
        splits,
        batch_size=batch_size,
        seed=seed,
        spec=Classes(NAMES),
        fingerprint=digest([of_train, of_test]),
        description=describe(
            printable(path),
            f"normal series of {'x'.join(map(str, train.inputs.shape[1:]))}",
            {name: len(split) for name, split in splits.items()},
            f"{anomalies:,} anomalies in the test split",
        ),
        inputs=inputs,
    )


def as_text(labels: np.ndarray) -> np.ndarray:
    """Returns labels as text; numbers without a fraction as integers."""
    if labels.ndim != 1:
        raise ValueError(f"labels must be [N], got shape {labels.shape}")
    if labels.dtype.kind == "f" and np.all(labels == np.round(labels)):
        labels = labels.astype(np.int64)
    return labels.astype(str)
