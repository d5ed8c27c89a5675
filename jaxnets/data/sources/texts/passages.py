"""Passages of long texts by class, such as those of books by author, with whole chapters held out."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from jaxnets.data.checks import check_arguments, one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.text_files import text_of
from jaxnets.data.formats.text_records import MEMORY
from jaxnets.data.inputs import Texts
from jaxnets.data.sources.class_folders import TEXTS, classes_below
from jaxnets.data.sources.texts.examples import LabeledTexts, check_classes, check_fractions, from_tokens, tokenized
from jaxnets.data.tokens.tokenizer import learn_tokenizer
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import printable

MIN_CHAPTERS = 3  # of a book whose headings are used
BLOCK = 10  # passages of a block of a book without chapters

_NAMES = ("chapter", "book", "part", "act", "letter", "volume", "canto", "capítulo", "capitulo", "chapitre", "kapitel")
_NAMED = "|".join(name for lower in _NAMES for name in (lower.title(), lower.upper()))
# A name with a number or a capitalized word, so that a line of prose such as "Part of it" is not a heading.
_HEADING = re.compile(rf"^[ \t]*(?:(?:{_NAMED})[ \t]+(?:\d|[A-Z])[^\n]{{0,60}}|[IVXLC]+\.?)[ \t]*$", re.MULTILINE)
_WORD = re.compile(r"\S+")


class Chapter(NamedTuple):
    """A chapter or block of a book.

    Attributes:
        label: The class.
        passages: Its passages.
    """

    label: str
    passages: list[str]


@one_line_errors
def passages(
    path: str,
    words: int = 200,
    unit: str = "word",
    max_tokens: int = 20_000,
    min_count: int = 2,
    lowercase: bool = False,
    max_length: int = 300,
    buckets: int = 2,
    batch_size: int = 32,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
) -> Dataset:
    """Passages of long texts: a folder for each class, such as an author, with text files, such as books.

    Texts are divided at headings of chapters, such as "CHAPTER IV" or "IV." on a line of its own, or into blocks of
    ten passages if they have fewer than three. All passages of a chapter or block belong to one split. Headings are
    left out.

    Args:
        path: The folder, with files such as ``AUTHOR/BOOK.txt``.
        words: Number of words of a passage. Fewer words at the end of a chapter are left out.
        unit, max_tokens, min_count, lowercase, max_length, buckets: As in ``labeled_texts``.
        batch_size: B, rows of a batch; 0: all training rows.
        validation_fraction, test_fraction: Fractions of the passages of each class to hold out, rounded to chapters.
        seed: Seed of the order and of the held-out chapters.

    Raises:
        ValueError: If a file cannot be read, a class has fewer than three chapters with a passage, or an argument is
            out of range.
    """
    check_arguments(seed, words=words, max_length=max_length)
    check_fractions(validation_fraction, test_fraction)
    shown, files = printable(path), classes_below(path, TEXTS)
    check_classes(shown, list(files))
    check_memory(shown, MEMORY * sum(file.stat().st_size for each in files.values() for file in each))
    chapters = {
        label: [found for file in each for found in chapters_of(text_of(str(file)), label, words)]
        for label, each in files.items()
    }
    splits = _splits(shown, chapters, {"test": test_fraction, "validation": validation_fraction}, seed)
    tokenizer = learn_tokenizer(splits["train"].texts, unit, max_tokens, min_count, lowercase)
    return from_tokens(
        {name: tokenized(tokenizer, split, max_length) for name, split in splits.items()},
        Texts(tokenizer, max_length),
        batch_size=batch_size,
        buckets=buckets,
        seed=seed,
        source=shown,
        note=f"; {sum(map(len, chapters.values())):,} chapters or blocks, each in one split",
    )


def chapters_of(text: str, label: str, words: int) -> list[Chapter]:
    """Cuts a text into chapters, or blocks of passages, and these into passages of a number of words."""
    bounds = [match.span() for match in _HEADING.finditer(text)]
    begins = [0, *(end for _, end in bounds)]
    ends = [*(begin for begin, _ in bounds), len(text)]
    found = [list(_cut(text[begin:end], words)) for begin, end in zip(begins, ends, strict=True)]
    found = [passages for passages in found if passages]
    if len(found) < MIN_CHAPTERS:
        whole = list(_cut(text, words))
        found = [whole[i : i + BLOCK] for i in range(0, len(whole), BLOCK)]
    return [Chapter(label, passages) for passages in found]


def _cut(text: str, words: int) -> Iterator[str]:
    """Yields passages of a number of words, without the rest."""
    spans = [match.span() for match in _WORD.finditer(text)]
    for first in range(0, len(spans) - words + 1, words):
        yield text[spans[first][0] : spans[first + words - 1][1]]


def _splits(
    shown: str, chapters: Mapping[str, list[Chapter]], fractions: Mapping[str, float], seed: int
) -> dict[str, LabeledTexts]:
    """Assigns chapters of each class to splits at random; each split has at least one."""
    random, splits = np.random.default_rng(seed), {name: list[Chapter]() for name in ("train", *fractions)}
    for label, each in chapters.items():
        if len(each) <= len(fractions):
            raise ValueError(
                f"{shown}: class {printable(label, 60)} must have at least {len(fractions) + 1} chapters or blocks "
                f"with a passage, got {len(each)}"
            )
        left = [each[i] for i in random.permutation(len(each))]
        total = sum(len(chapter.passages) for chapter in left)
        for pending, (name, fraction) in zip(range(len(fractions), 0, -1), fractions.items(), strict=True):
            held = [left.pop()]
            while len(left) > pending and sum(len(chapter.passages) for chapter in held) < fraction * total:
                held.append(left.pop())
            splits[name] += held
        splits["train"] += left
    return {
        name: LabeledTexts(
            [passage for chapter in each for passage in chapter.passages],
            [chapter.label for chapter in each for _ in chapter.passages],
        )
        for name, each in splits.items()
    }
