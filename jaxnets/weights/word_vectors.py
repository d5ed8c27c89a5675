"""Word vectors in the files of word2vec, GloVe and fastText."""

import dataclasses
import functools
import gzip
import os
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets.ops.array_types import Float
from jaxnets.ops.checks import check_choice, check_integer, describe_value
from jaxnets.ops.host.printable import printable
from jaxnets.weights.word_vector_files import FORMATS, read_file

ROWS_PER_WRITE = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class WordVectors:
    """Words and their vectors.

    Attributes:
        words: V distinct words, usually the most frequent first.
        vectors: Their vectors, float32 ``[V, D]``. Another floating point array is converted.

    Raises:
        ValueError: The words are not distinct strings, or the vectors are not a floating point array of V rows.
    """

    words: tuple[str, ...]
    vectors: Float[np.ndarray, "V D"]

    def __post_init__(self) -> None:
        words, vectors = tuple(self.words), np.asarray(self.vectors)
        if not all(isinstance(word, str) for word in words) or isinstance(self.words, str):
            raise ValueError(f"`words` must be strings, got {describe_value(self.words)}")
        # NumPy does not know bfloat16 as a floating point type.
        if vectors.ndim != 2 or len(vectors) != len(words) or vectors.dtype.kind not in "fV":
            raise ValueError(
                f"`vectors` must be a floating point array of shape ({len(words)}, D), got {describe_value(vectors)}"
            )
        object.__setattr__(self, "words", words)
        object.__setattr__(self, "vectors", np.ascontiguousarray(vectors, np.float32))
        if len(self.ids) < len(words):
            repeated = next(word for index, word in enumerate(words) if self.ids[word] != index)
            raise ValueError(f"`words` must be distinct, got {printable(repr(repeated), 60)} twice")

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        """The rows of the words."""
        return {word: index for index, word in enumerate(self.words)}


def read_word_vectors(path: str | PathLike[str], format: str = "auto", limit: int | None = None) -> WordVectors:
    """Reads a file of word vectors, plain or gzipped.

    The formats are ``"word2vec"`` (text with a header: the numbers of words and dimensions; also the ``.vec`` files of
    fastText), ``"word2vec_binary"`` and ``"glove"`` (text without a header). In text, a word may contain spaces. Of
    equal words the first one is kept. Bytes of words that are not UTF-8 become U+FFFD; old tools cut long words within
    a character. Headers do not cause an allocation, and memory stays below about twice that of the result.

    Args:
        path: The file.
        format: One of the formats, or ``"auto"`` to recognize it by the content.
        limit: Number of words to read from the start, usually the most frequent ones; None for all.

    Raises:
        ValueError: The file cannot be read, is not regular, is truncated, or has another number of words than its
            header; a line or number is malformed or not finite (the message names it); a tenth of the words is not
            UTF-8; or the vectors do not fit into memory. The model files of fastText (``.bin``) are not read.
    """
    check_choice("format", format, ("auto", *FORMATS))
    if limit is not None:
        check_integer("limit", limit)
    words, vectors = read_file(Path(path), format, limit)
    return WordVectors(words, vectors)


def write_word_vectors(path: str | PathLike[str], vectors: WordVectors, format: str = "word2vec") -> None:
    """Writes word vectors, completely or not at all.

    Numbers in text have the fewest digits that give the same float32 number.

    Args:
        path: The file; it is gzipped if its name ends in ``.gz``.
        vectors: The words and vectors.
        format: ``"word2vec"``, ``"word2vec_binary"`` or ``"glove"``, as in ``read_word_vectors``.

    Raises:
        ValueError: The format is unknown, there are no vectors, or a word is empty, not valid Unicode, or contains
            white space, which separates words and numbers.
    """
    check_choice("format", format, FORMATS)
    if not vectors.vectors.size:
        raise ValueError(f"`vectors` must have at least one word and one dimension, got {vectors.vectors.shape}")
    for word in vectors.words:
        if word.split() != [word] or not word.isprintable():
            _check_word(word)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # left by a killed process
    try:
        with open(temporary, "xb") as file:
            if path.suffix == ".gz":
                with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                    _write(packed, vectors, format)
            else:
                _write(file, vectors, format)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def to_text(vectors: WordVectors) -> str:
    """Returns the text of a file in the format of word2vec, without the last line break."""
    return "\n".join(("{} {}".format(*vectors.vectors.shape), *_text_rows(vectors.words, vectors.vectors)))


def _check_word(word: str) -> None:
    if not word or any(space in word for space in " \n\r\t\v\f") or any("\ud800" <= c <= "\udfff" for c in word):
        shown = printable(repr(word), 60)
        raise ValueError(f"words must be valid Unicode without white space and not be empty, got {shown}")


def _write(file: Any, vectors: WordVectors, format: str) -> None:
    if format != "glove":
        file.write("{} {}\n".format(*vectors.vectors.shape).encode())
    rows = _binary_rows if format == "word2vec_binary" else _text_lines
    for start in range(0, len(vectors.words), ROWS_PER_WRITE):
        part = slice(start, start + ROWS_PER_WRITE)
        file.writelines(rows(vectors.words[part], vectors.vectors[part]))


def _binary_rows(words: tuple[str, ...], vectors: np.ndarray) -> Iterator[bytes]:
    for word, vector in zip(words, vectors.astype("<f4"), strict=True):
        yield word.encode() + b" " + vector.tobytes()


def _text_lines(words: tuple[str, ...], vectors: np.ndarray) -> Iterator[bytes]:
    for row in _text_rows(words, vectors):
        yield f"{row}\n".encode()


def _text_rows(words: tuple[str, ...], vectors: np.ndarray) -> Iterator[str]:
    for word, numbers in zip(words, vectors.astype(str).tolist(), strict=True):
        yield f"{word} {' '.join(numbers)}"
