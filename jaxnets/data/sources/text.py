"""Text for language models."""

import numpy as np

from jaxnets.data.checks import check_arguments, one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.text_files import read_files
from jaxnets.data.sources.parts import describe, digest
from jaxnets.data.sources.sequences import hold_out, once, streams, windows
from jaxnets.ops.printable import printable


@one_line_errors
def text(
    path: str = "",
    unit: str = "byte",
    read_as: str = "streams",
    batch_size: int = 64,
    seq_len: int = 64,
    validation_fraction: float = 0.1,
    vocab_size: int = 4096,
    seed: int = 0,
) -> Dataset:
    """Text for language models; the last part of every file is held out.

    Training batches go from the end of what is left of one file to the beginning of the next, but no token is to be
    told from one that was not before it: there ``mask`` is False. No held-out token is in a training batch.

    Args:
        path: A text file, a folder of text files, or "" for the sources of Python's standard library.
        unit: ``"byte"``, ``"character"`` or ``"piece"``.
        read_as: ``"streams"`` (contiguous, the recurrent state carried from batch to batch) or ``"windows"``
            (shuffled, each from a fresh state).
        batch_size: B, rows.
        seq_len: T, tokens of a row.
        validation_fraction: The part of the text that is held out, at the end of every file.
        vocab_size: How many, where they are the unit.
        seed: Of the order.

    Raises:
        ValueError: Nothing to read, an argument out of range, or too little text for one batch.
    """
    check_arguments(seed, validation_fraction, batch_size=batch_size, length=seq_len)
    readers = {"streams": streams, "windows": windows}
    if read_as not in readers:
        raise ValueError(f"read_as: streams or windows; given {read_as!r}")
    texts, vocabulary, skipped = read_files(path, unit, vocab_size)
    train, follows, rest, rest_follows = hold_out(texts, validation_fraction)
    if len(rest) < 2:
        raise ValueError(
            f"text too short: {len(train) + len(rest)} tokens leave {len(rest)} for validation, at least 2 are needed"
        )
    if not rest_follows[1:].any():
        raise ValueError(f"text too short: {len(texts)} files leave no 2 tokens in a row for validation")
    # Where files end decides what is held out.
    whole = {"tokens": np.concatenate(texts), "ends": np.cumsum([len(text) for text in texts])[:-1]}
    source = printable(path) if path else "Python standard library"
    return Dataset(
        splits={
            "train": readers[read_as](train, batch_size, seq_len, seed, follows),
            "validation": once(rest, batch_size, seq_len, rest_follows),
        },
        spec=vocabulary,
        fingerprint=digest([whole]),
        description=describe(source, f"{unit}s", {"train": len(train), "held out": len(rest)})
        + (f", the ends of {len(texts):,} files" if len(texts) > 1 else "")
        + skipped,
    )
