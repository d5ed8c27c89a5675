"""Question files for the evaluation of word vectors: analogies, and judged similarities of word pairs."""

import math
from collections.abc import Iterator, Sequence

from jaxnets.data.checks import one_line_errors
from jaxnets.data.formats.limited_text import read_text
from jaxnets.ops.host.printable import printable

MAX_BYTES = 2**27  # the 19,544 analogies of questions-words.txt have 600 KB

Analogy = tuple[str, str, str, str]
Similarity = tuple[str, str, float]


@one_line_errors
def read_analogies(path: str) -> dict[str, list[Analogy]]:
    """Reads analogies in the format of ``questions-words.txt`` (Mikolov et al. 2013).

    A line ``: name`` begins a section. Other lines have four words: a is to b as c is to d. Empty lines are skipped.

    Args:
        path: Text, plain or gzipped, in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Returns:
        The questions by section, in the order of the file. Sections of the same name are one.

    Raises:
        ValueError: The file cannot be read or has no question, or a line is not as above. The message names the line.
    """
    sections: dict[str, list[Analogy]] = {}
    questions: list[Analogy] | None = None
    for place, line in _lines(path):
        if line.startswith(":"):
            questions = sections.setdefault(line[1:].strip(), [])
            continue
        if questions is None:
            raise ValueError(f'{place} must be in a section: a line ": name" must come first')
        words = line.split()
        if len(words) != 4:
            raise ValueError(f"{place} must have four words, got {len(words)}: {printable(repr(line), 60)}")
        questions.append((words[0], words[1], words[2], words[3]))
    if not any(sections.values()):
        raise ValueError(f"{printable(path)} must have at least one question, got none")
    return sections


@one_line_errors
def read_similarities(path: str, columns: tuple[int, int, int] = (0, 1, 2)) -> list[Similarity]:
    """Reads word pairs with judged similarities, such as WordSim-353 and SimLex-999.

    Fields are separated by tabs, commas or spaces: the first of these that a line contains. Empty lines, and lines that
    begin with ``#``, are skipped, and so is a header, a first line whose score is not a number.

    Args:
        path: As in ``read_analogies``.
        columns: Indices of the columns of the two words and the score, from 0; (0, 1, 3) for the original file of
            SimLex-999.

    Returns:
        The two words and the score of each line.

    Raises:
        ValueError: The file cannot be read or has no pair, or a column of a line is missing, empty or not a finite
            number. The message names the line.
    """
    if not _are_columns(columns):
        raise ValueError(f"`columns` must be three indices of columns from 0, got {columns!r}")
    pairs: list[Similarity] = []
    first = True
    for place, line in _lines(path):
        if line.startswith("#"):
            continue
        separator = next((each for each in ("\t", ",") if each in line), None)
        fields = [field.strip() for field in line.split(separator)]
        if max(columns) >= len(fields):
            raise ValueError(f"{place} must have at least {max(columns) + 1} columns, got {len(fields)}")
        word, other, score = (fields[column] for column in columns)
        number = _number(score)
        is_header, first = first and number is None, False
        if is_header:
            continue
        if not word or not other:
            raise ValueError(f"{place} must have two words, got {printable(repr(line), 60)}")
        if number is None or not math.isfinite(number):
            raise ValueError(f"{place} must have a finite number as its score, got {printable(repr(score), 60)}")
        pairs.append((word, other, number))
    if not pairs:
        raise ValueError(f"{printable(path)} must have at least one pair, got none")
    return pairs


def _lines(path: str) -> Iterator[tuple[str, str]]:
    """Yields the place of each line, for messages, and its content, without empty lines."""
    text = read_text(path, MAX_BYTES).replace("\r\n", "\n").replace("\r", "\n")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{printable(path)}, line {number}", line.strip()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _are_columns(columns: Sequence[int]) -> bool:
    return len(columns) == 3 and all(isinstance(column, int) and column >= 0 for column in columns)
