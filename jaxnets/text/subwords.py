"""Character n-grams of words as rows of a table, as in fastText."""

from collections.abc import Sequence

import numpy as np

from jaxnets.ops.checks import check_integer


def subword_hash(text: str) -> int:
    """Returns the 32-bit FNV-1a hash of the UTF-8 bytes of a text, with signed bytes as in fastText.

    fastText extends the sign of bytes above 127, which the definition of FNV-1a does not. Its published vectors need
    the same rows, so the difference is kept.
    """
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return value


def character_ngrams(word: str, min_n: int = 3, max_n: int = 6) -> list[str]:
    """Returns the character n-grams of ``<word>``, in the order of fastText.

    Args:
        word: The word, without the marks of its begin and end.
        min_n: Smallest number of characters.
        max_n: Largest number of characters; 0: no n-grams.
    """
    marked = f"<{word}>"
    spans = ((i, i + n) for i in range(len(marked)) for n in range(min_n, max_n + 1) if i + n <= len(marked))
    return [marked[i:j] for i, j in spans if not (j - i == 1 and (i == 0 or j == len(marked)))]


def subword_rows(
    words: Sequence[str], num_buckets: int, min_n: int = 3, max_n: int = 6, first: int | None = None
) -> np.ndarray:
    """Returns the rows of a table that belong to words: the word itself and its hashed n-grams.

    The table has one row for each word, then ``num_buckets`` rows for all n-grams.

    Args:
        words: V words; the empty string has no n-grams.
        num_buckets: Number of rows for n-grams.
        min_n, max_n: As in ``character_ngrams``.
        first: The row of the first bucket; None: V.

    Returns:
        int32 ``[V, G]``, with -1 after the last row of a word.

    Raises:
        ValueError: A number is out of range.

    References:
        Bojanowski et al., Enriching Word Vectors with Subword Information, 2017, arXiv:1607.04606.
    """
    check_integer("num_buckets", num_buckets)
    check_integer("min_n", min_n)
    check_integer("max_n", max_n, minimum=min_n)
    first = len(words) if first is None else first
    rows = [
        [
            index,
            *(
                first + subword_hash(gram) % num_buckets
                for gram in (character_ngrams(word, min_n, max_n) if word else ())
            ),
        ]
        for index, word in enumerate(words)
    ]
    padded = np.full((len(rows), max(map(len, rows), default=1)), -1, np.int32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded
