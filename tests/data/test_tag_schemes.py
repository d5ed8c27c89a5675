"""Schemes of tags: conversions, invalid sequences, transitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets.data.tokens import tag_schemes
from jaxnets.data.tokens.tag_schemes import Span, allowed_transitions, complete_names, convert, invalid_positions, spans

SCHEMES = ("iob1", "iob2", "iobes")
TAGS = {
    "iob1": "I-PER O O O I-LOC I-LOC O I-LOC B-LOC",
    "iob2": "B-PER O O O B-LOC I-LOC O B-LOC B-LOC",
    "iobes": "S-PER O O O B-LOC E-LOC O S-LOC S-LOC",
}


@pytest.mark.parametrize("source, target", list(itertools.product(SCHEMES, repeat=2)))
def test_conversions_of_a_sentence(source, target):
    assert convert(TAGS[source].split(), source, target) == TAGS[target].split()
    expected = [Span(0, 1, "PER"), Span(4, 6, "LOC"), Span(7, 8, "LOC"), Span(8, 9, "LOC")]
    assert spans(TAGS[source].split()) == expected


@pytest.mark.parametrize(
    "tags, expected",
    [
        ("O I-A I-A", [(1, 3, "A")]),  # I without B
        ("B-A I-B", [(0, 1, "A"), (1, 2, "B")]),  # the type changes
        ("E-A E-A", [(0, 1, "A"), (1, 2, "A")]),
        ("B-A O E-A", [(0, 1, "A"), (2, 3, "A")]),
        ("S-A I-A", [(0, 1, "A"), (1, 2, "A")]),
        ("B-A B-A", [(0, 1, "A"), (1, 2, "A")]),
        ("B I O B", [(0, 2, ""), (3, 4, "")]),  # prefixes only
        ("I-a-b B-a-b", [(0, 1, "a-b"), (1, 2, "a-b")]),  # a hyphen in the type
        ("", []),
    ],
)
def test_invalid_sequences_are_read_as_by_conlleval(tags, expected):
    assert spans(tags.split()) == expected


def test_strict_spans():
    read = lambda tags, scheme: [tuple(span) for span in tag_schemes.strict_spans(tags.split(), scheme)]
    assert read("I-A B-A I-A I-B", "iob2") == [(1, 3, "A")]
    assert read("I-A B-A I-A O S-A B-A E-A E-A", "iobes") == [(4, 5, "A"), (5, 7, "A")]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(SCHEMES), st.sampled_from(SCHEMES), st.data())
def test_conversions_preserve_entities_and_give_allowed_transitions(source, target, data):
    names = complete_names(["B-A", "B-B"], source)
    tags = data.draw(st.lists(st.sampled_from(names), max_size=8))
    found = convert(tags, source, target)
    assert spans(found) == spans(tags)
    assert not list(invalid_positions(found, target))
    known = complete_names(["B-A", "B-B"], target)
    between, begin, end = allowed_transitions(known, target)
    ids = [known.index(tag) for tag in found]
    assert not ids or (begin[ids[0]] and end[ids[-1]] and all(between[pair] for pair in itertools.pairwise(ids)))
    valid = not list(invalid_positions(tags, source))
    assert not valid or convert(found, target, source) == tags
    assert bool(list(invalid_positions(tags, source))) == (not valid)


def test_allowed_transitions():
    names = complete_names(["B-A", "B-B"], "iobes")
    assert names == ("O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "S-B")
    between, begin, end = allowed_transitions(names, "iobes")
    after = lambda tag: [name for name, allowed in zip(names, between[names.index(tag)], strict=True) if allowed]
    assert after("B-A") == after("I-A") == ["I-A", "E-A"]
    assert after("O") == after("E-A") == after("S-B") == ["O", "B-A", "S-A", "B-B", "S-B"]
    assert [name for name, allowed in zip(names, begin, strict=True) if allowed] == ["O", "B-A", "S-A", "B-B", "S-B"]
    assert [name for name, allowed in zip(names, end, strict=True) if allowed] == ["O", "E-A", "S-A", "E-B", "S-B"]
    names = complete_names(["B-A", "B-B"], "iob1")
    between, begin, end = allowed_transitions(names, "iob1")
    assert not between[0, names.index("B-A")] and between[names.index("I-A"), names.index("B-A")]
    assert not between[names.index("I-B"), names.index("B-A")] and between[0, names.index("I-A")]
    assert not begin[names.index("B-A")] and end.all()
    between, begin, end = allowed_transitions(("NOUN", "VERB"), "none")
    assert between.shape == (2, 2) and between.all() and begin.all() and end.all()
    assert [array.shape for array in allowed_transitions((), "iob2")] == [(0, 0), (0,), (0,)]
    assert np.array(allowed_transitions(("O",), "iobes")[0]).all()


def test_wrong_tags_and_schemes_are_named():
    with pytest.raises(ValueError, match="a tag of the scheme iob2 must be O, B-TYPE, I-TYPE, got 'S-PER'"):
        convert(["S-PER"], "iob2", "iobes")
    for tag in ("", "PER", "b-PER", "BPER"):
        with pytest.raises(ValueError, match="must be O, B-TYPE, I-TYPE"):
            convert([tag], "iob1", "iob1")
    with pytest.raises(ValueError, match="`scheme` must be one of none, iob1, iob2, iobes, got 'bio'"):
        convert(["O"], "bio", "iob2")
    with pytest.raises(ValueError, match="must both be none or neither, got none and iob2"):
        convert(["O"], "none", "iob2")
    assert convert(["NOUN"], "none", "none") == ["NOUN"]
