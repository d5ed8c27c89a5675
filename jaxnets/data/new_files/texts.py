"""New texts and binary files, as the token ids of the training data."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxnets.data.checks import path_of
from jaxnets.data.formats.text_files import text_of
from jaxnets.data.formats.text_records import MEMORY, read_records
from jaxnets.data.inputs import Texts
from jaxnets.data.sources.class_folders import FILES, TEXTS, classes_below, files_below
from jaxnets.data.sources.texts.buckets import Ragged
from jaxnets.data.sources.texts.byte_files import as_tokens, contents
from jaxnets.data.targets import TextClasses
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import printable

Arrays = dict[str, np.ndarray]


def read_texts(path: str, inputs: Texts) -> Arrays:
    """Reads texts, or the first bytes of binary files.

    Args:
        path: A CSV, TSV or JSON lines file with the column of texts, a ``.txt`` file with one text per line, or a
            folder of ``.txt`` files with one text each. For binary files: a file, or a folder of files.
        inputs: The preprocessing.

    Returns:
        ``inputs`` int32 ``[N, T]``, ``lengths`` int32 ``[N]``; for a folder also ``file``, the names; and if texts are
        longer than in training ``ignored``, the number of tokens of each that were left out.

    Raises:
        ValueError: The file cannot be read, lacks the column, or a text is missing. The message names the line.
    """
    if not inputs.column:
        return _of_files(files_below(path, FILES), inputs)
    if path_of(path).is_dir():
        return _of_files(files_below(path, TEXTS), inputs)
    return _tokens(read_records(path, inputs.column, None).texts, inputs)


def read_labeled_texts(path: str, inputs: Texts, spec: TextClasses) -> Arrays:
    """Reads texts as ``read_texts`` does, and ``targets``, the indices of their classes.

    Args:
        path: A CSV, TSV or JSON lines file, or a folder with one folder of files per class.
        inputs: The preprocessing.
        spec: The classes.

    Raises:
        ValueError: As in ``read_texts``, or a label is not one of the classes. The message names the line.
    """
    if not inputs.column or path_of(path).is_dir():
        classes = classes_below(path, TEXTS if inputs.column else FILES)
        targets = [_index(spec, label, f"{printable(path)}: a class folder") for label in classes]
        counts = [len(files) for files in classes.values()]
        arrays = _of_files([file for files in classes.values() for file in files], inputs)
        return {**arrays, "targets": np.repeat(np.array(targets, np.int32), counts)}
    found = read_records(path, inputs.column, inputs.label)
    labels = found.labels or []
    indices = {label: _index(spec, label, found.place(labels.index(label))) for label in dict.fromkeys(labels)}
    return {**_tokens(found.texts, inputs), "targets": np.array([indices[label] for label in labels], np.int32)}


def _index(spec: TextClasses, label: str, place: str) -> int:
    if label not in spec.names:
        names = ", ".join(printable(name, 40) for name in spec.names[:10])
        more = f" and {spec.size - 10} more" if spec.size > 10 else ""
        raise ValueError(f"{place} must be one of the classes of the run, {names}{more}, got {printable(label, 60)}")
    return spec.names.index(label)


def _of_files(files: Sequence[Path], inputs: Texts) -> Arrays:
    if inputs.column:
        check_memory(f"{len(files):,} files", MEMORY * sum(file.stat().st_size for file in files))
        arrays = _tokens([text_of(str(file)) for file in files], inputs)
    else:
        arrays = _padded(as_tokens(contents(files, inputs.max_length)))
    return {**arrays, "file": np.array([str(file) for file in files])}


def _tokens(texts: Sequence[str], inputs: Texts) -> Arrays:
    rows, ignored = [], []
    for text in texts:
        ids = inputs.tokenizer.encode(text)
        rows.append(ids[: inputs.max_length])
        ignored.append(len(ids) - len(rows[-1]))
    arrays = _padded(Ragged.of(rows))
    return {**arrays, "ignored": np.array(ignored)} if any(ignored) else arrays


def _padded(rows: Ragged) -> Arrays:
    length = max(1, int(rows.lengths.max(initial=0)))
    check_memory(f"{len(rows):,} texts of {length:,} tokens", 4 * len(rows) * length)
    return {"inputs": rows.padded(np.arange(len(rows)), length), "lengths": rows.lengths}
