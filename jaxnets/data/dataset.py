"""What a task learns from: training and validation batches, and what must be saved to use the model later."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import grain
import numpy as np

from jaxnets.data.inputs import Inputs
from jaxnets.data.sequences import once, streams, windows
from jaxnets.data.targets import Classes, Quantities
from jaxnets.data.text import read
from jaxnets.data.vocabulary import Vocabulary

RowsOf = Callable[[int], np.ndarray]


class Dataset(NamedTuple):
    """Attributes:
    train: Endless batches, a pure function of (seed, step).
    validation: Batches of the held-out part, once.
    targets: What the targets mean, saved with the run.
    fingerprint: SHA-256 of the data, saved with the run: it goes on with the same data only.
    description: One line for a person.
    test: Batches of a part that nothing was chosen by, once; None where the data has none.
    read_part: As ``part``, for data that need not read the other rows.
    inputs: What became of raw inputs, saved with the run; None where batches hold them as they are.
    """

    train: grain.MapDataset
    validation: grain.MapDataset
    targets: Vocabulary | Classes | Quantities
    fingerprint: str
    description: str
    test: grain.MapDataset | None = None
    read_part: "Callable[[RowsOf], Dataset] | None" = None
    inputs: Inputs | None = None

    def part(self, rows: RowsOf) -> "Dataset":
        """The same batches with some of their rows only.

        Args:
            rows: ``count -> numbers``, which of a batch's ``count`` rows.
        """
        if self.read_part is not None:
            return self.read_part(rows)
        cut = lambda batch: {name: array[rows(len(array))] for name, array in batch.items()}
        test = None if self.test is None else self.test.map(cut)
        return self._replace(train=self.train.map(cut), validation=self.validation.map(cut), test=test)


def check_arguments(seed: int, validation: float | None = None, **sizes: int) -> None:
    """A ``ValueError`` where no batches can be made of these; ``sizes``, such as the batch's, are told by name."""
    if seed < 0:
        raise ValueError(f"seed: not below 0; given {seed}")
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}: at least 1; given {size}")
    if validation is not None and not 0 < validation < 1:
        raise ValueError(f"validation: a part between 0 and 1; given {validation}")


def check_range(shortest: int, longest: int) -> None:
    """A ``ValueError`` where nothing is so long."""
    if longest < shortest:
        raise ValueError(f"longest: at least shortest, {shortest}; given {longest}")


def text(
    path: str = "",
    unit: str = "byte",
    read_as: str = "streams",
    batch: int = 64,
    length: int = 64,
    validation: float = 0.1,
    pieces: int = 4096,
    seed: int = 0,
) -> Dataset:
    """Text for language models; its last part is held out.

    Args:
        path: A text file, a folder of text files, or "" for the sources of Python's standard library.
        unit: ``"byte"``, ``"character"`` or ``"piece"``.
        read_as: ``"streams"`` (contiguous, the recurrent state carried from batch to batch) or ``"windows"``
            (shuffled, each from a fresh state).
        batch: B, rows.
        length: T, tokens of a row.
        validation: The part of the text that is held out, at its end.
        pieces: How many, where they are the unit.
        seed: Of the order.

    Raises:
        ValueError: Nothing to read, an argument out of range, or too little text for one batch.
    """
    check_arguments(seed, validation, batch=batch, length=length)
    readers = {"streams": streams, "windows": windows}
    if read_as not in readers:
        raise ValueError(f"read_as: streams or windows; given {read_as!r}")
    tokens, vocabulary = read(path, unit, pieces)
    held_out = int(len(tokens) * validation)
    if held_out < 2:
        raise ValueError(f"text too short: {len(tokens)} tokens leave {held_out} for validation, at least 2 are needed")
    train, rest = tokens[: len(tokens) - held_out], tokens[len(tokens) - held_out :]
    source = path or "Python standard library"
    return Dataset(
        train=readers[read_as](train, batch, length, seed),
        validation=once(rest, batch, length),
        targets=vocabulary,
        fingerprint=hashlib.sha256(tokens.tobytes()).hexdigest(),
        description=f"{source}: {len(train):,} {unit}s to learn from, {len(rest):,} held out",
    )
