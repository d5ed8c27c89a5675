"""Pairs of texts, a source and what it is translated to, from a tab-separated file."""

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np

from jaxnets.data.dataset import Dataset, check_arguments
from jaxnets.data.examples import Batch, in_order, shuffled
from jaxnets.data.vocabulary import Vocabulary, learn_pieces

START, END = "<start>", "<end>"


def read_pairs(path: str, columns: tuple[int, int] = (0, 1)) -> list[tuple[str, str]]:
    """The pairs of a file, a line each; empty lines are passed over.

    Args:
        path: UTF-8 text with tabs between columns, plain or gzipped.
        columns: Of source and target, from 0 on.

    Raises:
        ValueError: It cannot be read, or a line lacks a column (the line is named).
    """
    file = Path(path).expanduser()
    try:
        content = file.read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is no UTF-8 text, plain or gzipped: {error}") from error
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("\t")
        if not line.strip():
            continue
        if max(columns) >= len(fields):
            raise ValueError(f"{path}, line {number}: column {max(columns)} expected; it has {len(fields)}, from 0 on")
        found.append((fields[columns[0]].strip(), fields[columns[1]].strip()))
    if not found:
        raise ValueError(f"no pairs in {path}")
    return found


def pairs(
    path: str,
    columns: tuple[int, int] = (0, 1),
    pieces: int = 8000,
    length: int = 64,
    batch: int = 64,
    validation: float = 0.02,
    test: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Pairs for translation, in pieces of words that both sides share.

    A batch is a dict of ``inputs`` int32 ``[B, S]``, ``lengths`` ``[B]``, ``targets`` int32 ``[B, T]`` that end with
    the end symbol, ``target_lengths`` ``[B]`` (the end symbol included) and ``mask`` bool ``[B]`` (False fills up the
    last batch).

    Args:
        path, columns: As in ``read_pairs``.
        pieces: Size of the vocabulary, learned from what is neither for validation nor for testing.
        length: S = T: pairs with a side of more pieces are left out, and counted.
        batch: B, rows.
        validation, test: The parts that are held out, drawn with the seed.
        seed: Of the order and of what is held out.

    Raises:
        ValueError: As ``read_pairs``, or an argument is out of range.
    """
    check_arguments(seed, validation, batch=batch, length=length)
    if not 0 < test < 1 - validation:
        raise ValueError(f"test: a part between 0 and what validation leaves expected; given {test}")
    if len(columns) != 2 or min(columns) < 0:
        raise ValueError(f"columns: those of source and target, from 0 on, expected; given {columns}")
    found = read_pairs(path, (columns[0], columns[1]))
    order = np.random.default_rng(seed).permutation(len(found))
    first, second = round(len(found) * test), round(len(found) * (test + validation))
    parts = {"test": order[:first], "validation": order[first:second], "train": order[second:]}
    if not all(len(rows) for rows in parts.values()):
        raise ValueError(f"too few pairs in {path}: {len(found)}")
    learned = (side for row in np.sort(parts["train"]) for side in found[row])
    vocabulary = learn_pieces(learned, pieces, (START, END))
    arrays, left_out = {}, 0
    for name, rows in parts.items():
        arrays[name], without = _arrays([found[row] for row in np.sort(rows)], vocabulary, length)
        left_out += without
    digest = hashlib.sha256()
    for part in arrays.values():
        for array in part.values():
            digest.update(array.tobytes())
    counts = {name: len(part["mask"]) for name, part in arrays.items()}
    return Dataset(
        train=shuffled(arrays["train"], batch, seed),
        validation=in_order(arrays["validation"], batch),
        targets=vocabulary,
        fingerprint=digest.hexdigest(),
        description=f"{path}: {counts['train']:,} pairs to learn from, {counts['validation']:,} to validate on, "
        f"{counts['test']:,} to test on; {left_out:,} longer than {length} pieces left out",
        test=in_order(arrays["test"], batch),
    )


def _arrays(found: list[tuple[str, str]], vocabulary: Vocabulary, length: int) -> tuple[Batch, int]:
    """The pairs of at most ``length`` pieces as arrays, and how many are longer."""
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
    arrays = {
        "inputs": padded(sources),
        "lengths": np.array([len(text) for text in sources], np.int32),
        "targets": padded(targets),
        "target_lengths": np.array([len(text) for text in targets], np.int32),
        "mask": np.ones(len(short), bool),
    }
    return arrays, len(sides) - len(short)
