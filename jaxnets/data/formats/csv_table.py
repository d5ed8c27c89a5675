"""CSV files with a header: column types, numeric values, and categories."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxnets.data.formats.csv_records import NUMBER, blocks, delimiter_of, header_of, read_csv_text, records
from jaxnets.data.labels import MAX_LABEL_LENGTH
from jaxnets.ops.host.printable import printable

MEMORY = 8  # bytes per byte of text: two copies, and a float64 for every second character
MISSING = {"", "na", "n/a", "null", "none", "?", "-"}  # ignored for the type of a column

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
    text = read_csv_text(path, MEMORY)
    delimiter = delimiter_of(text)
    entries = records(shown, text, delimiter)
    line, cells = next(entries, (1, []))
    header = header_of(shown, line, cells)
    numbers, others = np.zeros((2, len(header)), np.int64)
    count = 0
    for _, rows in blocks(shown, entries, len(header)):
        count += len(rows)
        for column, block in enumerate(zip(*rows, strict=True)):
            if plain_floats(block) is not None:
                numbers[column] += len(block)
                continue
            known = [cell.strip() for cell in block if cell.strip().lower() not in MISSING]
            found = sum(NUMBER.fullmatch(cell) is not None for cell in known)
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
    entries = records(table.path, table.text, table.delimiter)
    next(entries)
    at = 0
    for starts, rows in blocks(table.path, entries, len(table.header)):
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
