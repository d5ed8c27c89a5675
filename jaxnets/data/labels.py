"""Class indices of labels that are numbers or text."""

import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from jaxnets.ops.host.printable import printable

MAX_LABEL_LENGTH = 1000  # characters; NumPy pads all names to the longest one
MAX_CLASSES = 2**20  # about the size of the largest datasets of faces and products


def encode_labels(
    source: str, labels: Mapping[str, np.ndarray], names: Sequence[str] = ()
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Maps the labels of all splits to class indices.

    The classes are the sorted labels of the first split, the training split. Numbers are compared as integers of any
    size, independent of the dtype; -0.0 equals 0.0. Text is compared character by character.

    Args:
        source: The name of the data in error messages.
        labels: Labels ``[N]`` by split: integers, bools, integral floating-point numbers, or text (bytes in UTF-8).
        names: Names of the classes, if labels are their indices.

    Returns:
        The names of the classes, and indices int32 ``[N]`` by split.

    Raises:
        ValueError: A split is empty, its labels have another type, splits mix numbers and text, a class does not occur
            in the training split, there are more than ``MAX_CLASSES`` classes, or a label or name has more than
            ``MAX_LABEL_LENGTH`` characters.
    """
    check_lengths(f"{source}: names of classes", names)
    plain = {part: _plain(source, part, array) for part, array in labels.items()}
    first, *others = plain
    for part in others:
        if _is_text(plain[first]) != _is_text(plain[part]):
            kinds = " and ".join(f"{_kind(labels[part])} in the {part} split" for part in (first, part))
            raise ValueError(
                f"{source}: labels must be all numbers or all text, got {kinds}; "
                "convert one of them with .astype(str) or .astype(int)"
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
                "; the training split has it in another Unicode normalization (unicodedata.normalize)"
                if _is_denormalized(strange[0], found)
                else ""
            )
            raise ValueError(
                f"{source}: class {called} must occur in the training split, got it only in the {part} split{hint}"
            )
        numbers[part] = np.array([number[_key(label)] for label in here], np.int32)[inverse]
    return tuple(names[label] if names else str(label) for label in found), numbers


def _plain(source: str, part: str, labels: np.ndarray) -> np.ndarray:
    """Returns labels as text, integers, bools or finite integral numbers."""
    if not len(labels):
        raise ValueError(f"{source}: the {part} split must have examples, got none")
    kind, where = labels.dtype.kind, f"{source}: labels of the {part} split"
    text = kind == "O" and all(isinstance(label, str) for label in labels)  # as in pandas
    if text or kind in "SUT":
        lengths = _lengths(labels) if text else np.strings.str_len(labels)
        _check_lengths(where, lengths)
        if text:
            return labels.astype(str)
        if kind in "SU":  # removes padding of a longer dtype
            labels = labels.astype(f"{kind}{max(1, lengths.max())}", copy=False)
        return _decoded(where, labels) if kind == "S" else labels
    if kind not in "biufUT":
        raise ValueError(f"{where} must be integers, bools or text, got {labels.dtype}; convert them with .astype(str)")
    if kind == "f":
        nan = np.flatnonzero(np.isnan(labels))
        if len(nan):
            raise ValueError(f"{where} must not be NaN, got {labels[nan[0]]} in example {nan[0]}")
        broken = np.flatnonzero(~np.isfinite(labels) | (labels != np.round(labels)))
        if len(broken):
            raise ValueError(
                f"{where} must be indices or names of classes (integers, bools or text), got {labels.dtype} with "
                f"{labels[broken[0]]} in example {broken[0]}; np.digitize converts quantities to classes"
            )
        return labels + labels.dtype.type(0)  # -0.0 becomes 0.0
    return labels


def check_lengths(what: str, names: Sequence[str]) -> None:
    """Raises a ``ValueError`` if a name has more than ``MAX_LABEL_LENGTH`` characters."""
    _check_lengths(what, _lengths(names))


def _lengths(texts: Iterable[str]) -> np.ndarray:
    return np.fromiter(map(len, texts), np.int64)


def _check_lengths(what: str, lengths: np.ndarray) -> None:
    long = np.flatnonzero(lengths > MAX_LABEL_LENGTH)
    if len(long):
        given = f"{lengths[long[0]]:,} at index {long[0]}"
        raise ValueError(f"{what} must have at most {MAX_LABEL_LENGTH:,} characters, got {given}")


def _decoded(where: str, labels: np.ndarray) -> np.ndarray:
    try:
        return np.char.decode(labels, "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where} must be text in UTF-8, got {printable(repr(error.object), 60)}; "
            "decode them first, for example with np.char.decode(labels, 'latin-1')"
        ) from error


def _is_denormalized(label: np.generic | str, found: np.ndarray) -> bool:
    """Returns whether a label equals one of ``found`` up to Unicode normalization."""
    same = functools.partial(unicodedata.normalize, "NFC")
    return isinstance(label, str) and same(label) in map(same, map(str, found))


def _is_text(labels: np.ndarray) -> bool:
    return labels.dtype.kind in "UT"


def _kind(labels: np.ndarray) -> str:
    return f"text ({labels.dtype})" if labels.dtype.kind in "SUTO" else str(labels.dtype)


def _key(label: np.generic | str) -> str | int:
    return str(label) if isinstance(label, str) else int(label)  # Python integers are exact
