"""Pairs of a source text and its translation, from a tab-separated file."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnets.data.checks import check_arguments, check_fraction, one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.limited_text import lines, read_text
from jaxnets.data.sources.batches import Batch
from jaxnets.data.sources.parts import SPLITS, Split, assemble, describe, digest, random_split
from jaxnets.data.tokens.vocabulary import Vocabulary, learn_pieces
from jaxnets.ops.host.printable import printable

# Limits on the unpacked text. The 4.5 million sentence pairs of WMT 2014 have 1.3 GB.
MAX_BYTES = 2**31
MAX_PAIRS = 2**25  # a pair takes at least 200 bytes of memory
MAX_LINE = 2**20  # characters, about a hundred thousand words

START, END = "<start>", "<end>"


@one_line_errors
def read_pairs(path: str, columns: tuple[int, int] = (0, 1)) -> list[tuple[str, str]]:
    """Reads the pairs of a file, one pair per line; empty lines are skipped.

    The limits are ``MAX_BYTES`` of text, ``MAX_PAIRS`` pairs and ``MAX_LINE`` characters of a line.

    Args:
        path: Tab-separated text, plain or gzipped, in UTF-8, or in UTF-16 or UTF-32 with a byte order mark. Lines may
            end in LF, CRLF or CR.
        columns: Indices of the source and target columns, from 0.

    Raises:
        ValueError: If the file cannot be read, is not a regular file or exceeds a limit, or a column of a line is
            missing or empty. The message names the line.
    """
    found: list[tuple[str, str]] = []
    shown = printable(path)
    for number, line in enumerate(lines(read_text(path, MAX_BYTES)), 1):
        if len(line) > MAX_LINE:
            raise ValueError(f"{shown}, line {number} must have at most {MAX_LINE:,} characters, got {len(line):,}")
        if not line.strip():
            continue
        fields = line.split("\t")
        if max(columns) >= len(fields):
            raise ValueError(
                f"{shown}, line {number} must have at least {max(columns) + 1} columns separated by tabs, "
                f"got {len(fields)}"
            )
        source, target = (fields[column].strip() for column in columns)
        if not source or not target:
            given = " and ".join(printable(repr(text), 60) for text in (source, target))
            raise ValueError(f"{shown}, line {number} must have a source and a target, got {given}")
        if len(found) == MAX_PAIRS:
            raise ValueError(f"{shown} must have at most {MAX_PAIRS:,} pairs, got more")
        found.append((source, target))
    if not found:
        raise ValueError(f"{shown} must have at least one pair, got none")
    return found


@one_line_errors
def pairs(
    path: str,
    columns: tuple[int, int] = (0, 1),
    vocab_size: int = 8000,
    max_seq_len: int = 64,
    batch_size: int = 64,
    validation_fraction: float = 0.02,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Pairs for translation, as tokens of one subword vocabulary for both languages.

    A batch is a dict of ``inputs`` int32 ``[B, S]``, ``lengths`` ``[B]``, ``targets`` int32 ``[B, T]`` that end with
    the end symbol, ``target_lengths`` ``[B]`` (including the end symbol) and ``mask`` bool ``[B]`` (False in the
    padding of the last batch).

    Args:
        path, columns: As in ``read_pairs``.
        vocab_size: Size of the vocabulary, which is trained on the training split.
        max_seq_len: S = T, maximum number of tokens. Longer pairs are left out and counted in the description.
        batch_size: B, rows of a batch.
        validation_fraction, test_fraction: Fractions of the sources to hold out, sampled by the seed.
        seed: Seed of the order and of the held-out pairs.

    Raises:
        ValueError: As in ``read_pairs``, or if an argument is out of range.
    """
    check_arguments(seed, validation_fraction, batch_size=batch_size, max_seq_len=max_seq_len, vocab_size=vocab_size)
    check_fraction("test_fraction", test_fraction)
    if test_fraction >= 1 - validation_fraction:
        raise ValueError(
            f"`test_fraction` must be less than 1 - `validation_fraction`, {1 - validation_fraction:g}, "
            f"got {test_fraction}"
        )
    if not _are_columns(columns):
        raise ValueError(f"`columns` must be two indices of columns from 0, source and target, got {columns}")
    found = read_pairs(path, (columns[0], columns[1]))
    # All translations of one source belong to one split.
    sources = list(dict.fromkeys(source for source, _ in found))
    rows = random_split(len(sources), {"test": test_fraction, "validation": validation_fraction}, seed)
    split_of = {sources[i]: name for name, indices in rows.items() for i in indices}
    splits = {name: [pair for pair in found if split_of[pair[0]] == name] for name in SPLITS}
    if not all(splits.values()):
        counted = ", ".join(f"{len(split)} {name}" for name, split in splits.items())
        raise ValueError(f"{printable(path)} must have pairs for every split, got {counted}")
    vocabulary = learn_pieces(itertools.chain.from_iterable(splits["train"]), vocab_size, (START, END))
    arrays = {name: pair_arrays(split, vocabulary, max_seq_len) for name, split in splits.items()}
    counts = {name: len(split["mask"]) for name, split in arrays.items()}
    left_out = {name: len(split) - counts[name] for name, split in splits.items()}
    return assemble(
        {name: Split(split) for name, split in arrays.items()},
        batch_size=batch_size,
        seed=seed,
        spec=vocabulary,
        fingerprint=digest(arrays.values()),
        description=describe(printable(path), "pairs", counts)
        + f"; {sum(left_out.values()):,} longer than {max_seq_len} tokens left out, "
        f"{left_out['test']:,} of them from the test split",
    )


def _are_columns(columns: Any) -> bool:
    return (
        isinstance(columns, Sequence)
        and len(columns) == 2
        and all(isinstance(column, int) and column >= 0 for column in columns)
    )


def pair_arrays(found: list[tuple[str, str]], vocabulary: Vocabulary, length: int) -> Batch:
    """Encodes the pairs of at most ``length`` tokens as the arrays of a batch."""
    end = vocabulary.symbol(END)
    encoded = [(vocabulary.encode(source), np.append(vocabulary.encode(target), end)) for source, target in found]
    short = [pair for pair in encoded if max(map(len, pair)) <= length]
    if not short:
        raise ValueError(
            f"at least one pair must have at most {length} tokens, got none (`max_seq_len` sets the limit)"
        )

    def padded(texts: list[np.ndarray]) -> np.ndarray:
        array = np.full((len(texts), length), end, np.int32)
        for row, text in zip(array, texts, strict=True):
            row[: len(text)] = text
        return array

    sources, targets = [source for source, _ in short], [target for _, target in short]
    return {
        "inputs": padded(sources),
        "lengths": np.array([len(text) for text in sources], np.int32),
        "targets": padded(targets),
        "target_lengths": np.array([len(text) for text in targets], np.int32),
        "mask": np.ones(len(short), bool),
    }
