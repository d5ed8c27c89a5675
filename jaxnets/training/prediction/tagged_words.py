"""Predicted tags of words as a CoNLL file."""

from collections.abc import Sequence

from jaxnets.reports import Table


def with_words(table: Table, words: Sequence[Sequence[str]]) -> Table:
    """Inserts the column ``word`` after the columns ``row`` and ``step`` of a table of tags.

    Args:
        table: One row per word; ``row`` is an index into ``words``, and ``step`` counts from 1.
        words: The words of each row.
    """
    columns = (*table.columns[:2], "word", *table.columns[2:])
    return Table(columns, [(*row[:2], words[row[0]][row[1] - 1], *row[2:]) for row in table.rows])


def to_conll(table: Table, words: Sequence[Sequence[str]], continued: Sequence[bool]) -> str:
    """Returns a CoNLL file: a word per line with its tag and probabilities, if any, separated by tabs.

    Args:
        table: As in ``with_words``.
        words: The words of each row.
        continued: Whether each row continues the sentence of the row before.
    """
    lines, before = [], -1
    for row, step, *values in table.rows:
        if row != before and before >= 0 and not continued[row]:
            lines.append("")
        before = row
        cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
        lines.append("\t".join([words[row][step - 1], *cells]))
    return "\n".join(lines) + "\n"
