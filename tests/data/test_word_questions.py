"""Question files of word vectors: formats, and errors that name the line."""

import gzip
import re

import pytest

from jaxnets import data
from jaxnets.data.formats import word_questions


def test_analogies_are_read_by_section(tmp_path):
    text = "\ufeff: one\r\na b c d\r\n\r\n:two words\r\ne\tf  g h\r\n: one\r\ni j k l"
    expected = {"one": [("a", "b", "c", "d"), ("i", "j", "k", "l")], "two words": [("e", "f", "g", "h")]}
    (tmp_path / "plain").write_bytes(text.encode())
    (tmp_path / "packed").write_bytes(gzip.compress(text.encode()))
    assert data.read_analogies(tmp_path / "plain") == data.read_analogies(str(tmp_path / "packed")) == expected


@pytest.mark.parametrize(
    "text, message",
    [
        ("a b c d\n", 'line 1 must be in a section: a line ": name" must come first'),
        (": s\na b c d\n\na b c\n", "line 4 must have four words, got 3: 'a b c'"),
        (": s\r\ra b c d e\n", "line 3 must have four words, got 5"),
        (": s\n\n", "must have at least one question, got none"),
        ("", "must have at least one question, got none"),
    ],
)
def test_wrong_analogies(text, message, tmp_path):
    (tmp_path / "questions").write_text(text, newline="")
    with pytest.raises(ValueError, match=re.escape(message)):
        data.read_analogies(tmp_path / "questions")


@pytest.mark.parametrize(
    "text, columns",
    [
        ("# Word 1\tWord 2\nking\tqueen\t8.5\nNew York\ta,b\t-1e-1\n", (0, 1, 2)),
        ("Word 1,Word 2,Human (mean)\r\nking,queen,8.5\r\nNew York\ta,b\t-.1\n", (0, 1, 2)),
        ("word1\tword2\tPOS\tSimLex999\nking\tqueen\tN\t8.5\tx\n\nNew York\ta,b\tN\t-.1\n", (0, 1, 3)),
    ],
)
def test_similarities_are_read(text, columns, tmp_path):
    (tmp_path / "pairs").write_text(text, newline="")
    expected = [("king", "queen", 8.5), ("New York", "a,b", -0.1)]
    assert data.read_similarities(tmp_path / "pairs", columns) == expected


def test_similarities_are_separated_by_spaces(tmp_path):
    (tmp_path / "pairs").write_text("king  queen 8.5\nman woman 7\n")
    assert data.read_similarities(tmp_path / "pairs") == [("king", "queen", 8.5), ("man", "woman", 7.0)]


@pytest.mark.parametrize(
    "text, message",
    [
        ("a b 1\nc d\n", "line 2 must have at least 3 columns, got 2"),
        ("a b 1\nc d e\n", "line 2 must have a finite number as its score, got 'e'"),
        ("a b 1\nc d nan\n", "line 2 must have a finite number as its score, got 'nan'"),
        ("a b inf\n", "line 1 must have a finite number as its score, got 'inf'"),
        ("a\t\t1\n", "line 1 must have two words"),
        ("a b score\n", "must have at least one pair, got none"),
        ("word1 word2 score\nx y z\n", "line 2 must have a finite number as its score, got 'z'"),
        ("a b " + "9" * 400, "line 1 must have a finite number"),
        ("a b \x1b[31m\nc d \x1b[31m", r"line 2 must have a finite number as its score, got '\x1b[31m'"),
    ],
)
def test_wrong_similarities(text, message, tmp_path):
    (tmp_path / "pairs").write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        data.read_similarities(tmp_path / "pairs")


@pytest.mark.parametrize("read", [data.read_analogies, data.read_similarities])
def test_files_are_regular_and_bounded(read, tmp_path, monkeypatch):
    monkeypatch.setattr(word_questions, "MAX_BYTES", 100)
    (tmp_path / "bomb").write_bytes(gzip.compress(b" " * 1000))
    with pytest.raises(ValueError, match="must have at most 100 bytes of text"):
        read(tmp_path / "bomb")
    with pytest.raises(ValueError, match="cannot read .*: Is a directory"):
        read(tmp_path)


def test_wrong_columns(tmp_path):
    with pytest.raises(ValueError, match=re.escape("`columns` must be three indices of columns from 0, got (0, 1)")):
        data.read_similarities(tmp_path, (0, 1))
