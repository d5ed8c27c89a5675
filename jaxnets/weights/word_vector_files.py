"""Parsers of word vector files, block by block and with limits, because a file may be damaged or hostile."""

import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnets.ops.host.compressed import append_blocks, read_blocks
from jaxnets.ops.host.files import open_regular
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import MAX_MESSAGE_LENGTH, printable

FORMATS = ("word2vec", "word2vec_binary", "glove")
MAX_DIMENSIONS = 2**16
MAX_LINE = 2**21  # bytes of a line: 32 per dimension
MAX_WORD = 2**12  # bytes of a word in a binary file
MAX_BROKEN = 0.1  # fraction of words that are not UTF-8
BYTES_PER_WORD = 150  # of a string, its entry in a dict and its place in a tuple
HEAD = 2**16  # bytes that are inspected to recognize the format
LINES_FOR_DIMENSIONS = 100
CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r"))

FOREIGN = {
    b"\xba\x16\x4f\x2f": "a model of fastText (.bin); write its vectors as text (.vec)",
    b"PK": "a zip archive; unpack it",
    b"\x80": "a pickle, which can execute code when it is loaded; write the vectors with save_word2vec_format",
    b"\x93NUMPY": "a NumPy file",
}


class Rows(NamedTuple):
    """Consecutive rows of a file.

    Attributes:
        words: Encoded words.
        vectors: float32 ``[rows, D]``.
        place: A function from the index of a row to its place for messages.
    """

    words: list[bytes]
    vectors: np.ndarray
    place: Callable[[int], str]


def read_file(path: Path, format: str, limit: int | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the words and vectors of a file; arguments and errors as in ``read_word_vectors``."""
    try:
        with open_regular(path) as file:
            return _read(printable(path), read_blocks(file), format, limit)
    except OSError as error:
        raise ValueError(f"cannot read {printable(path)}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise ValueError(f"{printable(path)} must be plain or gzipped, got a damaged gzip file: {error}") from error
    except ValueError as error:
        raise ValueError(printable(error, MAX_MESSAGE_LENGTH - 1)) from error
    except MemoryError as error:
        raise ValueError(f"{printable(path)} must fit into memory") from error


def _read(source: str, blocks: Iterator[bytes], format: str, limit: int | None) -> tuple[tuple[str, ...], np.ndarray]:
    content = bytearray()
    append_blocks(content, blocks, HEAD)
    head = bytes(content)
    header = None if format == "glove" else _header(head)
    if header is None and format in ("auto", "glove"):
        dimensions = _dimensions(source, head)
        rows = _text_rows(source, itertools.chain([head], blocks), dimensions, 1)
        return _collect(source, rows, dimensions, None, limit)
    if header is None:
        raise ValueError(f"{source} must begin with the numbers of words and dimensions, got {_shown(head)}")
    count, dimensions, start = header
    if not (count > 0 and 0 < dimensions <= MAX_DIMENSIONS):
        raise ValueError(
            f"the header of {source} must have at least 1 word and from 1 to {MAX_DIMENSIONS:,} dimensions, "
            f"got {count:,} and {dimensions:,}"
        )
    blocks = itertools.chain([head[start:]], blocks)
    if format == "word2vec_binary" or (format == "auto" and _is_binary(head[start:], dimensions)):
        rows = _binary_rows(source, blocks, dimensions, count)
    else:
        rows = _text_rows(source, blocks, dimensions, 2)
    return _collect(source, rows, dimensions, count, limit)


def _collect(
    source: str, rows: Iterator[Rows], dimensions: int, count: int | None, limit: int | None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Joins rows, without repeated words and beyond the limit, and checks them and their number."""
    ids: dict[str, None] = {}
    parts: list[np.ndarray] = []
    total = broken = 0
    for part in rows:
        finite = np.isfinite(part.vectors).all(axis=1)
        if not finite.all():
            raise ValueError(f"{source}, {part.place(int(np.argmin(finite)))} must have finite numbers")
        new = []
        for index, encoded in enumerate(part.words):
            word = encoded.decode("utf-8", "replace")
            broken += "\ufffd" in word and "\ufffd".encode() not in encoded
            if word not in ids:
                ids[word] = None
                new.append(index)
            if len(ids) == limit:
                break
        parts.append(part.vectors if len(new) == len(part.vectors) else part.vectors[new])
        total += len(part.words)
        check_memory(source, len(ids) * (4 * dimensions + BYTES_PER_WORD))
        if len(ids) == limit:
            break
        if count is not None and total > count:
            raise ValueError(f"{source} must have as many words as its header, {count:,}, got more")
    if not ids:
        raise ValueError(f"{source} must have at least one word, got none")
    if count is not None and total < count and len(ids) != limit:
        raise ValueError(f"{source} must have as many words as its header, {count:,}, got {total:,}")
    if broken > MAX_BROKEN * len(ids):
        raise ValueError(f"the words of {source} must be in UTF-8, got {broken:,} of {len(ids):,} that are not")
    return tuple(ids), _joined(parts, len(ids), dimensions)


def _joined(parts: list[np.ndarray], count: int, dimensions: int) -> np.ndarray:
    """Concatenates arrays, and releases each of them after its copy, so that memory does not double."""
    joined, start = np.empty((count, dimensions), np.float32), 0
    parts.reverse()
    while parts:
        part = parts.pop()
        joined[start : start + len(part)] = part
        start += len(part)
    return joined


def _text_rows(source: str, blocks: Iterator[bytes], dimensions: int, first: int) -> Iterator[Rows]:
    """Yields the rows of lines that consist of a word and numbers."""
    for lines in _lines(source, blocks):
        numbers = [number for number, line in enumerate(lines, first) if line]
        first += len(lines)
        if numbers:
            filled = [line for line in lines if line]
            place = lambda index, numbers=numbers: f"line {numbers[index]}"
            parsed = _parse_fast(filled, dimensions) or _parse_slowly(source, filled, dimensions, place)
            yield Rows(*parsed, place)


def _lines(source: str, blocks: Iterator[bytes]) -> Iterator[list[bytes]]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > MAX_LINE:
            raise ValueError(f"lines of {source} must have at most {MAX_LINE:,} bytes, got a longer one")
        yield [line.rstrip(b" \r\t") for line in lines]
    yield [rest.rstrip(b" \r\t")]


def _parse_fast(lines: Sequence[bytes], dimensions: int) -> tuple[list[bytes], np.ndarray] | None:
    """Parses lines of single spaces between a word and numbers; None if a line is different."""
    parts = [line.partition(b" ") for line in lines]
    numbers = b" ".join([rest for _, _, rest in parts])
    if any(rest.count(b" ") != dimensions - 1 for _, _, rest in parts) or b"  " in numbers:
        return None
    words = [word for word, _, _ in parts]
    if not all(words):
        return None
    try:
        values = np.fromstring(numbers, np.float32, sep=" ")
    except (ValueError, DeprecationWarning):
        return None
    return (words, values.reshape(-1, dimensions)) if len(values) == len(lines) * dimensions else None


def _parse_slowly(
    source: str, lines: Sequence[bytes], dimensions: int, place: Callable[[int], str]
) -> tuple[list[bytes], np.ndarray]:
    """Parses lines with words that contain spaces, or raises an error for the first malformed line."""
    words, vectors = [], np.empty((len(lines), dimensions), np.float32)
    for index, line in enumerate(lines):
        word, *fields = line.rsplit(None, dimensions)
        numbers = [_number(field) for field in fields]
        if len(fields) < dimensions or line.startswith(b" ") or None in numbers or _ends_in_number(word):
            raise ValueError(
                f"{source}, {place(index)} must have a word and {dimensions:,} numbers, got {_shown(line)}"
            )
        words.append(word)
        vectors[index] = numbers
    return words, vectors


def _ends_in_number(word: bytes) -> bool:
    """Returns True for several fields of which the last is a number: too many numbers, and not a word with spaces."""
    fields = word.split()
    return len(fields) > 1 and _number(fields[-1]) is not None


def _binary_rows(source: str, blocks: Iterator[bytes], dimensions: int, count: int) -> Iterator[Rows]:
    """Yields rows of a word, a space and little-endian float32 numbers; some tools add a line end."""
    size, content, total = 4 * dimensions, b"", 0
    for block in blocks:
        content += block
        start = 0
        words: list[bytes] = []
        vectors: list[bytes] = []
        while total + len(words) < count:
            space = content.find(b" ", start, start + MAX_WORD + 2)
            if space < 0 and len(content) - start > MAX_WORD + 1:
                raise ValueError(
                    f"{source}, vector {total + len(words) + 1:,} must begin with a word of at most {MAX_WORD:,} bytes"
                )
            if space < 0 or space + 1 + size > len(content):
                break
            word = content[start:space].lstrip(b"\r\n")
            if not word:
                raise ValueError(f"{source}, vector {total + len(words) + 1:,} must begin with a word")
            words.append(word)
            vectors.append(content[space + 1 : space + 1 + size])
            start = space + 1 + size
        content = content[start:]
        if words:
            first, total = total, total + len(words)
            place = lambda index, first=first: f"vector {first + index + 1:,}"
            yield Rows(words, np.frombuffer(b"".join(vectors), "<f4").reshape(-1, dimensions), place)
        if total == count and content.strip(b"\r\n"):
            raise ValueError(f"{source} must have as many words as its header, {count:,}, got more")


def _header(head: bytes) -> tuple[int, int, int] | None:
    """Returns the numbers of words and dimensions in the first line, and its size; None if it is not a header."""
    line, end, _ = head.partition(b"\n")
    fields = line.split()
    if not end or len(fields) != 2 or not all(field.isdigit() and len(field) < 20 for field in fields):
        return None
    return int(fields[0]), int(fields[1]), len(line) + 1


def _is_binary(head: bytes, dimensions: int) -> bool:
    line = head.partition(b"\n")[0]
    fields = line.rsplit(None, dimensions)
    if len(fields) == dimensions + 1 and None not in map(_number, fields[1:]):
        return False
    try:
        line[: -4 or None].decode()
    except UnicodeDecodeError:
        return True
    return len(head.translate(None, CONTROLS)) < len(head)


def _dimensions(source: str, head: bytes) -> int:
    """Returns the number of dimensions of text without a header: the fewest numbers at the end of one of its lines."""
    kind = next((kind for start, kind in FOREIGN.items() if head.startswith(start)), None)
    lines = [line.split() for line in head.split(b"\n")[:LINES_FOR_DIMENSIONS]]
    if len(lines) > 1 and len(head) >= HEAD:
        lines.pop()  # it may be incomplete
    counts = [_trailing_numbers(line) for line in lines if line]
    if kind is not None or not counts or not min(counts):
        raise ValueError(
            f"{source} must have word vectors in the format {', '.join(FORMATS)}, got {kind or _shown(head)}"
        )
    if min(counts) > MAX_DIMENSIONS:
        raise ValueError(f"{source} must have at most {MAX_DIMENSIONS:,} dimensions, got {min(counts):,}")
    return min(counts)


def _trailing_numbers(fields: list[bytes]) -> int:
    """Returns how many fields after the first, the word, are numbers, counted from the end."""
    numbers = itertools.takewhile(lambda field: _number(field) is not None, reversed(fields[1:]))
    return sum(1 for _ in numbers)


def _number(field: bytes) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None


def _shown(content: bytes) -> str:
    return printable(repr(content.partition(b"\n")[0][:60].decode("utf-8", "replace")), 60)
