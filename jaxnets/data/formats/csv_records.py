"""Records of CSV and TSV files: cells as text, with the lines at which they begin."""

import csv
import re
from collections.abc import Iterator, Sequence

from jaxnets.data.formats.limited_text import read_text
from jaxnets.data.labels import MAX_LABEL_LENGTH
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import printable

MAX_BYTES = 2**31  # of uncompressed text
MAX_ROWS = 2**26
MAX_COLUMNS = 2**14
MAX_RECORD = 2**23  # characters of a row, including those of empty cells
DELIMITERS = ",;\t"
BLOCK = 1024  # rows converted at once

_LINE_END = re.compile("\r\n|\n|\r")
# Includes numbers that are rejected later: with decimal commas or thousands separators, or not finite.
NUMBER = re.compile(r"[+-]?(\d[\d,]*(\.\d*)?|[.,]\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)


def read_csv_text(path: str, memory: int) -> str:
    """Reads the text of a file without NUL characters: UTF-8, UTF-16 or UTF-32 with a mark, plain or gzipped.

    Args:
        path: The file.
        memory: Number of bytes of memory that a byte of text needs.

    Raises:
        ValueError: The file cannot be read, is not regular, is not text, or does not fit into memory.
    """
    shown = printable(path)
    text = read_text(path, MAX_BYTES)
    check_memory(shown, memory * len(text))
    if "\0" in text:
        line = len(_LINE_END.findall(text[: text.index("\0")])) + 1
        raise ValueError(f"{shown} must be text, got a NUL character in line {line}")
    return text


def delimiter_of(text: str) -> str:
    """Returns the comma, semicolon or tab, whichever gives the first record the most cells."""
    return max(DELIMITERS, key=lambda each: _width(text, each))


def header_of(shown: str, line: int, cells: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the columns, from the first record.

    Raises:
        ValueError: There are no names, too many or too long ones, or a name is repeated.
    """
    header = tuple(cell.strip() for cell in cells)
    if not any(header):
        raise ValueError(f"{shown} must begin with a header of column names, got nothing")
    if len(header) > MAX_COLUMNS:
        raise ValueError(f"{shown} must have at most {MAX_COLUMNS:,} columns, got {len(header):,}")
    if all(NUMBER.fullmatch(name) for name in header):
        raise ValueError(f"{shown} must begin with a header of column names, got numbers")
    seen: set[str] = set()
    for number, name in enumerate(header, 1):
        if not name or name in seen or len(name) > MAX_LABEL_LENGTH:
            problem = f"{printable(repr(name), 60)} twice" if name in seen else printable(repr(name), 60)
            raise ValueError(
                f"{shown}, line {line}: column names must be different and have 1 to {MAX_LABEL_LENGTH:,} characters, "
                f"got {problem} in column {number}"
            )
        seen.add(name)
    return header


def _width(text: str, delimiter: str) -> int:
    """Returns the number of cells of the first record."""
    try:
        return len(next(records("", text, delimiter), (1, []))[1])
    except ValueError:
        return 0


def records(shown: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the line and the cells of each record. Empty lines are skipped, or rejected in a table of one column."""
    lines, width, blank = _Lines(shown, text), 0, 0  # cells of the header; the first empty line below it
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line, lines.taken = reader.line_num + 1, 0
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ValueError(
                f"{shown}, line {line:,} must be CSV with balanced double quotes, got an error: {printable(error, 100)}"
            ) from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells) or len(cells) > 1:
            if blank and width == 1:
                raise ValueError(f"{shown}, line {blank:,} must have a value, got an empty line")
            width = width or len(cells)
            yield line, cells
        elif width:
            blank = blank or line


def blocks(
    shown: str, records: Iterator[tuple[int, list[str]]], width: int
) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yields blocks of rows with their line numbers.

    Raises:
        ValueError: A row has another number of cells than the header, or there are too many rows.
    """
    lines: list[int] = []
    rows: list[list[str]] = []
    for count, (line, cells) in enumerate(records, 1):
        if len(cells) != width:
            raise ValueError(f"{shown}, line {line:,} must have {width:,} cells like the header, got {len(cells):,}")
        if count > MAX_ROWS:
            raise ValueError(f"{shown} must have at most {MAX_ROWS:,} rows, got more")
        lines.append(line)
        rows.append(cells)
        if len(rows) == BLOCK:
            yield lines, rows
            lines, rows = [], []
    if rows:
        yield lines, rows


class _Lines:
    """An iterator over the lines of a text, with their ends. A list of lines could need fifty times the memory.

    Attributes:
        taken: The number of characters since the last reset to 0; at most ``MAX_RECORD``.
    """

    def __init__(self, shown: str, text: str):
        self._shown, self._text, self._ends, self._begin = shown, text, _LINE_END.finditer(text), 0
        self.taken = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        found = next(self._ends, None)
        begin, self._begin = self._begin, len(self._text) if found is None else found.end()
        self.taken += self._begin - begin
        if begin == self._begin:
            raise StopIteration
        if self.taken > MAX_RECORD:
            raise ValueError(f"{self._shown} must have rows of at most {MAX_RECORD:,} characters, got more")
        return self._text[begin : self._begin]
