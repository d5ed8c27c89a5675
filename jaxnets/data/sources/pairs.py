"""Pairs of texts, a source and what it is translated to, from a tab-separated file."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxnets.data.checks import check_arguments, check_fraction, one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.limited_text import read_text
from jaxnets.data.sources.batches import Batch
from jaxnets.data.sources.parts import PURPOSES, Part, assemble, describe, digest, draw
from jaxnets.data.vocabulary import Vocabulary, learn_pieces
from jaxnets.ops.printable import printable

LINE_END = re.compile("\r\n|\n|\r")  # str.splitlines also splits at characters that a sentence may hold

# Of the text, unpacked: 4.5 million pairs of sentences, as of WMT 2014, have 1.3 GB.
MAX_BYTES = 2**31
MAX_PAIRS = 2**25  # each is objects of 200 bytes, however short its texts
MAX_LINE = 2**20  # characters: a hundred thousand words, more than any sequence of a pair

START, END = "<start>", "<end>"


@one_line_errors
def read_pairs(path: str, columns: tuple[int, int] = (0, 1)) -> list[tuple[str, str]]:
    """The pairs of a file, a line each; empty lines are passed over.

    At most ``MAX_BYTES`` of text are read, ``MAX_PAIRS`` pairs, and lines of ``MAX_LINE`` characters.

    Args:
        path: Text with tabs between columns, plain or gzipped: UTF-8, or UTF-16 or UTF-32 with a byte order mark. Lines
            end in LF, CRLF or CR, mixed as they may be.
        columns: Of source and target, from 0 on; there may be others.

    Raises:
        ValueError: It cannot be read, is not a regular file, exceeds a limit, or a line lacks a column or has an empty
            one (the line is named).
    """
    found: list[tuple[str, str]] = []
    shown = printable(path)
    for number, line in enumerate(_lines(read_text(path, MAX_BYTES)), 1):
        if len(line) > MAX_LINE:
            raise ValueError(f"{shown}, line {number} must have at most {MAX_LINE:,} characters, got {len(line):,}")
        if not line.strip():
            continue
        fields = line.split("\t")
        if max(columns) >= len(fields):
            raise ValueError(
                f"{shown}, line {number}: column {max(columns)} expected; it has {len(fields)}, from 0 on "
                "(a tab separates columns)"
            )
        source, target = (fields[column].strip() for column in columns)
        if not source or not target:
            given = " and ".join(printable(repr(text), 60) for text in (source, target))
            raise ValueError(f"{shown}, line {number}: a source and a target expected; given {given}")
        if len(found) == MAX_PAIRS:
            raise ValueError(f"{shown} must have at most {MAX_PAIRS:,} pairs, got more")
        found.append((source, target))
    if not found:
        raise ValueError(f"no pairs in {shown}")
    return found


def _lines(text: str) -> Iterator[str]:
    """The lines of a text one after the other: a list of them may take fifty times its memory."""
    begin = 0
    for end in LINE_END.finditer(text):
        yield text[begin : end.start()]
        begin = end.end()
    yield text[begin:]


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
    """Pairs for translation, in pieces of words that both sides share.

    A batch is a dict of ``inputs`` int32 ``[B, S]``, ``lengths`` ``[B]``, ``targets`` int32 ``[B, T]`` that end with
    the end symbol, ``target_lengths`` ``[B]`` (the end symbol included) and ``mask`` bool ``[B]`` (False fills up the
    last batch).

    Args:
        path, columns: As in ``read_pairs``.
        vocab_size: Size of the vocabulary, learned from what is neither for validation nor for testing.
        max_seq_len: S = T: pairs with a side of more pieces are left out, and counted.
        batch_size: B, rows.
        validation_fraction, test_fraction: The parts of the sources that are held out, drawn with the seed.
        seed: Of the order and of what is held out.

    Raises:
        ValueError: As ``read_pairs``, or an argument is out of range.
    """
    check_arguments(seed, validation_fraction, batch_size=batch_size, length=max_seq_len, pieces=vocab_size)
    check_fraction("test", test_fraction)
    if test_fraction >= 1 - validation_fraction:
        raise ValueError(f"test_fraction: a part between 0 and what validation leaves expected; given {test_fraction}")
    if not _are_columns(columns):
        raise ValueError(f"columns: those of source and target, from 0 on, expected; given {columns}")
    found = read_pairs(path, (columns[0], columns[1]))
    # By source: what one source may be translated to is in one part.
    sources = list(dict.fromkeys(source for source, _ in found))
    rows = draw(len(sources), {"test": test_fraction, "validation": validation_fraction}, seed)
    part_of = {sources[i]: name for name, drawn in rows.items() for i in drawn}
    parts = {name: [pair for pair in found if part_of[pair[0]] == name] for name in PURPOSES}
    if not all(parts.values()):
        shares = ", ".join(f"{len(part)} in the {name} part" for name, part in parts.items())
        raise ValueError(f"too few pairs in {printable(path)}: {len(found)}, of which {shares}")
    vocabulary = learn_pieces(itertools.chain.from_iterable(parts["train"]), vocab_size, (START, END))
    arrays = {name: pair_arrays(part, vocabulary, max_seq_len) for name, part in parts.items()}
    counts = {name: len(part["mask"]) for name, part in arrays.items()}
    left_out = {name: len(part) - counts[name] for name, part in parts.items()}
    return assemble(
        {name: Part(part) for name, part in arrays.items()},
        batch_size=batch_size,
        seed=seed,
        spec=vocabulary,
        fingerprint=digest(arrays.values()),
        description=describe(printable(path), "pairs", counts)
        + f"; {sum(left_out.values()):,} longer than {max_seq_len} pieces left out, "
        f"{left_out['test']:,} of them to test on",
    )


def _are_columns(columns: Any) -> bool:
    return (
        isinstance(columns, Sequence)
        and len(columns) == 2
        and all(isinstance(column, int) and column >= 0 for column in columns)
    )


def pair_arrays(found: list[tuple[str, str]], vocabulary: Vocabulary, length: int) -> Batch:
    """The pairs of at most ``length`` pieces as arrays."""
    end = vocabulary.symbol(END)
    sides = [(vocabulary.encode(source), np.append(vocabulary.encode(target), end)) for source, target in found]
    short = [pair for pair in sides if max(map(len, pair)) <= length]
    if not short:
        raise ValueError(f"length: no pair has at most {length} pieces")

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
