"""Text files and vocabularies: sources, encodings, tokens, and errors."""

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


def test_byte_values_are_token_ids(tmp_path):
    (tmp_path / "a.txt").write_bytes(bytes(range(256)))
    tokens, vocabulary = data.read(str(tmp_path / "a.txt"))
    np.testing.assert_array_equal(tokens, np.arange(256))
    assert (vocabulary.size, vocabulary.unit, tokens.dtype) == (256, "byte", np.int32)


def test_a_folder_is_read_in_sorted_order_without_hidden_files(tmp_path):
    (tmp_path / "b.txt").write_text("ñandú\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "z.txt").write_text("日本")
    (tmp_path / ".hidden").write_text("no")
    tokens, vocabulary = data.read(str(tmp_path), "character")
    assert vocabulary.decode(tokens) == "日本ñandú\n"
    assert vocabulary.characters == "".join(sorted(set("日本ñandú\n")))
    np.testing.assert_array_equal(vocabulary.encode("日本ñandú\n"), tokens)


def test_the_decoder_returns_a_character_after_its_last_byte():
    vocabulary = data.Vocabulary()
    decode = vocabulary.decoder()
    assert [decode(token) for token in "aé日".encode()] == ["a", "", "é", "", "", "日"]


def test_unknown_characters_are_rejected():
    with pytest.raises(ValueError, match="must be in the vocabulary 'abc', got 'x', 'ß'"):
        data.Vocabulary("abc").encode("aßxb")


def test_unreadable_text_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="nowhere must be a text file or a folder of text files, got no such path"):
        data.read(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="must contain text files, got none"):
        data.read(str(tmp_path))
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match="must contain text, got 1 file, all empty"):
        data.read(str(tmp_path))
    (tmp_path / "latin.txt").write_bytes("señor".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt must be UTF-8, got 0xf1 as byte 2"):
        data.read(str(tmp_path), "character")
    with pytest.raises(ValueError, match="`unit` must be byte, character or piece, got 'word'"):
        data.read(str(tmp_path), "word")


def test_trained_pieces_decode_to_every_text(tmp_path):
    path = tmp_path / "verse.txt"
    path.write_text("hello wörld, hello world\n" * 30)
    tokens, vocabulary = data.read(str(path), "piece", 300)
    assert 256 < vocabulary.size <= 300 and vocabulary.unit == "piece"
    assert vocabulary.decode(tokens) == path.read_text()
    assert len(tokens) < len(path.read_text()) / 2
    unseen = "日本\x00é" + "".join(map(chr, range(300)))
    assert vocabulary.decode(vocabulary.encode(unseen)) == unseen
    decode = vocabulary.decoder()
    assert "".join(decode(token) for token in vocabulary.encode(unseen)) == unseen
    broken = vocabulary.encode("日")[:1]
    assert vocabulary.decode(broken) == "\ufffd" and decode(broken[0]) == ""
    assert vocabulary.show(int(tokens[0])) == "'hello'"
    with pytest.raises(ValueError, match="`vocab_size` must be at least 256, the number of bytes, got 100"):
        data.read(str(path), "piece", 100)


LINES = "ab c \n\ndé\u2028e \t日\n  f g\n"
UNITS = ("byte", "character", "piece")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\r", "\x0b", "\x0c", "\x85"])
def test_prompts_and_files_have_equal_tokens_for_all_line_ends(tmp_path, unit, end):
    text = LINES.replace("\n", end) * 9
    (tmp_path / "a.txt").write_bytes(text.encode())
    tokens, vocabulary = data.read(str(tmp_path), unit, 300)
    np.testing.assert_array_equal(vocabulary.encode(text), tokens)
    lines = [vocabulary.encode(line) for line in text.splitlines(keepends=True)]
    np.testing.assert_array_equal(np.concatenate(lines), tokens)
    assert vocabulary.decode(tokens) == text
    decode = vocabulary.decoder()
    assert "".join(map(decode, tokens)) == text


MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@pytest.mark.parametrize("unit", ["character", "piece"])
@pytest.mark.parametrize("encoding", MARKS)
def test_byte_order_marks_are_removed(tmp_path, unit, encoding):
    marked = MARKS[encoding] + LINES.encode(encoding)
    (tmp_path / "a.txt").write_bytes(marked)
    (tmp_path / "b.txt").write_bytes(marked + marked)  # concatenated files
    (tmp_path / "c.txt").write_text(LINES, encoding="utf-8")
    (tmp_path / "d.txt").write_bytes(MARKS[encoding])
    tokens, vocabulary = data.read(str(tmp_path), unit, 300)
    assert vocabulary.decode(tokens) == LINES * 4
    np.testing.assert_array_equal(vocabulary.encode("\ufeff" + LINES), vocabulary.encode(LINES))
    assert data.Vocabulary("a\ufeff").encode("\ufeffa").tolist() == [1, 0]  # from versions that preserved marks
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "d.txt").write_bytes(MARKS[encoding])
    with pytest.raises(ValueError, match="must contain text, got 1 file, all empty"):
        data.read(str(alone), unit)


def test_bytes_are_preserved(tmp_path):
    content = codecs.BOM_UTF8 + b"a\r\nb\rc\0" + codecs.BOM_UTF16_LE + bytes(range(256))
    (tmp_path / "a").write_bytes(content)
    tokens, vocabulary = data.read(str(tmp_path / "a"))
    assert bytes(tokens.tolist()) == content
    shell = os.fsdecode(b"se\xf1or")  # a command line or a file name that is not UTF-8
    assert bytes(vocabulary.encode(shell).tolist()) == b"se\xf1or"


UNDECODABLE = {
    "middle": (b"abc\xffdef", "must be UTF-8, got 0xff as byte 3"),
    "after a mark": (codecs.BOM_UTF8 + b"ab\xc3", "must be UTF-8, got 0xc3 as byte 5"),
    "surrogate": ("a\ud800".encode("utf-8", "surrogatepass"), "must be UTF-8, got 0xed as byte 1"),
    "incomplete UTF-16": (codecs.BOM_UTF16_LE + b"a\0b", "must be UTF-16-LE, got 0x62 as byte 4"),
    "invalid UTF-32": (codecs.BOM_UTF32_BE + b"\0\x11\0\0", "must be UTF-32-BE, got 0x00 as byte 4"),
    "UTF-16 without a mark": ("señor, a text\n".encode("utf-16-le"), "got a control character in every second byte"),
    "Cyrillic": ("привет, мир и все остальные\n".encode("utf-16-be"), "with a byte order mark, got a control"),
    "UTF-32 without a mark": ("a text\n".encode("utf-32-le"), "must be UTF-8, or UTF-16 or UTF-32 with"),
}


@pytest.mark.parametrize("unit", ["character", "piece"])
@pytest.mark.parametrize("content, message", UNDECODABLE.values(), ids=UNDECODABLE)
def test_undecodable_text_is_rejected_with_file_and_position(tmp_path, unit, content, message):
    (tmp_path / "good.txt").write_text("good " * 30)
    (tmp_path / "wrong.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"wrong\.txt .*{message}.*unit=byte"):
        data.read(str(tmp_path), unit)


@pytest.mark.parametrize("text", ["one\0two\0three\0four", "a\0bc\x1b[0m", "\n\n\n\n", "\t\n\t\n", "\x04 a b", "\0"])
def test_control_characters_are_preserved(tmp_path, text):
    (tmp_path / "a.txt").write_bytes(text.encode())
    tokens, vocabulary = data.read(str(tmp_path), "character")
    assert vocabulary.decode(tokens) == text and vocabulary.characters == "".join(sorted(set(text)))


def test_file_names_may_have_any_encoding(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / os.fsdecode(b"\xff\xfe.txt")).write_bytes(b"text " * 100)
    assert data.text(str(folder), batch_size=2, seq_len=8).description.endswith("450 training bytes, 50 held out")
    (folder / os.fsdecode(b"\xff\xfe.txt")).write_bytes(b"text \xff")
    with pytest.raises(ValueError, match="must be UTF-8, got 0xff as byte 5"):
        data.read(str(folder), "character")


def test_the_default_prompt_is_a_line_end_or_the_first_character():
    for characters, start in (("\t\n\rab", "\n"), ("\t\rab", "\r"), ("ab", "a")):
        assert data.Vocabulary(characters).start == start
    assert data.Vocabulary().start == "\n"


@pytest.mark.parametrize("vocabulary", [data.Vocabulary(), data.Vocabulary("abc"), data.learn_pieces(["abc"], 260)])
def test_unknown_tokens_and_surrogates_are_rejected(vocabulary):
    last = vocabulary.size - 1
    for wrong in (-1, vocabulary.size):
        for decode in (lambda token: vocabulary.decode([0, token]), vocabulary.decoder(), vocabulary.show):
            with pytest.raises(ValueError, match=f"token ids must be from 0 to {last}, got {wrong}"):
                decode(wrong)
    with pytest.raises(ValueError, match=r"\\ud800"):
        vocabulary.encode("a\ud800")


def test_hidden_and_special_files_are_skipped(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("no")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="must contain text files, got none"):
        data.read(str(tmp_path))
    with pytest.raises(ValueError, match="must be a text file or a folder of text files, got neither"):
        data.read(str(tmp_path / "pipe"))
