"""Running text as word ids without rare words, with the boundaries of sentences."""

import array
import collections
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxnets.data.formats.text_files import find, text_of
from jaxnets.data.sources.words.documentation import documentation
from jaxnets.data.targets import Words
from jaxnets.data.tokens.tokenizer import most_frequent
from jaxnets.ops.checks import check_choice, check_integer
from jaxnets.ops.host.printable import printable

SENTENCES = ("line", "paragraph")
WORD = re.compile(r"\w+(?:['’]\w+)*")  # as in the tokenizer, without punctuation marks
_PARAGRAPHS = re.compile(r"\n[^\S\n]*\n")
_LINES = re.compile(r"[\r\n]+")


class Sentences(NamedTuple):
    """Sentences as word ids.

    Attributes:
        tokens: The ids of all words, int32 ``[N]``, from 1.
        sentences: The number of the sentence of each word, int32 ``[N]``, in ascending order.
    """

    tokens: np.ndarray
    sentences: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)


class Corpus(NamedTuple):
    """A text for word vectors.

    Attributes:
        train: The training sentences.
        validation: The held-out sentences.
        words: The vocabulary, with the counts of the training sentences.
        source: Name of the text in messages.
        skipped: Description of skipped files.
        total: Number of words of all sentences, rare ones included.
    """

    train: Sentences
    validation: Sentences
    words: Words
    source: str
    skipped: str
    total: int


def read_corpus(
    path: str, sentences: str, min_count: int, max_words: int, lowercase: bool, validation_fraction: float, seed: int
) -> Corpus:
    """Reads text files, holds out random sentences, and drops the words that are rare in the others.

    Args:
        path: A text file, a folder of text files, or "" for the documentation of the standard library.
        sentences: The unit of text that windows do not cross: ``"line"`` or ``"paragraph"``, which ends at an empty
            line.
        min_count, max_words: As in ``data.word_corpus``.
        lowercase: Whether texts are converted to lower case.
        validation_fraction: Fraction of the sentences to hold out; 0 for none.
        seed: Seed of the held-out sentences.

    Raises:
        ValueError: A file cannot be read, an argument is out of range, or too few words remain.
    """
    check_choice("sentences", sentences, SENTENCES)
    check_integer("min_count", min_count)
    check_integer("max_words", max_words, minimum=2)
    files, skipped = find(path) if path else ([], "")
    texts = (text_of(str(file)) for file in files) if path else iter(documentation())
    source = printable(path) if path else "documentation of the Python standard library"
    index: dict[str, int] = {}
    ids, lengths = array.array("i"), array.array("i")
    for sentence in itertools.chain.from_iterable(_sentences(text, sentences, lowercase) for text in texts):
        if words := WORD.findall(sentence):
            ids.extend([index.setdefault(word, len(index)) for word in words])
            lengths.append(len(words))
    if len(lengths) < 2:
        raise ValueError(f"{source} must have at least 2 sentences with words, got {len(lengths)}")
    tokens, number = np.array(ids, np.int32), np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    held_out = np.zeros(len(lengths), bool)
    count = max(1, round(validation_fraction * len(lengths))) if validation_fraction else 0
    held_out[np.random.default_rng(seed).permutation(len(lengths))[:count]] = True
    held_out = held_out[number]
    counts = np.bincount(tokens[~held_out], minlength=len(index))
    names = list(index)
    frequent = collections.Counter({names[i]: int(counts[i]) for i in np.flatnonzero(counts >= min_count)})
    tokenizer = most_frequent(frequent, "word", max_words + 1, min_count, lowercase)
    if len(tokenizer.symbols) < 2:
        raise ValueError(
            f"{source} must have at least 2 words that occur {min_count} times, got {len(tokenizer.symbols)} "
            "(a smaller --config.data.min_count helps)"
        )
    new_ids = np.zeros(len(index), np.int32)
    new_ids[[index[name] for name in tokenizer.symbols]] = np.arange(1, tokenizer.size)
    tokens = new_ids[tokens]
    part = lambda rows: Sentences(tokens[rows], number[rows])
    return Corpus(
        part((tokens > 0) & ~held_out),
        part((tokens > 0) & held_out),
        Words(tokenizer, (0, *(frequent[name] for name in tokenizer.symbols))),
        source,
        skipped,
        len(ids),
    )


def _sentences(text: str, unit: str, lowercase: bool) -> Iterator[str]:
    text = text.lower() if lowercase else text
    if unit == "line":
        yield from _LINES.split(text)
    else:
        yield from _PARAGRAPHS.split(text.replace("\r\n", "\n"))
