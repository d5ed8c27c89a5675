"""CSV files with a header: which columns are numbers, their values, and categories of the others."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxnets.data.formats.limited_text import read_text
from jaxnets.data.labels import LONGEST_LABEL
from jaxnets.ops.memory import check_memory
from jaxnets.ops.printable import printable

MAX_BYTES = 2**31  # of text, unpacked
MAX_ROWS = 2**26
MAX_COLUMNS = 2**14
MAX_RECORD = 2**23  # characters of a row, which may be of empty cells
MEMORY = 8  # bytes for each of the text: itself twice, and a float64 for every second character
DELIMITERS = ",;\t"
BLOCK = 1024  # rows that are converted at a time
MISSING = {"", "na", "n/a", "null", "none", "?", "-"}  # do not tell what a column is of

_LINE_END = re.compile("\r\n|\n|\r")
# What is meant as a number, also where it is none that is read: with decimal commas or thousands apart, not finite.
_NUMBER = re.compile(r"[+-]?(\d[\d,]*(\.\d*)?|[.,]\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


class Table(NamedTuple):
    """A CSV file.

    Attributes:
        path: As it is shown.
        text: What it holds.
        delimiter: Between cells.
        header: Names of the columns.
        rows: N, those below the header.
        numeric: Whether most cells of a column that are not missing are meant as numbers.
    """

    path: str
    text: str
    delimiter: str
    header: tuple[str, ...]
    rows: int
    numeric: tuple[bool, ...]


class Texts(NamedTuple):
    """A column of texts.

    Attributes:
        codes: int32 ``[N]``, places in ``known``.
        known: The texts that occur, sorted.
    """

    codes: np.ndarray
    known: tuple[str, ...]


class Cells(NamedTuple):
    """Columns of a table.

    Attributes:
        numbers: float64 ``[N]``, by name.
        texts: By name.
        lines: int64 ``[N]``, the line on which each row begins.
    """

    numbers: dict[str, np.ndarray]
    texts: dict[str, Texts]
    lines: np.ndarray


def read_table(path: str) -> Table:
    """A CSV file with a header: UTF-8, or UTF-16 or UTF-32 with a byte order mark, plain or gzipped.

    Cells are apart by commas, semicolons or tabs, whichever gives the header most columns, and may be in double quotes.
    Lines end in LF, CRLF or CR. Empty lines are passed over, spaces around a cell too.

    Raises:
        ValueError: It cannot be read, is not a regular file, exceeds a limit, has no header or no rows, quotes are not
            balanced, or a row has another number of cells than the header (the line is named).
    """
    shown = printable(path)
    text = read_text(path, MAX_BYTES)
    check_memory(shown, MEMORY * len(text))
    if "\0" in text:
        line = len(_LINE_END.findall(text[: text.index("\0")])) + 1
        raise ValueError(f"{shown} must be text, got a NUL character in line {line}")
    delimiter = max(DELIMITERS, key=lambda each: _width(text, each))
    records = _records(shown, text, delimiter)
    line, cells = next(records, (1, []))
    header = _header(shown, line, cells)
    numbers, others = np.zeros((2, len(header)), np.int64)
    count = 0
    for _, rows in _blocks(shown, records, len(header)):
        count += len(rows)
        for column, block in enumerate(zip(*rows, strict=True)):
            if _floats(block) is not None:
                numbers[column] += len(block)
                continue
            known = [cell.strip() for cell in block if cell.strip().lower() not in MISSING]
            found = sum(_NUMBER.fullmatch(cell) is not None for cell in known)
            numbers[column] += found
            others[column] += len(known) - found
    if not count:
        raise ValueError(f"{shown} must have rows below its header, got none")
    return Table(shown, text, delimiter, header, count, tuple((numbers >= others).tolist()))


def read_cells(table: Table, numbers: Sequence[str], texts: Mapping[str, int]) -> Cells:
    """Some columns of a table.

    Args:
        table: As read.
        numbers: Names of the columns that are numbers.
        texts: Of those that are texts, how many different ones each may have.

    Raises:
        ValueError: A cell is empty, is not a finite number where it must be, or is too long; or a column has too many
            different texts. Line and column are named.
    """
    places = {name: i for i, name in enumerate(table.header)}
    values = {name: np.empty(table.rows) for name in numbers}
    codes = {name: np.empty(table.rows, np.int32) for name in texts}
    known: dict[str, dict[str, int]] = {name: {} for name in texts}
    lines = np.empty(table.rows, np.int64)
    records = _records(table.path, table.text, table.delimiter)
    next(records)
    at = 0
    for starts, rows in _blocks(table.path, records, len(table.header)):
        here = slice(at, at + len(rows))
        lines[here] = starts
        columns = list(zip(*rows, strict=True))
        for name in numbers:
            cells = columns[places[name]]
            found = _floats(cells)
            right = found is not None and np.isfinite(found).all()
            values[name][here] = found if right else _one_by_one(table.path, name, starts, cells)
        for name, most in texts.items():
            own = known[name]
            codes[name][here] = [own.setdefault(cell.strip(), len(own)) for cell in columns[places[name]]]
            _check_texts(table.path, name, starts, columns[places[name]], own, most)
        at += len(rows)
    return Cells(values, {name: _sorted(codes[name], known[name]) for name in texts}, lines)


def place(table: Table, cells: Cells, row: int, name: str) -> str:
    """A cell, for messages: ``"a.csv, line 7, column 'age'"``."""
    return _place(table.path, int(cells.lines[row]), name)


def _place(shown: str, line: int, name: str) -> str:
    return f"{shown}, line {line:,}, column {printable(repr(name), 60)}"


def _sorted(codes: np.ndarray, known: Mapping[str, int]) -> Texts:
    texts = sorted(known)
    rank = np.empty(len(texts), np.int32)
    rank[[known[text] for text in texts]] = np.arange(len(texts), dtype=np.int32)
    return Texts(rank[codes], tuple(texts))


def _one_by_one(shown: str, name: str, lines: Sequence[int], cells: Sequence[str]) -> list[float]:
    """Cells as numbers; a ``ValueError`` that names the first that is not a finite one."""
    for line, cell in zip(lines, cells, strict=True):
        if not _PLAIN.fullmatch(cell.strip()):
            hint = "; decimals must have a point" if re.fullmatch(r"[+-]?\d*,\d+", cell.strip()) else ""
            raise ValueError(f"{_place(shown, line, name)} must be a number, got {printable(repr(cell), 60)}{hint}")
        if not np.isfinite(float(cell)):
            raise ValueError(f"{_place(shown, line, name)} must be a number of float64, got {printable(cell, 60)}")
    return list(map(float, cells))


def _check_texts(
    shown: str, name: str, lines: Sequence[int], cells: Sequence[str], known: Mapping[str, int], most: int
) -> None:
    if len(known) > most:
        raise ValueError(
            f"{shown}: column {printable(repr(name), 60)} must be numbers or at most {most:,} different texts, got more"
        )
    if "" in known:
        line = next(line for line, cell in zip(lines, cells, strict=True) if not cell.strip())
        raise ValueError(f"{_place(shown, line, name)} must be a text, got ''")
    for line, cell in zip(lines, cells, strict=True):
        if len(cell) > LONGEST_LABEL:
            raise ValueError(
                f"{_place(shown, line, name)} must have at most {LONGEST_LABEL:,} characters, got {len(cell):,}"
            )


def _floats(cells: Sequence[str]) -> np.ndarray | None:
    """Cells as float64; None where one is not a number that is written plainly."""
    try:
        values = np.array(list(map(float, cells)))
    except ValueError:
        return None
    joined = "".join(cells)  # Python also reads 1_000, and the digits of other scripts
    return values if joined.isascii() and "_" not in joined else None


def _header(shown: str, line: int, cells: Sequence[str]) -> tuple[str, ...]:
    header = tuple(cell.strip() for cell in cells)
    if not any(header):
        raise ValueError(f"{shown} must begin with a header of column names, got nothing")
    if len(header) > MAX_COLUMNS:
        raise ValueError(f"{shown} must have at most {MAX_COLUMNS:,} columns, got {len(header):,}")
    if all(_NUMBER.fullmatch(name) for name in header):
        raise ValueError(f"{shown} must begin with a header of column names, got numbers")
    seen: set[str] = set()
    for number, name in enumerate(header, 1):
        if not name or name in seen or len(name) > LONGEST_LABEL:
            problem = f"{printable(repr(name), 60)} twice" if name in seen else printable(repr(name), 60)
            raise ValueError(
                f"{shown}, line {line}: names of columns must be different, of 1 to {LONGEST_LABEL:,} characters, got "
                f"{problem} as number {number}"
            )
        seen.add(name)
    return header


def _width(text: str, delimiter: str) -> int:
    """The number of cells of the first record."""
    try:
        return len(next(_records("", text, delimiter), (1, []))[1])
    except ValueError:
        return 0


def _records(shown: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The line on which each record begins, and its cells, without empty lines, which one column must not have."""
    lines, width, blank = _Lines(shown, text), 0, 0  # of the header; of the first empty line below it
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line, lines.taken = reader.line_num + 1, 0
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ValueError(
                f"{shown}, line {line:,} must be CSV with balanced double quotes, got: {printable(error, 100)}"
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


def _blocks(
    shown: str, records: Iterator[tuple[int, list[str]]], width: int
) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Rows, and the lines on which they begin, block by block."""
    lines: list[int] = []
    rows: list[list[str]] = []
    for count, (line, cells) in enumerate(records, 1):
        if len(cells) != width:
            raise ValueError(f"{shown}, line {line:,} must have {width:,} cells as the header has, got {len(cells):,}")
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
    """The lines of a text with their ends, one after the other: a list of them may take fifty times its memory.

    Attributes:
        taken: Characters since it was last set to 0; at most ``MAX_RECORD``.
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
