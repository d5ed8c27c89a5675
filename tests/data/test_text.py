"""Reading text: sources, vocabularies, and what is told about files that cannot be read."""

import codecs
import os
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


LINES = "ab c \n\ndé\u2028e \t日\n  f g\n"
UNITS = ("byte", "character", "piece")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\r", "\x0b", "\x0c", "\x85"])
def test_a_prompt_has_the_tokens_of_the_same_text_in_a_file_whatever_ends_its_lines(tmp_path, unit, end):
    text = LINES.replace("\n", end) * 9
    (tmp_path / "a.txt").write_bytes(text.encode())
    tokens, vocabulary = data.read(str(tmp_path), unit, 300)
    np.testing.assert_array_equal(vocabulary.encode(text), tokens)
    lines = [vocabulary.encode(line) for line in text.splitlines(keepends=True)]
    np.testing.assert_array_equal(np.concatenate(lines), tokens)
    assert vocabulary.decode(tokens) == text
    text_of = vocabulary.decoder()
    assert "".join(map(text_of, tokens)) == text


MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@pytest.mark.parametrize("unit", ["character", "piece"])
@pytest.mark.parametrize("encoding", MARKS)
def test_byte_order_marks_are_no_text(tmp_path, unit, encoding):
    marked = MARKS[encoding] + LINES.encode(encoding)
    (tmp_path / "a.txt").write_bytes(marked)
    (tmp_path / "b.txt").write_bytes(marked + marked)  # joined files
    (tmp_path / "c.txt").write_text(LINES, encoding="utf-8")
    (tmp_path / "d.txt").write_bytes(MARKS[encoding])
    tokens, vocabulary = data.read(str(tmp_path), unit, 300)
    assert vocabulary.decode(tokens) == LINES * 4
    np.testing.assert_array_equal(vocabulary.encode("\ufeff" + LINES), vocabulary.encode(LINES))
    assert data.Vocabulary("a\ufeff").encode("\ufeffa").tolist() == [1, 0]  # learned before marks were removed
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "d.txt").write_bytes(MARKS[encoding])
    with pytest.raises(ValueError, match="no text in .*: 1 file, all empty"):
        data.read(str(alone), unit)


def test_bytes_stay_what_they_are(tmp_path):
    content = codecs.BOM_UTF8 + b"a\r\nb\rc\0" + codecs.BOM_UTF16_LE + bytes(range(256))
    (tmp_path / "a").write_bytes(content)
    tokens, vocabulary = data.read(str(tmp_path / "a"))
    assert bytes(tokens.tolist()) == content
    shell = os.fsdecode(b"se\xf1or")  # a command line or a file name that is not UTF-8
    assert bytes(vocabulary.encode(shell).tolist()) == b"se\xf1or"


UNDECODABLE = {
    "middle": (b"abc\xffdef", "is not UTF-8: byte 3 is 0xff"),
    "after a mark": (codecs.BOM_UTF8 + b"ab\xc3", "is not UTF-8: byte 5 is 0xc3"),
    "surrogate": ("a\ud800".encode("utf-8", "surrogatepass"), "is not UTF-8: byte 1 is 0xed"),
    "half a UTF-16 unit": (codecs.BOM_UTF16_LE + b"a\0b", "is not UTF-16-LE: byte 4 is 0x62"),
    "no UTF-32": (codecs.BOM_UTF32_BE + b"\0\x11\0\0", "is not UTF-32-BE: byte 4 is 0x00"),
    "UTF-16 without a mark": ("señor, a text\n".encode("utf-16-le"), "got a control character in every second byte"),
    "Cyrillic": ("привет, мир и все остальные\n".encode("utf-16-be"), "with a byte order mark, got a control"),
    "UTF-32 without a mark": ("a text\n".encode("utf-32-le"), "must be UTF-8, or UTF-16 or UTF-32 with"),
}


@pytest.mark.parametrize("unit", ["character", "piece"])
@pytest.mark.parametrize("content, message", UNDECODABLE.values(), ids=UNDECODABLE)
def test_what_cannot_be_decoded_is_named_by_file_and_place(tmp_path, unit, content, message):
    (tmp_path / "good.txt").write_text("good " * 30)
    (tmp_path / "wrong.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"wrong\.txt .*{message}.*unit=byte"):
        data.read(str(tmp_path), unit)


@pytest.mark.parametrize("text", ["one\0two\0three\0four", "a\0bc\x1b[0m", "\n\n\n\n", "\t\n\t\n", "\x04 a b", "\0"])
def test_a_control_character_is_a_character(tmp_path, text):
    (tmp_path / "a.txt").write_bytes(text.encode())
    tokens, vocabulary = data.read(str(tmp_path), "character")
    assert vocabulary.decode(tokens) == text and vocabulary.characters == "".join(sorted(set(text)))


def test_names_of_files_in_any_encoding(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / os.fsdecode(b"\xff\xfe.txt")).write_bytes(b"text " * 100)
    assert data.text(str(folder), batch_size=2, seq_len=8).description.endswith("450 training bytes, 50 held out")
    (folder / os.fsdecode(b"\xff\xfe.txt")).write_bytes(b"text \xff")
    with pytest.raises(ValueError, match="is not UTF-8: byte 5 is 0xff"):
        data.read(str(folder), "character")


def test_a_text_begins_after_a_line_end():
    for characters, start in (("\t\n\rab", "\n"), ("\t\rab", "\r"), ("ab", "a")):
        assert data.Vocabulary(characters).start == start
    assert data.Vocabulary().start == "\n"


@pytest.mark.parametrize("vocabulary", [data.Vocabulary(), data.Vocabulary("abc"), data.learn_pieces(["abc"], 260)])
def test_tokens_outside_a_vocabulary_and_half_characters_are_told(vocabulary):
    last = vocabulary.size - 1
    for wrong in (-1, vocabulary.size):
        for decode in (lambda token: vocabulary.decode([0, token]), vocabulary.decoder(), vocabulary.show):
            with pytest.raises(ValueError, match=f"token must be from 0 to {last}, .*got {wrong}"):
                decode(wrong)
    with pytest.raises(ValueError, match=r"\\ud800"):
        vocabulary.encode("a\ud800")


def test_hidden_and_special_files_are_no_text(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("no")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="holds no file"):
        data.read(str(tmp_path))
    with pytest.raises(ValueError, match="must be a text file or a folder of text files, got neither"):
        data.read(str(tmp_path / "pipe"))
