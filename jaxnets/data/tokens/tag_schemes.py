"""Schemes of tags for entities of several words: IOB1, IOB2 and IOBES.

A tag is ``O``, or a prefix and a type: ``B-PER``. In IOB2, ``B`` begins an entity and ``I`` continues it. In IOB1,
``B`` is used only between adjacent entities of one type, and ``I`` otherwise. In IOBES, ``E`` ends an entity and ``S``
is an entity of one word (Ramshaw and Marcus 1995, arXiv:cmp-lg/9505040; Ratinov and Roth 2009). The scheme ``none`` has
any tags, such as parts of speech.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxnets.ops.checks import check_choice
from jaxnets.ops.host.printable import printable

OUTSIDE = "O"
PREFIXES = {"iob1": "BI", "iob2": "BI", "iobes": "BIES"}  # of entities
SCHEMES = ("none", *PREFIXES)


class Span(NamedTuple):
    """An entity.

    Attributes:
        begin: Index of the first word.
        end: Index after the last word.
        type: Type, such as ``PER``; empty if tags are prefixes only.
    """

    begin: int
    end: int
    type: str


def parts(tag: str) -> tuple[str, str]:
    """Returns the prefix and the type of a tag; the type is empty for ``O``."""
    return tag[:1], tag[2:]


def check_tag(tag: str, scheme: str) -> None:
    """Raises a ``ValueError`` unless a tag is ``O``, or has a prefix of the scheme, alone or with ``-`` and a type."""
    has_type = len(tag) > 2 and tag[1] == "-"
    if scheme == "none" or tag == OUTSIDE or (tag[:1] in tuple(PREFIXES[scheme]) and (len(tag) == 1 or has_type)):
        return
    prefixes = ", ".join(f"{prefix}-TYPE" for prefix in PREFIXES[scheme])
    raise ValueError(f"a tag of the scheme {scheme} must be O, {prefixes}, got {printable(repr(tag), 60)}")


def spans(tags: Iterable[str]) -> list[Span]:
    """Returns the entities of the tags of a sentence in any scheme, without errors for invalid sequences.

    The rules are those of the script conlleval and of seqeval: an entity begins at ``B`` and ``S``, after ``E``, ``S``
    and ``O``, and where the type changes. It ends after ``E`` and ``S``, and before the next entity or ``O``. So an
    ``I`` after ``O`` begins an entity.
    """
    found: list[Span] = []
    begin, before = -1, (OUTSIDE, "")  # -1: outside
    for i, tag in enumerate([*tags, OUTSIDE]):
        prefix, kind = now = parts(tag)
        ends = before[0] in "ES" or prefix in "BSO" or kind != before[1]
        if begin >= 0 and ends:
            found.append(Span(begin, i, before[1]))
            begin = -1
        if begin < 0 and prefix != OUTSIDE:
            begin = i
        before = now
    return found


def strict_spans(tags: Sequence[str], scheme: str) -> list[Span]:
    """Returns the entities whose tags are complete in a scheme, as seqeval with ``mode="strict"``.

    In IOB2, they begin with ``B``. In IOBES, they are ``S``, or ``B``, any number of ``I``, and ``E``, of one type.

    Args:
        tags: The tags of a sentence.
        scheme: ``"iob2"`` or ``"iobes"``.
    """
    check_choice("scheme", scheme, ("iob2", "iobes"))
    found: list[Span] = []
    i = 0
    while i < len(tags):
        first, kind = parts(tags[i])
        end = i + 1
        inside = "I" if scheme == "iob2" else "IE"
        while first == "B" and end < len(tags) and parts(tags[end]) in [(each, kind) for each in inside]:
            end += 1
            if parts(tags[end - 1])[0] == "E":
                break
        last = parts(tags[end - 1])[0]
        if first == "S" or (first == "B" and (scheme == "iob2" or last == "E")):
            found.append(Span(i, end, kind))
        i = end
    return found


def tags_of(entities: Iterable[Span], length: int, scheme: str) -> list[str]:
    """Returns the tags of a sentence with entities in ascending order.

    Args:
        entities: Entities that do not overlap.
        length: Number of words.
        scheme: ``"iob1"``, ``"iob2"`` or ``"iobes"``.
    """
    check_choice("scheme", scheme, PREFIXES)
    tags = [OUTSIDE] * length
    before = Span(-1, -1, "")
    for span in entities:
        names = ["I"] * (span.end - span.begin)
        if scheme != "iob1" or (before.end, before.type) == (span.begin, span.type):
            names[0] = "B"
        if scheme == "iobes":
            names[-1] = "S" if len(names) == 1 else "E"
        tags[span.begin : span.end] = [f"{name}-{span.type}" if span.type else name for name in names]
        before = span
    return tags


def convert(tags: Sequence[str], source: str, target: str) -> list[str]:
    """Converts the tags of a sentence to another scheme. Invalid sequences are read as by ``spans``.

    Raises:
        ValueError: A scheme is unknown, one of them is ``none`` and the other is not, or a tag has a wrong prefix.
    """
    check_schemes(source, target)
    for tag in tags:
        check_tag(tag, source)
    return list(tags) if target == "none" else tags_of(spans(tags), len(tags), target)


def check_schemes(source: str, target: str) -> None:
    """Raises a ``ValueError`` unless tags of one scheme can be converted to the other."""
    check_choice("scheme", source, SCHEMES)
    check_choice("target_scheme", target, SCHEMES)
    if (source == "none") != (target == "none"):
        raise ValueError(f"`scheme` and `target_scheme` must both be none or neither, got {source} and {target}")


def complete_names(tags: Iterable[str], scheme: str) -> tuple[str, ...]:
    """Returns the tags of a vocabulary: ``O`` and all prefixes of each type that occurs; for ``none`` the tags, sorted.

    With all prefixes, every entity can be completed by allowed transitions.
    """
    if scheme == "none":
        return tuple(sorted(set(tags)))
    types = sorted({parts(tag)[1] for tag in tags if tag != OUTSIDE})
    return (OUTSIDE, *(f"{prefix}-{kind}" if kind else prefix for kind in types for prefix in PREFIXES[scheme]))


def allowed_transitions(names: Sequence[str], scheme: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the valid transitions between K tags, bool, True = allowed.

    Args:
        names: Names of the tags.
        scheme: One of ``SCHEMES``; ``none`` allows everything.

    Returns:
        ``[K, K]`` from row to column, the first tags ``[K]`` and the last tags ``[K]``.
    """
    check_choice("scheme", scheme, SCHEMES)
    may = lambda first, second: scheme == "none" or _may_follow(first, second, scheme)
    between = np.array([[may(first, second) for second in names] for first in names], bool)
    begin = np.array([may(OUTSIDE, name) for name in names], bool)
    end = np.array([may(name, OUTSIDE) for name in names], bool)
    return between.reshape(len(names), len(names)), begin, end


def _may_follow(first: str, second: str, scheme: str) -> bool:
    """Returns whether a tag may follow another one; the ends of a sentence are as ``O``."""
    (before, kind), (prefix, other) = parts(first), parts(second)
    if scheme == "iob1":  # B only between adjacent entities of one type
        return prefix != "B" or (before in "BI" and kind == other)
    if scheme == "iob2":
        return prefix != "I" or (before in "BI" and kind == other)
    return (before in "BI" and kind == other) if prefix in "IE" else before not in "BI"


def invalid_positions(tags: Sequence[str], scheme: str) -> Iterator[int]:
    """Yields the indices of words whose tag may not follow the tag before, or may not be the last one."""
    if scheme == "none":
        return
    for i, tag in enumerate([*tags, OUTSIDE]):
        if not _may_follow(tags[i - 1] if i else OUTSIDE, tag, scheme):
            yield min(i, len(tags) - 1)
