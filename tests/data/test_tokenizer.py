"""Tokenizers: ids of words, characters, bytes and subword units, alignment of words, and invalid vocabularies."""

import numpy as np
import pytest

from jaxnets import data

TEXTS = ["The cat doesn't sit.", "the dog sits, the end"]


def test_words_have_ids_by_frequency_and_unknown_words_have_0():
    tokenizer = data.learn_tokenizer(TEXTS, lowercase=True, max_size=5)
    assert tokenizer.symbols == ("the", ",", ".", "cat")  # ties in alphabetical order
    np.testing.assert_array_equal(tokenizer.encode("THE bird, cat"), [1, 0, 2, 4])
    assert [tokenizer.show(i) for i in (0, 1)] == ["<unknown>", "the"]
    assert tokenizer.size == 5
    assert "doesn't" in data.learn_tokenizer(TEXTS).symbols
    assert data.learn_tokenizer(TEXTS, min_count=2).symbols == ("the",)
    assert tokenizer.encode("").shape == (0,)


@pytest.mark.parametrize("unit", ["character", "byte", "piece"])
def test_every_text_of_smaller_units_can_be_encoded(unit):
    tokenizer = data.learn_tokenizer(TEXTS, unit, max_size=280)
    for text in (*TEXTS, "", "Ünïcode ☃"):
        ids = tokenizer.encode(text)
        assert ids.dtype == np.int32 and (ids >= 0).all() and (ids < tokenizer.size).all()
        if unit == "character":
            assert len(ids) == len(text)


@pytest.mark.parametrize("unit", ["word", "character", "byte", "piece"])
def test_positions_of_words(unit):
    tokenizer = data.learn_tokenizer(TEXTS, unit, max_size=280)
    words = ["the", "doesn't", "é", "sit"]
    ids, first = tokenizer.encode_words(words)
    assert first.shape == (4,) and (np.diff(first) > 0).all()
    if unit in ("character", "byte"):
        np.testing.assert_array_equal(ids, tokenizer.encode(" ".join(words)))
        for word, begin in zip(words, first, strict=True):
            encoded = tokenizer.encode(word)
            np.testing.assert_array_equal(ids[begin : begin + len(encoded)], encoded)
    ids, first = tokenizer.encode_words([])
    assert ids.shape == first.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unit": "letter"}, "`unit` must be"),
        ({"unit": "piece"}, "`pieces` must be given for the unit piece only"),
        ({"unit": "byte", "symbols": ("a",)}, "`symbols` must be empty for the unit byte, got 1"),
        ({"symbols": ("a", "b", "a")}, "`symbols` must be distinct, got 'a' twice"),
        ({"symbols": ("a", "")}, "`symbols` must be strings that are not empty"),
        ({"unit": "character", "symbols": ("ab",)}, "`symbols` must be single characters"),
    ],
)
def test_invalid_vocabularies(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.Tokenizer(**arguments)


def test_ids_out_of_range_are_not_shown():
    with pytest.raises(ValueError, match="token ids must be from 0 to 1, got 2"):
        data.Tokenizer(symbols=("a",)).show(2)
