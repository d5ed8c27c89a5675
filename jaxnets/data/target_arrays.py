"""Targets of examples as the arrays of a batch: numbers of classes, standardized quantities, labels."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxnets.data import statistics
from jaxnets.data.labels import check_lengths, number_labels
from jaxnets.data.targets import Classes, Labels, Quantities, Spec, Unlabeled
from jaxnets.ops.checks import check_choice
from jaxnets.ops.printable import printable

KINDS = ("classes", "quantities", "labels", "none")


class Encoded(NamedTuple):
    """Targets of the parts of a dataset.

    Attributes:
        spec: What the numbers mean.
        arrays: By part; None where there are no targets.
        kind: For a description: ``"3 classes"``; "": nothing.
    """

    spec: Spec
    arrays: dict[str, np.ndarray | None]
    kind: str


def encoded(
    kind: str,
    source: str,
    given: Mapping[str, np.ndarray | None],
    counts: Mapping[str, int],
    names: Sequence[str] = (),
    features: int = 0,
) -> Encoded:
    """The targets of the parts of a dataset, as a batch has them.

    Args:
        kind: ``"classes"``: ``[N]``, as in ``labels.number_labels``. ``"quantities"``: numbers ``[N]`` or ``[N, Q]``,
            which are standardized by the first part. ``"labels"``: bool, or numbers 0 and 1, ``[N, C]``. ``"none"``.
        source: What the data is called.
        given: Of each part by its name; the first part is that to learn from.
        counts: Examples of each part.
        names: Of the classes, quantities or labels.
        features: Of the inputs, where there are no targets.

    Raises:
        ValueError: ``kind`` is none of these, a part has no examples, or not as many targets; or the targets are not
            of this kind (the example is named).
    """
    check_choice("targets", kind, KINDS)
    if kind == "none":
        for part, count in counts.items():
            if not count:
                raise ValueError(f"{source}: no examples in the {part} part")
        return Encoded(Unlabeled(features), dict.fromkeys(given), "")
    arrays = {part: _of_part(source, part, array, counts[part], kind) for part, array in given.items()}
    if kind == "classes":
        classes, numbers = number_labels(source, arrays, names)
        return Encoded(Classes(classes), {**numbers}, f"{len(classes)} classes")
    arrays = {part: array[:, None] if array.ndim == 1 else array for part, array in arrays.items()}
    called = _names(source, kind, names, {part: array.shape for part, array in arrays.items()})
    if kind == "labels":
        made = {part: labels_of(f"{source}, {part} part", array) for part, array in arrays.items()}
        return Encoded(Labels(called), {**made}, _counted(len(called), "label", "labels"))
    for part, array in arrays.items():
        check_quantities(f"{source}, {part} part", array, called)
    first = next(iter(arrays.values()))
    spec = Quantities(called, **statistics.moments_of(statistics.fit(first[:, None], np.ones((len(first), 1), bool))))
    made = {part: standardized(f"{source}, {part} part", array, spec) for part, array in arrays.items()}
    return Encoded(spec, {**made}, _counted(len(called), "quantity", "quantities"))


def encoded_as(source: str, spec: Spec, given: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """Targets of new examples as a known spec has them.

    Args:
        source: What the data is called.
        spec: ``Classes``, ``Quantities`` or ``Labels``.
        given: ``[N]`` or ``[N, C]``, as in ``encoded``.
        names: Of the classes, where the labels are their numbers in the file.

    Raises:
        ValueError: The targets are not of this kind, or a class is none of the spec's (it is named).
    """
    if isinstance(spec, Classes):
        if given.ndim != 1:
            raise ValueError(f"{source}: classes must be [{len(given)}], got shape {given.shape}")
        found, numbers = number_labels(source, {"given": given}, names)
        number = {name: i for i, name in enumerate(spec.names)}
        if given.dtype.kind in "biuf" and not names:  # 3, 3.0 and the name "3" are one class
            number = {_plain(name): i for name, i in number.items()}
            found = tuple(map(_plain, found))
        unknown = [name for name in found if name not in number]
        if unknown:
            shown = ", ".join(printable(name, 60) for name in unknown[:3])
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            raise ValueError(f"{source}: classes must be among the {spec.size} of the training data, got {shown}{more}")
        return np.array([number[name] for name in found], np.int32)[numbers["given"]]
    given = given[:, None] if given.ndim == 1 else given
    if given.ndim != 2 or given.shape[1] != spec.size:
        raise ValueError(f"{source}: targets must be [{len(given)}, {spec.size}], got shape {given.shape}")
    if isinstance(spec, Labels):
        return labels_of(source, given)
    if isinstance(spec, Quantities):
        check_quantities(source, given, spec.names)
        return standardized(source, given, spec)
    raise ValueError(f"{source}: targets must be classes, quantities or labels, got {type(spec).__name__}")


def _plain(name: str) -> str:
    """The name of a class that is a number, as an integer: ``"3"`` for ``"3.0"``, ``"1"`` for ``"True"``."""
    name = {"True": "1", "False": "0"}.get(name, name)
    return name.removesuffix(".0")


def labels_of(source: str, given: np.ndarray) -> np.ndarray:
    """Which labels examples have, bool ``[N, C]``; a ``ValueError`` that names the first number beside 0 and 1."""
    if given.dtype.kind not in "biuf":
        raise ValueError(f"{source}: labels must be bools, or numbers 0 and 1, got {given.dtype}")
    wrong = np.argwhere((given != 0) & (given != 1))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(f"{source}: label {column} of example {row} must be 0 or 1, got {given[row, column]}")
    return given.astype(bool)


def check_quantities(source: str, given: np.ndarray, names: Sequence[str]) -> None:
    """Raises a ``ValueError`` where quantities ``[N, Q]`` are not finite numbers; the example is named."""
    if given.dtype.kind not in "biuf":
        raise ValueError(f"{source}: quantities must be numbers, got {given.dtype}")
    wrong = np.argwhere(~np.isfinite(given))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{source}: quantity {names[column]} of example {row} must be finite, got {given[row, column]}"
        )


def standardized(source: str, given: np.ndarray, spec: Quantities) -> np.ndarray:
    """Quantities ``[N, Q]`` as the targets of a spec, float32.

    Raises:
        ValueError: One is so far from the others that float32 does not hold it; the example is named.
    """
    made = statistics.standardized(given[:, None].copy(), np.ones((len(given), 1), bool), spec.statistics)[:, 0]
    wrong = np.argwhere(~np.isfinite(made))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{source}: quantity {spec.names[column]} of example {row} must be within the range of float32 after it is "
            f"standardized, got {given[row, column]}"
        )
    return made


def _of_part(source: str, part: str, array: np.ndarray | None, count: int, kind: str) -> np.ndarray:
    if array is None:
        raise ValueError(f"{source}: targets of the {part} part must be given, got none")
    if array.ndim not in (1, 2) or len(array) != count or (kind == "classes" and array.ndim == 2):
        shapes = f"[{count}]" if kind == "classes" else f"[{count}] or [{count}, C]"
        hint = "; y[:, 0] takes a column apart, np.argmax(y, 1) one-hot labels" if array.ndim == 2 else ""
        raise ValueError(
            f"{source}: {kind} of the {part} part must be {shapes}, got shape {array.shape}"
            + (hint if kind == "classes" else "")
        )
    if not count:
        raise ValueError(f"{source}: no examples in the {part} part")
    return array


def _names(source: str, kind: str, names: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The names of columns that all parts must have as many of."""
    first, *others = shapes
    for part in others:
        if shapes[part][1] != shapes[first][1]:
            raise ValueError(
                f"{source}: the {part} part must have {shapes[first][1]} {kind}, as the {first} part has, "
                f"got {shapes[part][1]}"
            )
    size = shapes[first][1]
    names = tuple(names) or tuple(f"y{i}" if kind == "quantities" else str(i) for i in range(size))
    if len(names) != size or len(set(names)) != size or not size:
        raise ValueError(f"{source}: {kind} must have {size or 'one or more'} different names, got {len(names)}")
    check_lengths(f"{source}: names of {kind}", names)
    return names


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
