"""Encoding of targets as the arrays of a batch: class indices, standardized quantities, or labels."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxnets.data import statistics
from jaxnets.data.labels import check_lengths, encode_labels
from jaxnets.data.targets import Classes, Labels, Quantities, Spec, Unlabeled
from jaxnets.ops.checks import check_choice
from jaxnets.ops.host.printable import printable

TARGET_TYPES = ("classes", "quantities", "labels", "none")


class EncodedTargets(NamedTuple):
    """Encoded targets of all splits of a data set.

    Attributes:
        spec: Meaning of the arrays.
        arrays: The targets of each split; None if there are no targets.
        summary: Text for the description of the data, such as ``"3 classes"``; empty if there are no targets.
    """

    spec: Spec
    arrays: dict[str, np.ndarray | None]
    summary: str


def encode_targets(
    target_type: str,
    source: str,
    targets: Mapping[str, np.ndarray | None],
    counts: Mapping[str, int],
    names: Sequence[str] = (),
    features: int = 0,
) -> EncodedTargets:
    """Encodes the targets of all splits as batches hold them.

    Args:
        target_type: ``"classes"``: ``[N]``, as in ``labels.encode_labels``. ``"quantities"``: numbers ``[N]`` or
            ``[N, Q]``, standardized by the statistics of the first split. ``"labels"``: bool, or numbers 0 and 1,
            ``[N, C]``. ``"none"``: no targets.
        source: Name of the data in messages.
        targets: The targets of each split. The first split is the one to train on.
        counts: Number of examples of each split.
        names: Names of the classes, quantities or labels.
        features: Number of features of the inputs, used if there are no targets.

    Raises:
        ValueError: If ``target_type`` is unknown, a split has no examples or another number of targets, or the targets
            do not have this type. The message names the example.
    """
    check_choice("target_type", target_type, TARGET_TYPES)
    if target_type == "none":
        for split, count in counts.items():
            if not count:
                raise ValueError(_no_examples(source, split))
        return EncodedTargets(Unlabeled(features), dict.fromkeys(targets), "")
    arrays = {split: _checked(source, split, array, counts[split], target_type) for split, array in targets.items()}
    if target_type == "classes":
        classes, indices = encode_labels(source, arrays, names)
        return EncodedTargets(Classes(classes), {**indices}, f"{len(classes)} classes")
    arrays = {split: array[:, None] if array.ndim == 1 else array for split, array in arrays.items()}
    column_names = _column_names(source, target_type, names, {split: array.shape for split, array in arrays.items()})
    if target_type == "labels":
        labels = {split: labels_of(f"{source}, {split} split", array) for split, array in arrays.items()}
        return EncodedTargets(Labels(column_names), {**labels}, _counted(len(column_names), "label", "labels"))
    for split, array in arrays.items():
        check_quantities(f"{source}, {split} split", array, column_names)
    first = next(iter(arrays.values()))
    moments = statistics.moments_of(statistics.fit(first[:, None], np.ones((len(first), 1), bool)))
    spec = Quantities(column_names, **moments)
    quantities = {split: standardized(f"{source}, {split} split", array, spec) for split, array in arrays.items()}
    return EncodedTargets(spec, {**quantities}, _counted(len(column_names), "quantity", "quantities"))


def encode_with_spec(source: str, spec: Spec, targets: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """Encodes the targets of new examples by the spec of a trained model.

    Args:
        source: Name of the data in messages.
        spec: ``Classes``, ``Quantities`` or ``Labels``.
        targets: ``[N]`` or ``[N, C]``, as in ``encode_targets``.
        names: Names of the classes, if the labels in the file are class indices.

    Raises:
        ValueError: If the targets do not have the type of the spec, or the spec lacks a class. The message names the
            class.
    """
    if isinstance(spec, Classes):
        if targets.ndim != 1:
            raise ValueError(f"{source}: classes must be [{len(targets)}], got shape {targets.shape}")
        found, indices = encode_labels(source, {"given": targets}, names)
        index_of = {name: i for i, name in enumerate(spec.names)}
        if targets.dtype.kind in "biuf" and not names:  # 3, 3.0 and the name "3" are one class
            index_of = {_as_integer(name): i for name, i in index_of.items()}
            found = tuple(map(_as_integer, found))
        unknown = [name for name in found if name not in index_of]
        if unknown:
            shown = ", ".join(printable(name, 60) for name in unknown[:3])
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            raise ValueError(f"{source}: classes must be among the {spec.size} of the training data, got {shown}{more}")
        return np.array([index_of[name] for name in found], np.int32)[indices["given"]]
    targets = targets[:, None] if targets.ndim == 1 else targets
    if targets.ndim != 2 or targets.shape[1] != spec.size:
        raise ValueError(f"{source}: targets must be [{len(targets)}, {spec.size}], got shape {targets.shape}")
    if isinstance(spec, Labels):
        return labels_of(source, targets)
    if isinstance(spec, Quantities):
        check_quantities(source, targets, spec.names)
        return standardized(source, targets, spec)
    raise ValueError(f"{source}: targets must be classes, quantities or labels, got {type(spec).__name__}")


def _as_integer(name: str) -> str:
    """Returns the name of a numeric class as an integer: ``"3"`` for ``"3.0"``, ``"1"`` for ``"True"``."""
    name = {"True": "1", "False": "0"}.get(name, name)
    return name.removesuffix(".0")


def labels_of(source: str, targets: np.ndarray) -> np.ndarray:
    """Returns labels as bool ``[N, C]``.

    Raises:
        ValueError: If a label is neither 0 nor 1. The message names the first one.
    """
    if targets.dtype.kind not in "biuf":
        raise ValueError(f"{source}: labels must be bools, or numbers 0 and 1, got {targets.dtype}")
    wrong = np.argwhere((targets != 0) & (targets != 1))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(f"{source}: label {column} of example {row} must be 0 or 1, got {targets[row, column]}")
    return targets.astype(bool)


def check_quantities(source: str, targets: np.ndarray, names: Sequence[str]) -> None:
    """Checks that quantities ``[N, Q]`` are finite.

    Raises:
        ValueError: If a quantity is not a finite number. The message names the example.
    """
    if targets.dtype.kind not in "biuf":
        raise ValueError(f"{source}: quantities must be numbers, got {targets.dtype}")
    wrong = np.argwhere(~np.isfinite(targets))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{source}: quantity {names[column]} of example {row} must be finite, got {targets[row, column]}"
        )


def standardized(source: str, targets: np.ndarray, spec: Quantities) -> np.ndarray:
    """Standardizes quantities ``[N, Q]`` by the statistics of a spec, float32.

    Raises:
        ValueError: If a standardized quantity exceeds the range of float32. The message names the example.
    """
    result = statistics.standardized(targets[:, None].copy(), np.ones((len(targets), 1), bool), spec.statistics)[:, 0]
    wrong = np.argwhere(~np.isfinite(result))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{source}: quantity {spec.names[column]} of example {row} must be within the range of float32 after it is "
            f"standardized, got {targets[row, column]}"
        )
    return result


def _checked(source: str, split: str, array: np.ndarray | None, count: int, target_type: str) -> np.ndarray:
    """Returns the targets of one split, after a check of their shape."""
    if array is None:
        raise ValueError(f"{source}: targets of the {split} split must be given, got none")
    if array.ndim not in (1, 2) or len(array) != count or (target_type == "classes" and array.ndim == 2):
        shapes = f"[{count}]" if target_type == "classes" else f"[{count}] or [{count}, C]"
        hint = "; y[:, 0] selects one column, np.argmax(y, 1) decodes one-hot labels" if array.ndim == 2 else ""
        raise ValueError(
            f"{source}: {target_type} of the {split} split must be {shapes}, got shape {array.shape}"
            + (hint if target_type == "classes" else "")
        )
    if not count:
        raise ValueError(_no_examples(source, split))
    return array


def _no_examples(source: str, split: str) -> str:
    return f"{source}: the {split} split must have examples, got none"


def _column_names(
    source: str, target_type: str, names: Sequence[str], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[str, ...]:
    """Returns the names of the columns of the targets, after a check that all splits have equally many."""
    first, *others = shapes
    for split in others:
        if shapes[split][1] != shapes[first][1]:
            raise ValueError(
                f"{source}: the {split} split must have {shapes[first][1]} {target_type}, as the {first} split has, "
                f"got {shapes[split][1]}"
            )
    size = shapes[first][1]
    names = tuple(names) or tuple(f"y{i}" if target_type == "quantities" else str(i) for i in range(size))
    if len(names) != size or len(set(names)) != size or not size:
        raise ValueError(f"{source}: {target_type} must have {size or 'one or more'} different names, got {len(names)}")
    check_lengths(f"{source}: names of {target_type}", names)
    return names


def _counted(count: int, singular: str, plural: str) -> str:
    return f"{count:,} {singular if count == 1 else plural}"
