"""Binary files by class: their first bytes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from jaxnets.data.checks import check_arguments, one_line_errors, open_data
from jaxnets.data.dataset import Dataset
from jaxnets.data.inputs import Texts
from jaxnets.data.sources.class_folders import FILES, scan
from jaxnets.data.sources.texts.buckets import Ragged
from jaxnets.data.sources.texts.examples import (
    LabeledTexts,
    Tokens,
    check_fractions,
    describe_repeated,
    from_tokens,
    sample_splits,
)
from jaxnets.data.tokens.tokenizer import Tokenizer
from jaxnets.ops.checks import check_integer
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import printable

MEMORY = 9  # bytes per byte of a file: it and its int32 token, twice


@one_line_errors
def byte_files(
    path: str,
    length: int = 2048,
    buckets: int = 4,
    batch_size: int = 32,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
) -> Dataset:
    """The first bytes of files of any kind, as int32 token ids ``[B, T]`` with ``lengths``.

    The root has one folder of files per class, or such folders below ``train``, ``validation`` and ``test``; links,
    hidden and special files are treated as in ``images``. A file may be empty. Nothing is executed or unpacked. Files
    with the same first bytes are in one split, if the splits are sampled.

    Args:
        path: The root folder.
        length: Number of bytes of a file to read.
        buckets: Number of lengths T: ``length``, its half, its quarter, ...
        batch_size: B, files of a batch; 0: all training files.
        validation_fraction, test_fraction: Fractions of the files to hold out if there are no folders for them.
        seed: Seed of the order and of the sampled splits.

    Raises:
        ValueError: If the folder has another layout, a file cannot be read, or an argument is out of range.
    """
    check_arguments(seed)
    check_integer("length", length)
    check_fractions(validation_fraction, test_fraction)
    names, files, skipped = scan(path, FILES)
    shown = printable(path)
    splits = {
        name: LabeledTexts(contents(split.files, length), [names[i] for i in split.labels])
        for name, split in files.items()
    }
    fractions = {"test": test_fraction, "validation": validation_fraction}
    if "validation" in splits:
        del fractions["test"]
    splits = sample_splits(splits, fractions, seed, shown)
    return from_tokens(
        {name: Tokens(as_tokens(split.texts), split.labels, 0) for name, split in splits.items()},
        Texts(Tokenizer("byte"), length, column=""),
        batch_size=batch_size,
        buckets=buckets,
        seed=seed,
        source=shown,
        note=skipped + describe_repeated(splits),
    )


def contents(files: Sequence[str | Path], length: int) -> list[bytes]:
    """Reads the first ``length`` bytes of files.

    Raises:
        ValueError: A file cannot be read, or is not regular, such as a named pipe or a device.
    """
    check_memory(f"{len(files):,} files of {length:,} bytes", MEMORY * sum(_sizes(files, length)))
    return [_read(file, length) for file in files]


def as_tokens(contents: Sequence[bytes]) -> Ragged:
    """Returns bytes as token ids."""
    return Ragged.of([np.frombuffer(content, np.uint8) for content in contents])


def _sizes(files: Iterable[str | Path], length: int) -> Iterable[int]:
    for file in files:
        try:
            yield min(length, Path(file).stat().st_size)
        except OSError as error:
            raise ValueError(f"cannot read {printable(file)}: {error.strerror}") from error


def _read(file: str | Path, length: int) -> bytes:
    with open_data(file) as opened:
        try:
            return opened.read(length)
        except OSError as error:
            raise ValueError(f"cannot read {printable(file)}: {error.strerror}") from error
