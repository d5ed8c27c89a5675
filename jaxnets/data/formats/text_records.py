"""Texts with labels in files: CSV, TSV, JSON lines, or plain text with one text per line."""

import contextlib
import csv
import difflib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jaxnets.data.checks import path_of
from jaxnets.data.formats.csv_records import (
    MAX_RECORD,
    blocks,
    delimiter_of,
    header_of,
    read_csv_text,
    records,
)
from jaxnets.data.labels import MAX_LABEL_LENGTH
from jaxnets.ops.host.printable import printable, valid_unicode

MEMORY = 4  # bytes per byte of text: two copies, and the texts
MAX_TEXTS = 2**23  # every text needs about 200 bytes more than its characters
KINDS = ("csv", "tsv", "jsonl", "ndjson", "txt")

_LINE_END = re.compile("\r\n|\n|\r")  # not splitlines: JSON strings and texts may contain U+2028


class Records(NamedTuple):
    """Texts of a file.

    Attributes:
        path: The path, escaped for messages.
        texts: N texts.
        labels: N labels; None if they were not requested.
        lines: The lines at which the texts begin.
        label: Name of the column of labels.
    """

    path: str
    texts: list[str]
    labels: list[str] | None
    lines: list[int]
    label: str

    def place(self, row: int) -> str:
        """Returns the position of a label for messages, such as ``"reviews.csv, line 7, column 'label'"``."""
        return _place(self.path, self.lines[row], self.label)


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """Admits CSV fields of the length of a record; the limit is that of the process, 131,072 characters."""
    limit = csv.field_size_limit(MAX_RECORD)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


@_long_fields()
def read_records(path: str, text: str, label: str | None) -> Records:
    """Reads the texts of a file, and their labels.

    Args:
        path: A file ``.csv`` or ``.tsv`` with a header, ``.jsonl`` or ``.ndjson`` with one object per line, or ``.txt``
            with one text per line and without labels; UTF-8, or UTF-16 or UTF-32 with a byte order mark, plain or
            gzipped (``.gz``).
        text: Name of the column of texts.
        label: Name of the column of labels; None if the file needs no labels.

    Raises:
        ValueError: The file cannot be read, has another format, lacks a column or has no rows, a text is missing or not
            a string, or a label is empty. The message names the line and the column.
    """
    shown, kind = printable(path), _kind(path)
    content = read_csv_text(path, MEMORY)
    names = (text,) if label is None else (text, label)
    if kind == "txt":
        if label is not None:
            raise ValueError(f"{shown} must be CSV, TSV or JSON lines, or a folder for each class, got plain text")
        rows: Iterator[tuple[int, list[Any]]] = ((line, [found]) for line, found in _lines(shown, content))
    else:
        read = _json_rows if kind in ("jsonl", "ndjson") else _csv_rows
        rows = read(shown, content, names)
    lines: list[int] = []
    texts: list[str] = []
    labels: list[str] = []
    for line, (found, *rest) in rows:
        if not isinstance(found, str):
            raise ValueError(f"{_place(shown, line, text)} must be a string, got {printable(json.dumps(found), 60)}")
        if len(texts) == MAX_TEXTS:
            raise ValueError(f"{shown} must have at most {MAX_TEXTS:,} texts, got more")
        lines.append(line)
        texts.append(found)
        labels += [_label(_place(shown, line, str(label)), value) for value in rest]
    if not texts:
        raise ValueError(f"{shown} must have texts, got none")
    return Records(shown, texts, None if label is None else labels, lines, label or "")


def is_records(path: str) -> bool:
    """Returns whether a path has the suffix of a file that ``read_records`` reads."""
    return _suffix(path) in KINDS


def _suffix(path: str) -> str:
    return path_of(path).name.lower().removesuffix(".gz").rpartition(".")[2]


def _kind(path: str) -> str:
    kind = _suffix(path)
    if kind not in KINDS:
        raise ValueError(
            f"{printable(path)} must be a file .csv, .tsv, .jsonl or .txt, or a folder of texts, got the suffix "
            f"{printable(repr(kind), 20)}"
        )
    return kind


def _csv_rows(shown: str, content: str, names: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    """Yields the line and the cells of the named columns of each row."""
    entries = records(shown, content, delimiter_of(content))
    line, cells = next(entries, (1, []))
    header = header_of(shown, line, cells)
    positions = [_position(f"{shown}, line {line}", header, name) for name in names]
    for lines, rows in blocks(shown, entries, len(header)):
        yield from ((line, [row[at] for at in positions]) for line, row in zip(lines, rows, strict=True))


def _json_rows(shown: str, content: str, names: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    """Yields the line and the values of the named keys of each object."""
    for line, text in _lines(shown, content):
        if not text.strip():
            continue
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{shown}, line {line:,} must be a JSON object, got {_problem(error)}") from error
        if not isinstance(found, dict):
            raise ValueError(f"{shown}, line {line:,} must be a JSON object, got {printable(text.strip(), 60)}")
        for name in names:
            if name not in found:
                _position(f"{shown}, line {line:,}", tuple(found), name)
        # A lone surrogate such as "\\ud800" is valid in JSON, but not in UTF-8.
        yield line, [valid_unicode(found[name]) if isinstance(found[name], str) else found[name] for name in names]


def _problem(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"invalid JSON: {error.msg} at character {error.pos + 1:,}"
    return "JSON that is nested too deeply" if isinstance(error, RecursionError) else "a number that is too long"


def _lines(shown: str, content: str) -> Iterator[tuple[int, str]]:
    """Yields the number and the text of each line; a last line without characters is none."""
    begin, number = 0, 1
    for end in _LINE_END.finditer(content):
        yield number, _bounded(shown, number, content[begin : end.start()])
        begin, number = end.end(), number + 1
    if begin < len(content):
        yield number, _bounded(shown, number, content[begin:])


def _bounded(shown: str, number: int, text: str) -> str:
    if len(text) > MAX_RECORD:
        raise ValueError(f"{shown}, line {number:,} must have at most {MAX_RECORD:,} characters, got {len(text):,}")
    return text


def _position(where: str, header: Sequence[str], name: str) -> int:
    """Returns the index of a column; a ``ValueError`` names the nearest one."""
    if name in header:
        return header.index(name)
    near = difflib.get_close_matches(name, header, 1, 0.5)
    shown = ", ".join(printable(each, 40) for each in header[:10]) or "none"
    hint = f"; did you mean {printable(near[0], 40)}?" if near else ""
    raise ValueError(f"{where} must have a column {printable(repr(name), 60)}, got {shown}{hint}")


def _label(where: str, value: Any) -> str:
    """Returns a label as text: that of a string without spaces around it, or of an integer or a bool."""
    if not isinstance(value, str | bool | int):
        raise ValueError(f"{where} must be a string or an integer, got {printable(json.dumps(value), 60)}")
    label = value.strip() if isinstance(value, str) else json.dumps(value)
    if not label:
        raise ValueError(f"{where} must not be empty, got {printable(repr(value), 60)}")
    if len(label) > MAX_LABEL_LENGTH:
        raise ValueError(f"{where} must have at most {MAX_LABEL_LENGTH:,} characters, got {len(label):,}")
    return label


def _place(shown: str, line: int, name: str) -> str:
    return f"{shown}, line {line:,}, column {printable(repr(name), 60)}"
