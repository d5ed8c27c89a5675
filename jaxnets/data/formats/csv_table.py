"""CSV files with a header: column types, numeric values, and categories."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxnets.data.formats.limited_text import read_text
from jaxnets.data.labels import MAX_LABEL_LENGTH
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import printable

MAX_BYTES = 2**31  # of uncompressed text
MAX_ROWS = 2**26
MAX_COLUMNS = 2**14
MAX_RECORD = 2**23  # characters of a row, including those of empty cells
MEMORY = 8  # bytes per byte of text: two copies, and a float64 for every second character
DELIMITERS = ",;\t"
BLOCK = 1024  # rows converted at once
MISSING = {"", "na", "n/a", "null", "none", "?", "-"}  # ignored for the type of a column

_LINE_END = re.compile("\r\n|\n|\r")
# Includes numbers that are rejected later: with decimal commas or thousands separators, or not finite.
_NUMBER = re.compile(r"[+-]?(\d[\d,]*(\.\d*)?|[.,]\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
PLAIN_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


class Table(NamedTuple):
    """A CSV file.

    Attributes:
        path: The path, escaped for messages.
        text: The content.
        delimiter: The character between cells.
        header: Names of the columns.
        rows: N, the number of rows below the header.
        numeric: Whether most cells of each column, without missing ones, are numbers.
    """

    path: str
    text: str
    delimiter: str
    header: tuple[str, ...]
    rows: int
    numeric: tuple[bool, ...]


class Texts(NamedTuple):
    """A categorical column.

    Attributes:
        codes: int32 ``[N]``, indices into ``known``.
        known: The sorted categories.
    """

    codes: np.ndarray
    known: tuple[str, ...]


class Cells(NamedTuple):
    """Columns of a table.

    Attributes:
        numbers: Numeric columns by name, float64 ``[N]``.
        texts: Categorical columns by name.
        lines: int64 ``[N]``, the line at which each row begins.
    """

    numbers: dict[str, np.ndarray]
    texts: dict[str, Texts]
    lines: np.ndarray


def read_table(path: str) -> Table:
    """Reads a CSV file with a header: UTF-8, or UTF-16 or UTF-32 with a byte order mark, plain or gzipped.

    The delimiter is a comma, a semicolon or a tab, whichever gives the header the most columns. Cells may be in double
    quotes. Lines end in LF, CRLF or CR. Empty lines, and spaces around cells, are ignored.

    Raises:
        ValueError: The file cannot be read, is not regular, exceeds a limit, has no header or no rows, has unbalanced
            quotes, or a row and the header differ in the number of cells.
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
            if plain_floats(block) is not None:
                numbers[column] += len(block)
                continue
            known = [cell.strip() for cell in block if cell.strip().lower() not in MISSING]
            found = sum(_NUMBER.fullmatch(cell) is not None for cell in known)
            numbers[column] += found
            others[column] += len(known) - found
    if not count:
        raise ValueError(f"{shown} must have rows below its header, got none")
    return Table(shown, text, delimiter, header, count, tuple((numbers >= others).tolist()))


def read_cells(table: Table, numbers: Sequence[str], texts: Mapping[str, int], *, missing: bool = False) -> Cells:
    """Parses columns of a table.

    Args:
        table: The table.
        numbers: Names of numeric columns.
        texts: The maximum number of categories of each categorical column.
        missing: Whether numeric cells may be missing (empty, or such as ``NA``); their value is NaN.

    Raises:
        ValueError: A cell is empty, too long, or not a finite number; or a column has too many categories.
    """
    positions = {name: i for i, name in enumerate(table.header)}
    values = {name: np.empty(table.rows) for name in numbers}
    codes = {name: np.empty(table.rows, np.int32) for name in texts}
    known: dict[str, dict[str, int]] = {name: {} for name in texts}
    lines = np.empty(table.rows, np.int64)
    records = _records(table.path, table.text, table.delimiter)
    next(records)
    at = 0
    for starts, rows in _blocks(table.path, records, len(table.header)):
        block = slice(at, at + len(rows))
        lines[block] = starts
        columns = list(zip(*rows, strict=True))
        for name in numbers:
            cells = columns[positions[name]]
            found = plain_floats(cells)
            right = found is not None and np.isfinite(found).all()
            values[name][block] = found if right else _one_by_one(table.path, name, starts, cells, missing)
        for name, most in texts.items():
            indices = known[name]
            codes[name][block] = [indices.setdefault(cell.strip(), len(indices)) for cell in columns[positions[name]]]
            _check_texts(table.path, name, starts, columns[positions[name]], indices, most)
        at += len(rows)
    return Cells(values, {name: _sorted(codes[name], known[name]) for name in texts}, lines)


def place(table: Table, cells: Cells, row: int, name: str) -> str:
    """Returns the position of a cell for messages, such as ``"a.csv, line 7, column 'age'"``."""
    return cell_place(table.path, int(cells.lines[row]), name)


def cell_place(shown: str, line: int, name: str) -> str:
    """Returns the position of a cell for messages, for a line of the file."""
    return f"{shown}, line {line:,}, column {printable(repr(name), 60)}"


def _sorted(codes: np.ndarray, known: Mapping[str, int]) -> Texts:
    texts = sorted(known)
    rank = np.empty(len(texts), np.int32)
    rank[[known[text] for text in texts]] = np.arange(len(texts), dtype=np.int32)
    return Texts(rank[codes], tuple(texts))


def _one_by_one(shown: str, name: str, lines: Sequence[int], cells: Sequence[str], missing: bool) -> list[float]:
    """Converts cells to numbers; a ``ValueError`` gives the position of the first invalid one."""
    is_missing = [missing and cell.strip().lower() in MISSING | {"nan"} for cell in cells]
    for line, cell in ((line, cell) for line, cell, gap in zip(lines, cells, is_missing, strict=True) if not gap):
        if not PLAIN_NUMBER.fullmatch(cell.strip()):
            hint = "; the decimal separator must be a point" if re.fullmatch(r"[+-]?\d*,\d+", cell.strip()) else ""
            raise ValueError(f"{cell_place(shown, line, name)} must be a number, got {printable(repr(cell), 60)}{hint}")
        if not np.isfinite(float(cell)):
            raise ValueError(f"{cell_place(shown, line, name)} must be finite in float64, got {printable(cell, 60)}")
    return [np.nan if gap else float(cell) for cell, gap in zip(cells, is_missing, strict=True)]


def _check_texts(
    shown: str, name: str, lines: Sequence[int], cells: Sequence[str], known: Mapping[str, int], most: int
) -> None:
    if len(known) > most:
        raise ValueError(
            f"{shown}: column {printable(repr(name), 60)} must have numbers or at most {most:,} categories, got more"
        )
    if "" in known:
        line = next(line for line, cell in zip(lines, cells, strict=True) if not cell.strip())
        raise ValueError(f"{cell_place(shown, line, name)} must not be empty, got ''")
    for line, cell in zip(lines, cells, strict=True):
        if len(cell) > MAX_LABEL_LENGTH:
            raise ValueError(
                f"{cell_place(shown, line, name)} must have at most {MAX_LABEL_LENGTH:,} characters, got {len(cell):,}"
            )


def plain_floats(cells: Sequence[str]) -> np.ndarray | None:
    """Converts cells to float64; None if one is not a plain number."""
    try:
        values = np.array(list(map(float, cells)))
    except ValueError:
        return None
    joined = "".join(cells)  # Python also accepts 1_000 and digits of other scripts
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
        return len(next(_records("", text, delimiter), (1, []))[1])
    except ValueError:
        return 0


def _records(shown: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
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


def _blocks(
    shown: str, records: Iterator[tuple[int, list[str]]], width: int
) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yields blocks of rows with their line numbers."""
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
