"""Windows of words for skip-gram and CBOW."""

import math
from typing import NamedTuple

import numpy as np

from jaxnets.data.checks import check_arguments, one_line_errors
from jaxnets.data.dataset import Dataset, SelectRows
from jaxnets.data.sources.batches import Batch
from jaxnets.data.sources.parts import describe, digest
from jaxnets.data.sources.words.corpus import Sentences, read_corpus
from jaxnets.data.sources.words.epochs import Rows, endless, once
from jaxnets.ops.checks import check_integer, check_number
from jaxnets.text import keep_probabilities

MARGIN = 6  # standard deviations of the number of kept words


@one_line_errors
def word_corpus(
    path: str = "",
    min_count: int = 5,
    window: int = 5,
    subsample: float = 1e-3,
    batch_words: int = 16384,
    chunk_words: int = 32,
    sentences: str = "line",
    max_words: int = 1_000_000,
    lowercase: bool = True,
    validation_fraction: float = 0.02,
    seed: int = 0,
) -> Dataset:
    """Words of running text and their windows, for skip-gram and CBOW.

    In each epoch, occurrences of frequent words are dropped at random (``text.keep_probabilities``) and each word gets
    a random window of 1 to ``window`` words on both sides, within its sentence. Rare words are dropped before.

    A batch has B rows, each with S consecutive words of the remaining text, the centers, and the words around them:
    ``inputs`` int32 ``[B, window + S + window]``; ``left`` and ``right`` int32 ``[B, S]``, the numbers of words in the
    window of a center, both 0 in the padding. All words are a center once in an epoch. A batch is a function of the
    seed and the step.

    Args:
        path: A text file or a folder of text files, or "" for the documentation of Python's standard library.
        min_count: Smallest number of occurrences of a word in the training sentences.
        window: Largest number of words on each side.
        subsample: Frequency above which occurrences are dropped; 0 keeps all.
        batch_words: Words of a batch, B S.
        chunk_words: S, words of a row. The task updates the vectors after every row.
        sentences: ``"line"``, or ``"paragraph"`` if sentences contain line breaks; windows do not cross their ends.
        max_words: Largest number of words in the vocabulary.
        lowercase: Whether texts are converted to lower case.
        validation_fraction: Fraction of the sentences to hold out.
        seed: Seed of the held-out sentences, the order, the dropped words and the windows.

    Raises:
        ValueError: A file cannot be read, an argument is out of range, or too few words remain.
    """
    check_arguments(seed, validation_fraction, window=window, chunk_words=chunk_words)
    check_integer("batch_words", batch_words, minimum=chunk_words)
    check_number("subsample", subsample)
    sentences = sentences if path else "paragraph"
    corpus = read_corpus(path, sentences, min_count, max_words, lowercase, validation_fraction, seed)
    if len(corpus.validation) < 2:
        raise ValueError(
            f"{corpus.source} must have at least 2 frequent words for validation, got {len(corpus.validation)}"
        )
    keep = keep_probabilities(np.array(corpus.words.counts), subsample).astype(np.float32)
    batch_size = batch_words // chunk_words
    windows = {name: Windows(part, keep, window, chunk_words) for name, part in _parts(corpus).items()}

    def read(select_rows: SelectRows = np.arange) -> Dataset:
        train, held_out = windows["train"], windows["validation"]
        splits = {
            "train": endless(
                lambda epoch: train.rows(np.random.default_rng((seed, epoch))),
                train.num_rows,
                batch_size,
                seed,
                select_rows,
            ),
            "validation": once(
                held_out.rows(np.random.default_rng((seed, 0, 2))), held_out.num_rows, batch_size, select_rows
            ),
        }
        return Dataset(splits, corpus.words, fingerprint, description, read_part=read)

    fingerprint = digest([part._asdict() for part in _parts(corpus).values()])
    counts = {"train": len(corpus.train), "held out": len(corpus.validation)}
    rare = corpus.total - sum(counts.values())
    summary = f"{len(corpus.words.tokenizer.symbols):,} different words"
    description = describe(corpus.source, "words", counts, summary) + f", {rare:,} rare ones dropped{corpus.skipped}"
    return read()


def _parts(corpus) -> dict[str, Sentences]:
    return {"train": corpus.train, "validation": corpus.validation}


class Windows(NamedTuple):
    """Random windows over sentences.

    Attributes:
        sentences: The sentences.
        keep: The probability of keeping an occurrence of each word, float32 ``[V]``.
        window: Largest number of words on each side.
        chunk: Words of a row.
    """

    sentences: Sentences
    keep: np.ndarray
    window: int
    chunk: int

    @property
    def num_rows(self) -> int:
        """The number of rows, which is the same for all random choices."""
        probabilities = self.keep[self.sentences.tokens].astype(np.float64)
        std = math.sqrt(np.sum(probabilities * (1 - probabilities)))
        most = min(np.sum(probabilities) + MARGIN * std, len(self.sentences))
        return max(1, math.ceil(most / self.chunk))

    def rows(self, random: np.random.Generator) -> Rows:
        """Draws the windows of one epoch."""
        tokens, sentences = self.sentences
        kept = random.random(len(tokens), np.float32) < self.keep[tokens]
        tokens, sentences = tokens[kept], sentences[kept]
        size, rows = len(tokens), self.num_rows
        reach = random.integers(1, self.window + 1, size, np.int32)
        begins = np.flatnonzero(np.diff(sentences, prepend=-1)) if size else np.zeros(0, np.int64)
        lengths = np.diff(begins, append=size)
        place = np.arange(size, dtype=np.int32) - np.repeat(begins, lengths).astype(np.int32)
        after = np.repeat(lengths, lengths).astype(np.int32) - 1 - place
        pad = lambda values, before: np.pad(values, (before, self.chunk + self.window))
        padded = pad(tokens, self.window)
        left, right = (pad(np.minimum(reach, limit), 0) for limit in (place, after))
        first = np.arange(rows + 1) * size // rows  # rows differ by at most one word
        around, centers = np.arange(self.chunk + 2 * self.window), np.arange(self.chunk)

        def at(indices: np.ndarray) -> Batch:
            begin = first[indices]
            end = first[np.minimum(indices + 1, rows)]
            of_centers = begin[:, None] + centers
            valid = of_centers < end[:, None]
            return {
                "inputs": padded[begin[:, None] + around],
                "left": np.where(valid, left[of_centers], 0),
                "right": np.where(valid, right[of_centers], 0),
            }

        return at
