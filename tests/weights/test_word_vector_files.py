"""Files of word vectors: equality with gensim, and damaged and hostile files."""

import gzip
import os
import pickle
import re
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from conftest import ROOT
from hostile_files import time_limit

from jaxnets import weights
from jaxnets.weights import word_vector_files

GOLDEN = np.load(ROOT / "tests" / "reference" / "word_vectors.npz")
WORDS = tuple(GOLDEN["words"].tolist())
VECTORS = GOLDEN["vectors_3"]
FILES = {"word2vec": "file_text", "word2vec_binary": "file_binary", "glove": "file_glove"}


def read(tmp_path, content, *args, **options):
    (tmp_path / "vectors").write_bytes(content if isinstance(content, bytes) else content.encode())
    with time_limit(20):
        return weights.read_word_vectors(tmp_path / "vectors", *args, **options)


def binary(words, vectors, header=None, end=b""):
    header = header or f"{len(words)} {len(vectors[0])}"
    rows = [word + b" " + np.array(vector, "<f4").tobytes() + end for word, vector in zip(words, vectors, strict=True)]
    return header.encode() + b"\n" + b"".join(rows)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("format", FILES)
def test_files_of_gensim_are_read(format, pack, tmp_path):
    content = pack(GOLDEN[FILES[format]].tobytes())
    for name in (format, "auto"):
        found = read(tmp_path, content, name)
        assert found.words == WORDS and found.ids["queen"] == 2
        assert found.vectors.dtype == np.float32
        np.testing.assert_array_equal(found.vectors, VECTORS)


@pytest.mark.parametrize("format", FILES)
def test_files_equal_those_of_gensim(format, tmp_path):
    found = weights.WordVectors(WORDS, VECTORS)
    weights.write_word_vectors(tmp_path / "plain", found, format)
    weights.write_word_vectors(tmp_path / "packed.gz", found, format)
    assert (tmp_path / "plain").read_bytes() == GOLDEN[FILES[format]].tobytes()
    assert gzip.decompress((tmp_path / "packed.gz").read_bytes()) == GOLDEN[FILES[format]].tobytes()
    assert sorted(os.listdir(tmp_path)) == ["packed.gz", "plain"]


def test_first_of_equal_words_is_kept(tmp_path):
    found = read(tmp_path, str(GOLDEN["duplicates"]))
    assert found.words == tuple(GOLDEN["first_words"].tolist())
    np.testing.assert_array_equal(found.vectors, GOLDEN["first_vectors"])


@pytest.mark.parametrize("block", [1, 7, 2**18])
@pytest.mark.parametrize("format", FILES)
def test_blocks_do_not_change_the_result(format, block, tmp_path, monkeypatch):
    monkeypatch.setattr(word_vector_files, "HEAD", 80)
    monkeypatch.setattr("jaxnets.ops.host.compressed.BLOCK_SIZE", block)
    found = read(tmp_path, GOLDEN[FILES[format]].tobytes())
    assert found.words == WORDS
    np.testing.assert_array_equal(found.vectors, VECTORS)


@pytest.mark.parametrize(
    "content",
    [
        "a 1 2\n. . . 3 4\nat b@c.d 5 6\n",  # GloVe 840B
        "3 2 \r\na 1 2\r\n. . . 3 4 \r\nat b@c.d 5 6",
        "3 2\na 1 2 \n. . .  3\t4\nat b@c.d 5e0 +6.0 \n\n",  # fastText ends lines with a space
        binary([b"a", b". . .", b"at b@c.d"], [[1, 2], [3, 4], [5, 6]])
        .replace(b". . .", b".\xc2\xa0.")
        .replace(b"at b@c.d", b"b"),
    ],
)
def test_words_with_spaces_and_line_ends(content, tmp_path):
    found = read(tmp_path, content)
    assert found.words in (("a", ". . .", "at b@c.d"), ("a", ".\xa0.", "b"))
    np.testing.assert_array_equal(found.vectors, [[1, 2], [3, 4], [5, 6]])


def test_numbers_and_names_of_numbers_are_words(tmp_path):
    for header in ("", "4 2\n"):
        found = read(tmp_path, header + "1.5 1 2\nnan 3 4\ninfinity 5 6\n7 8 9\n")
        assert found.words == ("1.5", "nan", "infinity", "7")
        np.testing.assert_array_equal(found.vectors, [[1, 2], [3, 4], [5, 6], [8, 9]])


def test_binary_words_with_line_ends_and_broken_characters(tmp_path):
    words = [b"w%d" % index for index in range(20)] + ["日".encode()[:2]]
    found = read(tmp_path, binary(words, np.ones((21, 3)), end=b"\n"))
    assert found.words == (*(f"w{index}" for index in range(20)), "\ufffd")
    with pytest.raises(ValueError, match="must be in UTF-8, got 1 of 2 that are not"):
        read(tmp_path, binary([b"a", b"\xe9"], np.ones((2, 3))))
    assert read(tmp_path, binary(["\ufffd".encode()], np.ones((1, 3)))).words == ("\ufffd",)


def test_limit_stops_reading(tmp_path):
    broken = "9 2\na 1 2\na 0 0\nb 3 4\nc x\n"
    assert read(tmp_path, broken.replace("c x\n", "c 5 6\n" + "# " * 2**18), limit=2).words == ("a", "b")
    content = binary([b"a", b"b"], np.ones((2, 3)), header="1000000000000 3")
    for limit in (1, 2):
        assert len(read(tmp_path, content, limit=limit).words) == limit
    with pytest.raises(ValueError, match="`limit` must be an integer of at least 1, got 0"):
        read(tmp_path, content, limit=0)


@pytest.mark.parametrize(
    "content, message",
    [
        ("3 2\na 1 2\nb 3 4\n", "must have as many words as its header, 3, got 2"),
        ("1 2\na 1 2\nb 3 4\n", "must have as many words as its header, 1, got more"),
        ("99999999999 60000\na 1 2\n", "line 2 must have a word and 60,000 numbers, got 'a 1 2'"),
        ("2 99999999999\na 1 2\n", "must have at least 1 word and from 1 to 65,536 dimensions, got 2 and 99,999,999"),
        ("2 0\na\nb\n", "must have at least 1 word and from 1 to 65,536 dimensions, got 2 and 0"),
        ("0 2\n", "must have at least 1 word and"),
        ("2 2\na 1 2\nb 3\n", "line 3 must have a word and 2 numbers, got 'b 3'"),
        ("2 2\na 1 2\n\nb 3 x\n", "line 4 must have a word and 2 numbers, got 'b 3 x'"),
        ("2 2\na 1 2 3\nb 3 4 5\n", "line 2 must have a word and 2 numbers, got 'a 1 2 3'"),
        ("2 2\na 1 2\nb 1.5.5\n", "line 3 must have a word and 2 numbers"),
        ("2 3\na 1 2 3\nb 1.5.5  2\n", "line 3 must have a word and 3 numbers"),
        ("2 2\na 1 2\n 3 4\n", "line 3 must have a word and 2 numbers"),
        ("a 1 2\nb 3 nan\n", "line 2 must have finite numbers"),
        ("2 2\na 1 2\nb -inf 3\n", "line 3 must have finite numbers"),
        ("2 2\na 1 2\nb 1e39 3\n", "line 3 must have finite numbers"),
        (binary([b"a", b"b"], [[1, 2], [3, np.nan]]), "vector 2 must have finite numbers"),
        (binary([b"a", b"b"], [[1, 2], [3, 4]])[:-1], "must have as many words as its header, 2, got 1"),
        (binary([b"a", b"b"], [[1, 2], [3, 4]], "1 2"), "must have as many words as its header, 1, got more"),
        (binary([b"a", b""], [[1, 2], [3, 4]]), "vector 2 must begin with a word"),
        (binary([b"a", b"b" * 5000], [[1, 2], [3, 4]]), "vector 2 must begin with a word of at most 4,096 bytes"),
        ("", "must have word vectors in the format word2vec, word2vec_binary, glove, got ''"),
        ("\n\n", "must have word vectors in the format"),
        ("a b c\n", "must have word vectors in the format word2vec, word2vec_binary, glove, got 'a b c'"),
        (b"\xba\x16\x4f\x2f\x0c\x00", "got a model of fastText (.bin); write its vectors as text (.vec)"),
        (b"PK\x03\x04", "got a zip archive; unpack it"),
        (pickle.dumps([1]), "got a pickle, which can execute code"),
        (gzip.compress(b"2 2\na 1 2\nb 3 4\n", mtime=0)[:-9], "got a damaged gzip file: the gzip file is truncated"),
        (b"a " + b"1" * 2**22, "lines of"),
    ],
)
def test_damaged_files(content, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read(tmp_path, content)
    assert len(str(error.value)) <= 310 and "\n" not in str(error.value)


@pytest.mark.parametrize("format", ["word2vec", "word2vec_binary"])
def test_missing_header(format, tmp_path):
    for content in ("a 1 2\nb 3 4\n", "3\n", b"\x00" * 100):
        with pytest.raises(ValueError, match="must begin with the numbers of words and dimensions, got"):
            read(tmp_path, content, format)


def test_headers_do_not_allocate(tmp_path):
    tracemalloc.start()
    for content in ("9999999999999 65536\na 1\n", b"9999999999999 65536\na " + b"\x00" * 100):
        with pytest.raises(ValueError):
            read(tmp_path, content)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


def test_memory_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxnets.ops.host.memory.memory_limit", lambda: 2**20)
    bomb = gzip.compress(b"\n".join(b"w%d 0" % index for index in range(50_000)))
    with pytest.raises(ValueError, match="must fit into memory"):
        read(tmp_path, bomb)
    assert len(read(tmp_path, bomb, limit=1000).words) == 1000


def test_files_that_are_not_regular(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with time_limit(5), pytest.raises(ValueError, match="must be a regular file, got a named pipe"):
        weights.read_word_vectors(tmp_path / "pipe")
    with pytest.raises(ValueError, match="cannot read .*: No such file"):
        weights.read_word_vectors(tmp_path / "missing")


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_dtypes_are_converted(dtype):
    found = weights.WordVectors(["a"], np.ones((1, 2), dtype))
    assert found.words == ("a",) and found.vectors.dtype == np.float32


@pytest.mark.parametrize(
    "words, vectors, message",
    [
        (("a", "a"), VECTORS[:2], "`words` must be distinct, got 'a' twice"),
        (("a",), VECTORS[:2], "`vectors` must be a floating point array of shape (1, D), got float32 of shape (2, 5)"),
        (("a",), np.ones((1, 2), int), "`vectors` must be a floating point array of shape (1, D), got int64"),
        ("ab", VECTORS[:2], "`words` must be strings, got 'ab'"),
        ((1, 2), VECTORS[:2], "`words` must be strings"),
    ],
)
def test_wrong_vectors(words, vectors, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        weights.WordVectors(words, vectors)


@pytest.mark.parametrize("word", ["", "New York", "a\n", "a\t", "\udc80"])
def test_words_that_cannot_be_written(word, tmp_path):
    with pytest.raises(ValueError, match="words must be valid Unicode without white space and not be empty, got"):
        weights.write_word_vectors(tmp_path / "x", weights.WordVectors((word,), VECTORS[:1]))
    assert not os.listdir(tmp_path)


def test_unusual_words_survive(tmp_path):
    found = weights.WordVectors(("a\xa0b", "\x85", "\u200b", "日本", "-1", "</s>"), VECTORS[:6])
    for format in FILES:
        weights.write_word_vectors(tmp_path / "x", found, format)
        again = weights.read_word_vectors(tmp_path / "x")
        assert again.words == found.words
        np.testing.assert_array_equal(again.vectors, found.vectors)
    with pytest.raises(ValueError, match="must have at least one word and one dimension"):
        weights.write_word_vectors(tmp_path / "x", weights.WordVectors((), VECTORS[:0]))
    with pytest.raises(ValueError, match="`format` must be one of word2vec, word2vec_binary, glove, got 'auto'"):
        weights.write_word_vectors(tmp_path / "x", found, "auto")
