"""Classes of the tokens of Python sources: tagged sentences without files of the user."""

from pathlib import Path

from jaxnets.data.checks import check_arguments, check_fraction, one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.encodings import decode_text
from jaxnets.data.formats.conll import Sentences
from jaxnets.data.formats.limited_text import read_text
from jaxnets.data.formats.text_files import find, standard_library
from jaxnets.data.sources.parts import random_split
from jaxnets.data.sources.tagging.datasets import from_sentences
from jaxnets.data.sources.tagging.python_classes import tagged_lines
from jaxnets.ops.checks import check_integer
from jaxnets.ops.host.printable import printable

MAX_SOURCE = 2**24  # bytes of a file


@one_line_errors
def python_tokens(
    path: str = "",
    modules: int = 120,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    batch_size: int = 32,
    vocab_size: int = 20_000,
    min_count: int = 2,
    max_length: int = 32,
    max_characters: int = 12,
    seed: int = 0,
) -> Dataset:
    """Tokens of Python sources with their classes, such as the name of a function, an attribute or a parameter.

    A sentence is a logical line. The classes are those of ``python_classes.CLASSES``, by the module ``tokenize`` and
    the tokens around a name; most names have several of them. Batches are as in ``tagged_sentences``. Each module
    belongs to one split. Files that are not Python are counted and skipped.

    Args:
        path: A folder of Python sources, or "" for the standard library.
        modules: Largest number of files, sampled by the seed.
        validation_fraction, test_fraction: Fractions of the modules to hold out.
        batch_size, vocab_size, min_count, max_length, max_characters: As in ``tagged_sentences``.
        seed: Seed of the modules, of the order and of the held-out modules.

    Raises:
        ValueError: There are fewer than three files, or an argument is out of range.
    """
    check_arguments(seed, validation_fraction, batch_size=batch_size, max_length=max_length, min_count=min_count)
    check_integer("vocab_size", vocab_size, minimum=2)
    check_integer("modules", modules, minimum=3)
    check_integer("max_characters", max_characters, minimum=0)
    check_fraction("test_fraction", test_fraction)
    if test_fraction >= 1 - validation_fraction:
        raise ValueError(f"`test_fraction` must be less than {1 - validation_fraction:g}, got {test_fraction}")
    files = [file for file in find(path).files if file.suffix == ".py"] if path else standard_library()
    sample = random_split(len(files), {"chosen": min(1.0, modules / max(len(files), 1))}, seed)["chosen"]
    parsed = [sentences for i in sample if (sentences := _parsed(files[i])) is not None and sentences.words]
    shown = printable(path) if path else "Python standard library"
    rows = random_split(len(parsed), {"validation": validation_fraction, "test": test_fraction}, seed)
    splits = {name: _joined([parsed[i] for i in rows[name]]) for name in ("train", "validation", "test")}
    skipped = len(sample) - len(parsed)
    return from_sentences(
        shown,
        splits,
        scheme="none",
        target_scheme="none",
        max_length=max_length,
        max_characters=max_characters,
        vocab_size=vocab_size,
        min_count=min_count,
        lowercase=False,
        batch_size=batch_size,
        seed=seed,
        kind="python",
        note=f"; {len(parsed):,} modules" + (f", {skipped:,} skipped" if skipped else ""),
    )


def read_python(path: str) -> Sentences:
    """Reads the logical lines of a Python source, as ``python_classes.tagged_lines``.

    Raises:
        ValueError: The file cannot be read, has no token or cannot be tokenized.
    """
    try:
        found = tagged_lines(read_text(path, MAX_SOURCE))
    except ValueError as error:
        raise ValueError(f"{printable(path)}: {error}") from error
    if not found.words:
        raise ValueError(f"{printable(path)} must have at least one line of Python, got none")
    return found


def _parsed(file: Path) -> Sentences | None:
    """Returns the lines of a source; None if it is not Python in UTF-8."""
    try:
        return tagged_lines(decode_text(file.read_bytes(), file))
    except (OSError, ValueError):
        return None


def _joined(parts: list[Sentences]) -> Sentences:
    joined = Sentences([], [], [])
    for part in parts:
        joined.words.extend(part.words)
        joined.tags.extend(part.tags)
        joined.lines.extend(part.lines)
    return joined
