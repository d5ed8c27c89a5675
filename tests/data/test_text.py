"""Reading text: sources, vocabularies, and what is told about files that cannot be read."""

import sysconfig
from pathlib import Path

import numpy as np
import pytest

from jaxnets import data


def test_the_standard_library_is_sorted_and_without_tests():
    files = data.standard_library()
    root = Path(sysconfig.get_path("stdlib"))
    names = [file.relative_to(root).as_posix() for file in files]
    assert names == sorted(names)
    assert {"ast.py", "json/decoder.py"} <= set(names)
    assert not [name for name in names if {"test", "tests", "site-packages"} & set(name.split("/"))]


def test_bytes_are_their_own_numbers(tmp_path):
    (tmp_path / "a.txt").write_bytes(bytes(range(256)))
    tokens, vocabulary = data.read(str(tmp_path / "a.txt"))
    np.testing.assert_array_equal(tokens, np.arange(256))
    assert (vocabulary.size, vocabulary.unit, tokens.dtype) == (256, "byte", np.int32)


def test_characters_of_a_folder_in_order_without_hidden_files(tmp_path):
    (tmp_path / "b.txt").write_text("ñandú\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "z.txt").write_text("日本")
    (tmp_path / ".hidden").write_text("no")
    tokens, vocabulary = data.read(str(tmp_path), "character")
    assert vocabulary.decode(tokens) == "日本ñandú\n"
    assert vocabulary.characters == "".join(sorted(set("日本ñandú\n")))
    np.testing.assert_array_equal(vocabulary.encode("日本ñandú\n"), tokens)


def test_streamed_bytes_become_text_when_a_character_is_complete():
    vocabulary = data.Vocabulary()
    decode = vocabulary.decoder()
    assert [decode(token) for token in "aé日".encode()] == ["a", "", "é", "", "", "日"]


def test_unknown_characters_are_named():
    with pytest.raises(ValueError, match="outside the vocabulary of this run: 'x', 'ß'; it knows 'abc'"):
        data.Vocabulary("abc").encode("aßxb")


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ValueError, match="no text file or folder at .*nowhere"):
        data.read(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="holds no file"):
        data.read(str(tmp_path))
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match="no text in .*: 1 file, all empty"):
        data.read(str(tmp_path))
    (tmp_path / "latin.txt").write_bytes("señor".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt is not UTF-8: byte 2 is 0xf1"):
        data.read(str(tmp_path), "character")
    with pytest.raises(ValueError, match="unit: byte, character or piece; given 'word'"):
        data.read(str(tmp_path), "word")


def test_pieces_are_learned_and_give_every_text_back(tmp_path):
    path = tmp_path / "verse.txt"
    path.write_text("hello wörld, hello world\n" * 30)
    tokens, vocabulary = data.read(str(path), "piece", 300)
    assert 256 < vocabulary.size <= 300 and vocabulary.unit == "piece"
    assert vocabulary.decode(tokens) == path.read_text()
    assert len(tokens) < len(path.read_text()) / 2
    unseen = "日本\x00é" + "".join(map(chr, range(300)))
    assert vocabulary.decode(vocabulary.encode(unseen)) == unseen
    text_of = vocabulary.decoder()
    assert "".join(text_of(token) for token in vocabulary.encode(unseen)) == unseen
    broken = vocabulary.encode("日")[:1]
    assert vocabulary.decode(broken) == "\ufffd" and text_of(broken[0]) == ""
    assert vocabulary.show(int(tokens[0])) == "'hello'"
    with pytest.raises(ValueError, match="pieces: at least the 256 bytes; given 100"):
        data.read(str(path), "piece", 100)
