"""Files of tagged words: CoNLL, one word per line with its tags in columns, and CoNLL-U.

In both formats an empty line ends a sentence. CoNLL files have any number of columns, separated by tabs or by spaces.
CoNLL-U files (https://universaldependencies.org/format.html) have ten, separated by tabs.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from jaxnets.data.checks import one_line_errors
from jaxnets.data.formats.limited_text import lines, read_text
from jaxnets.ops.host.printable import printable

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
NO_TAG = "_"  # in CoNLL-U

# Limits on the unpacked text.
MAX_BYTES = 2**31
MAX_WORDS = 2**26
MAX_LINE = 2**20  # characters
MAX_WORD = 1000  # characters

_WORD_ID = re.compile(r"\d+")
_SKIPPED_ID = re.compile(r"\d+-\d+|\d+\.\d+")  # a word of several tokens, a node without a token


class Sentences(NamedTuple):
    """The words of sentences and their tags.

    Attributes:
        words: The words of each sentence.
        tags: The tags of each sentence; None for a word without a tag. Empty if tags are not read.
        lines: The line of the first word of each sentence, from 1.
    """

    words: list[list[str]]
    tags: list[list[str | None]]
    lines: list[int]


class _Format(NamedTuple):
    """The format of a file: whether it is CoNLL-U, the separator, the number of columns, and the ones to read."""

    is_conllu: bool
    has_tabs: bool
    num_columns: int
    word: int
    tag: int | None


@one_line_errors
def read_conll(path: str, column: str = "", tagged: bool = True) -> Sentences:
    """Reads the sentences of a CoNLL or CoNLL-U file.

    A file is CoNLL-U if its first word has ten columns, separated by tabs, and the first one is the number of the word.
    There, words of several tokens (3-4) and nodes without a token (5.1) are skipped, and ``_`` is not a tag. In a CoNLL
    file, the first column is the word. Lines ``-DOCSTART-`` end a sentence and are skipped, as are comments: lines
    before the first word of a sentence that begin with ``#`` and do not have the number of columns of the file.

    The limits are ``MAX_BYTES`` of text, ``MAX_WORDS`` words, ``MAX_LINE`` characters of a line and ``MAX_WORD`` of a
    word.

    Args:
        path: Text, plain or gzipped, in UTF-8, or in UTF-16 or UTF-32 with a byte order mark. Lines may end in LF, CRLF
            or CR.
        column: The column of the tags: its index from 0, or from the end if negative; for CoNLL-U also its name, such
            as ``upos`` or ``xpos``. Empty for the last column, or ``upos``.
        tagged: Whether to read tags. Otherwise the file may consist of words only.

    Raises:
        ValueError: The file cannot be read or exceeds a limit, has no words, a line has the wrong number of columns, or
            a word or tag is empty. The message names the line.
    """
    shown = printable(path)
    text = read_text(path, MAX_BYTES)
    form = _format(shown, text, column, tagged)
    found, known, count = Sentences([], [], []), dict[str, str](), 0  # a word is stored once
    is_open = False
    for number, columns in _rows(shown, text, form):
        if columns is None:
            is_open = False
            continue
        word = columns[form.word]
        if not 0 < len(word) <= MAX_WORD:
            raise ValueError(
                f"{shown}, line {number}: a word must have 1 to {MAX_WORD:,} characters, got {len(word):,}"
            )
        if not is_open:
            for values in found[:2] if tagged else found[:1]:
                values.append([])
            found.lines.append(number)
            is_open = True
        found.words[-1].append(known.setdefault(word, word))
        if form.tag is not None:
            tag = columns[form.tag]
            if not 0 < len(tag) <= MAX_WORD:
                raise ValueError(
                    f"{shown}, line {number}: a tag must have 1 to {MAX_WORD:,} characters, got {len(tag):,}"
                )
            is_missing = form.is_conllu and tag == NO_TAG
            found.tags[-1].append(None if is_missing else known.setdefault(tag, tag))
        count += 1
        if count > MAX_WORDS:
            raise ValueError(f"{shown} must have at most {MAX_WORDS:,} words, got more")
    return found


def _format(shown: str, text: str, column: str, tagged: bool) -> _Format:
    """Returns the format of a file, from the first line that is a word."""
    for number, line in enumerate(lines(text), 1):
        if not line.strip() or line.startswith(("#", "-DOCSTART-")):
            continue
        has_tabs = "\t" in line
        columns = _split(line, has_tabs)
        is_id = _WORD_ID.fullmatch(columns[0]) or _SKIPPED_ID.fullmatch(columns[0])
        is_conllu = has_tabs and len(columns) == len(CONLLU) and bool(is_id)
        tag = _column(f"{shown}, line {number}", column, len(columns), is_conllu) if tagged else None
        return _Format(is_conllu, has_tabs, len(columns), 1 if is_conllu else 0, tag)
    raise ValueError(f"{shown} must have at least one word, got none")


def _column(where: str, column: str, count: int, is_conllu: bool) -> int:
    """Returns the index of the column of the tags."""
    name = column or ("upos" if is_conllu else "-1")
    if is_conllu and name.lower() in CONLLU:
        return CONLLU.index(name.lower())
    named = f", or a name such as upos for CoNLL-U, got {column!r}"
    if not re.fullmatch(r"-?\d{1,6}", name):
        raise ValueError(f"`column` must be the index of a column{named}")
    index = int(name)
    if count < 2:
        raise ValueError(f"{where} must have a word and a tag, separated by a tab or by spaces, got 1 column")
    if not -count <= index < count:
        raise ValueError(f"{where} must have the column {index}, got {count} columns")
    return index % count


def _rows(shown: str, text: str, form: _Format) -> Iterator[tuple[int, list[str] | None]]:
    """Yields the line number and the columns of every word, and None at the end of a sentence."""
    begun = False
    for number, line in enumerate(lines(text), 1):
        if len(line) > MAX_LINE:
            raise ValueError(f"{shown}, line {number} must have at most {MAX_LINE:,} characters, got {len(line):,}")
        if not line.strip() or line.startswith("-DOCSTART-"):
            begun = False
            yield number, None
            continue
        if line.startswith("#") and form.is_conllu:
            continue
        columns = _split(line, form.has_tabs)
        if line.startswith("#") and not begun and len(columns) != form.num_columns:
            continue
        if len(columns) != form.num_columns:
            separator = "tabs" if form.has_tabs else "spaces"
            raise ValueError(
                f"{shown}, line {number} must have {form.num_columns} columns separated by {separator}, "
                f"got {len(columns)}"
            )
        if form.is_conllu and not _WORD_ID.fullmatch(columns[0]):
            if _SKIPPED_ID.fullmatch(columns[0]):
                continue
            given = printable(repr(columns[0]), 60)
            raise ValueError(f"{shown}, line {number} must begin with the number of a word, got {given}")
        begun = True
        yield number, columns


def _split(line: str, has_tabs: bool) -> list[str]:
    # Not line.split(): words may have a no-break space.
    return [cell.strip(" ") for cell in line.split("\t")] if has_tabs else [cell for cell in line.split(" ") if cell]
