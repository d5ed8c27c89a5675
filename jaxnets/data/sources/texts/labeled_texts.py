"""Labeled texts in CSV, TSV and JSON lines files, and in folders of text files."""

from collections.abc import Sequence

from jaxnets.data.checks import check_arguments, one_line_errors, path_of
from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.text_files import text_of
from jaxnets.data.formats.text_records import MEMORY, read_records
from jaxnets.data.inputs import Texts
from jaxnets.data.sources.class_folders import TEXTS, LabeledFiles, scan
from jaxnets.data.sources.texts.examples import (
    LabeledTexts,
    check_fractions,
    describe_repeated,
    from_tokens,
    sample_splits,
    tokenized,
)
from jaxnets.data.tokens.saved import read_tokenizer
from jaxnets.data.tokens.tokenizer import learn_tokenizer
from jaxnets.ops.checks import check_integer
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import printable


@one_line_errors
def labeled_texts(
    path: str,
    text: str = "text",
    label: str = "label",
    validation_path: str = "",
    test_path: str = "",
    unit: str = "word",
    max_tokens: int = 20_000,
    min_count: int = 1,
    lowercase: bool = False,
    tokenizer: str = "",
    max_length: int = 400,
    buckets: int = 4,
    batch_size: int = 64,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Texts with one label each, as int32 token ids ``[B, T]`` with ``lengths``.

    Files are CSV or TSV with a header, or JSON lines with one object per line, plain or gzipped. A folder has one
    folder of ``.txt`` files per class, or such folders below ``train``, ``validation`` and ``test``. A text may be
    empty.

    Splits that are not given are sampled from the training texts, stratified by class; equal texts are in one split.
    The vocabulary is that of the training split. The rows of a training batch have similar lengths and are padded to
    one of a few lengths T, each of which is compiled once.

    Args:
        path: The file or the folder.
        text: Name of the column of texts.
        label: Name of the column of labels: strings, or integers.
        validation_path: A file with the validation split; empty to sample it.
        test_path: A file with the test split; empty to sample it.
        unit: ``"word"``, ``"character"``, ``"byte"`` or ``"piece"``, as in ``Tokenizer``.
        max_tokens: Largest number of token ids, those of the most frequent tokens.
        min_count: Smallest number of occurrences of a word or character in the training split.
        lowercase: Whether texts are converted to lower case.
        tokenizer: Folder of a run on texts whose tokenizer is used, so that a model can begin with its parameters
            (``train.init_from``). Then the four arguments above are ignored. Empty: a new tokenizer.
        max_length: Largest number of tokens of a text; the rest of a longer one is cut off.
        buckets: Number of lengths T: ``max_length``, its half, its quarter, ...
        batch_size: B, rows of a batch; 0: all training rows.
        validation_fraction: Fraction of the texts in ``path`` to hold out for validation.
        test_fraction: Fraction of the texts in ``path`` for the test split, unless a validation split is given.
        seed: Seed of the order and of the sampled splits.

    Raises:
        ValueError: If a file cannot be read or lacks a column, a text is missing, a label is empty (the message names
            line and column), there is only one class, or an argument is out of range.
    """
    check_arguments(seed)
    check_integer("max_length", max_length)
    check_fractions(validation_fraction, test_fraction)
    skipped, others = "", {"validation": validation_path, "test": test_path}
    if path_of(path).is_dir():
        if any(others.values()):
            raise ValueError(
                "`validation_path` and `test_path` must be empty for a folder, which has folders of splits"
            )
        names, files, skipped = scan(path, TEXTS)
        sizes = (file.stat().st_size for split in files.values() for file in split.files)
        check_memory(printable(path), MEMORY * sum(sizes))
        splits = {name: _read_files(split, names) for name, split in files.items()}
    else:
        paths = {"train": path, **{name: given for name, given in others.items() if given}}
        splits = {name: _read_file(given, text, label) for name, given in paths.items()}
    fractions = {"test": test_fraction, "validation": validation_fraction}
    if "validation" in splits:
        del fractions["test"]
    splits = sample_splits(splits, fractions, seed, printable(path))
    if tokenizer:
        used = read_tokenizer(tokenizer)
    else:
        used = learn_tokenizer(splits["train"].texts, unit, max_tokens, min_count, lowercase)
    return from_tokens(
        {name: tokenized(used, split, max_length) for name, split in splits.items()},
        Texts(used, max_length, text, label),
        batch_size=batch_size,
        buckets=buckets,
        seed=seed,
        source=printable(path),
        note=skipped + describe_repeated(splits),
    )


def _read_file(path: str, text: str, label: str) -> LabeledTexts:
    found = read_records(path, text, label)
    assert found.labels is not None
    return LabeledTexts(found.texts, found.labels)


def _read_files(files: LabeledFiles, names: Sequence[str]) -> LabeledTexts:
    return LabeledTexts([text_of(str(file)) for file in files.files], [names[i] for i in files.labels])
