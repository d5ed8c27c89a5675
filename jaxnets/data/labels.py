"""Labels of examples, numbers or text, as the numbers of classes."""

import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from jaxnets.ops.printable import printable

LONGEST_LABEL = 1000  # characters: classes' names are saved and shown, and NumPy pads all to the longest
MAX_CLASSES = 2**20  # a model has an output for each; the largest data sets of faces and products have as many


def number_labels(
    source: str, labels: Mapping[str, np.ndarray], names: Sequence[str] = ()
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Numbers the classes of the labels of a dataset's parts.

    The classes are the labels that occur in the first part, in order. Numbers are compared as integers, whatever their
    dtypes: int64 and uint64 beyond 2^53 too, -0.0 and 0.0 are one class. Text is compared as it is, character by
    character.

    Args:
        source: What the data is called.
        labels: ``[N]`` of each part by its name: integers, bools, whole floating-point numbers, or text; bytes are
            text in UTF-8. The first part is that to learn from.
        names: Of the classes, where the labels are their numbers.

    Returns:
        The names of the classes, and their numbers int32 ``[N]`` by part.

    Raises:
        ValueError: A part has no examples, its labels are none of these, parts have numbers and text, a class is not in
            the first part, there are more than ``MAX_CLASSES``, or a label or name has more than ``LONGEST_LABEL``
            characters.
    """
    check_lengths(f"{source}: names of classes", names)
    plain = {part: _plain(source, part, array) for part, array in labels.items()}
    first, *others = plain
    for part in others:
        if _is_text(plain[first]) != _is_text(plain[part]):
            kinds = " and ".join(f"{_kind(labels[part])} in the {part} part" for part in (first, part))
            raise ValueError(
                f"{source}: labels must be all numbers or all text, got {kinds}; "
                "convert those of one part by .astype(str) or .astype(int)"
            )
    found, inverse = np.unique(plain[first], return_inverse=True)
    if len(found) > MAX_CLASSES:
        raise ValueError(f"{source} must have at most {MAX_CLASSES:,} classes, got {len(found):,}")
    number = {_key(label): i for i, label in enumerate(found)}
    numbers = {first: inverse.astype(np.int32)}
    for part in others:
        here, inverse = np.unique(plain[part], return_inverse=True)
        strange = [label for label in here if _key(label) not in number]
        if strange:
            called = printable(names[strange[0]] if names else strange[0], 60)
            hint = (
                "; it is one of the training part in another Unicode normalization (unicodedata.normalize)"
                if _looks_like_one(strange[0], found)
                else ""
            )
            raise ValueError(f"{source}: class {called} is in the {part} part only{hint}")
        numbers[part] = np.array([number[_key(label)] for label in here], np.int32)[inverse]
    return tuple(names[label] if names else str(label) for label in found), numbers


def _plain(source: str, part: str, labels: np.ndarray) -> np.ndarray:
    """Labels as text, integers, bools or finite whole numbers."""
    if not len(labels):
        raise ValueError(f"{source}: no examples in the {part} part")
    kind, where = labels.dtype.kind, f"{source}: labels of the {part} part"
    text = kind == "O" and all(isinstance(label, str) for label in labels)  # as pandas has it
    if text or kind in "SUT":
        lengths = _lengths(labels) if text else np.strings.str_len(labels)
        _check_lengths(where, lengths)
        if text:
            return labels.astype(str)
        if kind in "SU":  # without the padding of a longer dtype
            labels = labels.astype(f"{kind}{max(1, lengths.max())}", copy=False)
        return _decoded(where, labels) if kind == "S" else labels
    if kind not in "biufUT":
        raise ValueError(f"{where} must be integers, bools or text, got {labels.dtype}; convert them with .astype(str)")
    if kind == "f":
        nan = np.flatnonzero(np.isnan(labels))
        if len(nan):
            raise ValueError(f"{source}: label {labels[nan[0]]} of example {nan[0]} in the {part} part")
        broken = np.flatnonzero(~np.isfinite(labels) | (labels != np.round(labels)))
        if len(broken):
            raise ValueError(
                f"{where} must be the numbers or names of classes (integers, bools or text), got {labels.dtype} with "
                f"{labels[broken[0]]} in example {broken[0]}; np.digitize divides quantities into classes"
            )
        return labels + labels.dtype.type(0)  # -0.0 becomes 0.0
    return labels


def check_lengths(what: str, names: Sequence[str]) -> None:
    """Raises a ``ValueError`` where a name has more than ``LONGEST_LABEL`` characters."""
    _check_lengths(what, _lengths(names))


def _lengths(texts: Iterable[str]) -> np.ndarray:
    return np.fromiter(map(len, texts), np.int64)


def _check_lengths(what: str, lengths: np.ndarray) -> None:
    long = np.flatnonzero(lengths > LONGEST_LABEL)
    if len(long):
        given = f"{lengths[long[0]]:,} in number {long[0]}"
        raise ValueError(f"{what} must have at most {LONGEST_LABEL:,} characters, got {given}")


def _decoded(where: str, labels: np.ndarray) -> np.ndarray:
    try:
        return np.char.decode(labels, "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where} must be text in UTF-8, got {printable(repr(error.object), 60)}; "
            "decode them first, for example by np.char.decode(labels, 'latin-1')"
        ) from error


def _looks_like_one(label: np.generic | str, found: np.ndarray) -> bool:
    """Whether a class differs from one of ``found`` in its Unicode normalization alone."""
    same = functools.partial(unicodedata.normalize, "NFC")
    return isinstance(label, str) and same(label) in map(same, map(str, found))


def _is_text(labels: np.ndarray) -> bool:
    return labels.dtype.kind in "UT"


def _kind(labels: np.ndarray) -> str:
    return f"text ({labels.dtype})" if labels.dtype.kind in "SUTO" else str(labels.dtype)


def _key(label: np.generic | str) -> str | int:
    return str(label) if isinstance(label, str) else int(label)  # Python's integers are exact
