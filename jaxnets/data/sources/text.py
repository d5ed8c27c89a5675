"""Text for language models."""

import numpy as np

from jaxnets.data.checks import check_arguments, one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.text_files import read_files
from jaxnets.data.sources.parts import describe, digest
from jaxnets.data.sources.sequences import hold_out, once, streams, windows
from jaxnets.ops.checks import check_choice
from jaxnets.ops.host.printable import printable


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
    """Text for language models; the end of every file is held out for validation.

    Training text is the concatenation of the rest of all files. A token that does not follow its input in a file is not
    a target: ``mask`` is False there. No held-out token is in a training batch.

    Args:
        path: A text file, a folder of text files, or "" for the sources of Python's standard library.
        unit: ``"byte"``, ``"character"`` or ``"piece"``.
        read_as: ``"streams"`` (contiguous rows; the recurrent state carries over from batch to batch) or ``"windows"``
            (shuffled rows, each from an initial state).
        batch_size: B, rows of a batch.
        seq_len: T, tokens of a row.
        validation_fraction: Fraction of the text to hold out, at the end of every file.
        vocab_size: Size of the vocabulary if the unit is ``"piece"``.
        seed: Seed of the order.

    Raises:
        ValueError: If there is no text, an argument is out of range, or the text is too short for one batch.
    """
    check_arguments(seed, validation_fraction, batch_size=batch_size, seq_len=seq_len)
    readers = {"streams": streams, "windows": windows}
    check_choice("read_as", read_as, readers)
    texts, vocabulary, skipped = read_files(path, unit, vocab_size)
    train, follows, held_out, held_out_follows = hold_out(texts, validation_fraction)
    if len(held_out) < 2:
        raise ValueError(
            f"text too short: {len(train) + len(held_out)} tokens must leave at least 2 for validation, "
            f"got {len(held_out)}"
        )
    if not held_out_follows[1:].any():
        raise ValueError(f"text too short: {len(texts)} files must leave 2 adjacent tokens for validation, got none")
    # The fingerprint includes the ends of the files, which determine the held-out tokens.
    whole = {"tokens": np.concatenate(texts), "ends": np.cumsum([len(text) for text in texts])[:-1]}
    source = printable(path) if path else "Python standard library"
    return Dataset(
        splits={
            "train": readers[read_as](train, batch_size, seq_len, seed, follows),
            "validation": once(held_out, batch_size, seq_len, held_out_follows),
        },
        spec=vocabulary,
        fingerprint=digest([whole]),
        description=describe(source, f"{unit}s", {"train": len(train), "held out": len(held_out)})
        + (f", the ends of {len(texts):,} files" if len(texts) > 1 else "")
        + skipped,
    )
