"""Input and output files of predictions."""

import sys
from pathlib import Path
from typing import Any

import grain
import numpy as np

from jaxnets.data import Vocabulary, read_inputs
from jaxnets.data.formats.npz import npz_of, read_arrays
from jaxnets.data.formats.text_files import text_of
from jaxnets.data.inputs import SentenceWords
from jaxnets.data.new_files.words import continues, read_words
from jaxnets.data.sources.sequences import once
from jaxnets.ops.host.files import write_atomically
from jaxnets.reports import Table, Text
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.prediction.predictor import Predictor
from jaxnets.training.prediction.tagged_words import to_conll, with_words
from jaxnets.training.reporting import artifacts

CONLL = ".conll"
MAX_COLUMNS = 1000  # limit of a CSV file of arrays
LABELS = ("file", "series", "ignored")  # arrays of raw inputs that describe the rows


def read(path: str, predictor: Predictor) -> dict[str, np.ndarray]:
    """Reads the raw arrays of a file or folder. The first axis of every array is rows.

    Raises:
        UsageError: The file cannot be read, or a row is malformed.
    """
    try:
        if predictor.read is not None:
            return predictor.read(text_of(path))
        if isinstance(predictor.spec, Vocabulary) and set(predictor.reads) <= {"inputs", "targets", "mask"}:
            return _tokens(path, predictor)
        if predictor.inputs is not None:
            return _noted(read_inputs(path, predictor.inputs))
        return _arrays(path, predictor)
    except ValueError as error:
        raise UsageError(f"--input: {error}") from error


def _noted(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Prints how many texts are longer than in training."""
    if "ignored" in arrays:
        cut = np.count_nonzero(arrays["ignored"])
        texts = "1 text is" if cut == 1 else f"{cut:,} texts are"
        print(f"{texts} longer than in training; the column `ignored` counts the other tokens", file=sys.stderr)
    return arrays


def _arrays(path: str, predictor: Predictor) -> dict[str, np.ndarray]:
    """Reads arrays with the shapes of the run's batches."""
    needed = {name: like for name, like in predictor.shapes.items() if name in predictor.reads}
    found = read_arrays(path, tuple(needed or predictor.reads))
    count = len(found["inputs"])
    for name, like in needed.items():
        num_named = len(predictor.reads[name])
        if found[name].ndim != len(like.shape) or found[name].shape[num_named:] != like.shape[num_named:]:
            sizes = ", ".join(map(str, (*predictor.reads[name], *like.shape[num_named:])))
            raise ValueError(f"{path}: {name} must be [{sizes}], got shape {found[name].shape}")
        if len(found[name]) != count:
            raise ValueError(f"{path}: {name} must have {count:,} rows like inputs, got {len(found[name]):,}")
    return found


def read_streams(path: str, vocabulary: Vocabulary, rows: int, seq_len: int) -> tuple[np.ndarray, grain.MapDataset]:
    """Returns the tokens of a text file, and batches of token streams: each row continues in the next batch."""
    tokens = vocabulary.encode(text_of(path, vocabulary.unit))
    if len(tokens) < 2:
        raise ValueError(f"{path} must have at least 2 {vocabulary.unit}s, got {len(tokens)}")
    return tokens, once(tokens, rows, seq_len)


def _tokens(path: str, predictor: Predictor) -> dict[str, np.ndarray]:
    """Reads the tokens of a text, as streams over steps if the endpoint has a step axis, else as windows."""
    rows, length = predictor.shapes["inputs"].shape
    if "step" in predictor.reads["inputs"]:
        _, batches = read_streams(path, predictor.spec, rows, length)
        steps = [batches[i] for i in range(len(batches))]
        return {name: np.stack([batch[name] for batch in steps], axis=1) for name in predictor.reads}
    tokens = predictor.spec.encode(text_of(path, predictor.spec.unit))
    count = len(tokens) // length
    if not count:
        raise ValueError(f"{path} must have at least {length} {predictor.spec.unit}s for one window, got {len(tokens)}")
    if left := len(tokens) - count * length:
        print(f"the last {left:,} {predictor.spec.unit}s are ignored: a window has {length}", file=sys.stderr)
    return {"inputs": tokens[: count * length].reshape(count, length)}


def check(output: Path, arrays: dict[str, np.ndarray], present: dict[str, Any] | None) -> None:
    """Raises a ``UsageError`` if predictions such as these cannot be written to this kind of file."""
    found = () if present is None else tuple(present.values())
    if output.suffix == CONLL and not (present or {}).keys() & {"tags"}:
        raise UsageError(f"--output must not end with .conll for predictions that are not tags of words, got {output}")
    if output.suffix == ".txt" and not any(isinstance(each, Text) for each in found):
        raise UsageError(f"--output must end with .csv or .npz for predictions that are not text, got {output}")
    if output.suffix == ".csv" and not any(isinstance(each, Table) for each in found):
        columns = sum(array[0].size for array in arrays.values())
        if columns > MAX_COLUMNS:
            raise UsageError(
                f"--output must end with .npz for more than {MAX_COLUMNS:,} columns, got .csv for {columns:,} columns"
            )


def write(
    output: Path,
    arrays: dict[str, np.ndarray],
    present: dict[str, Any] | None,
    first: int,
    labels: dict[str, np.ndarray] | None = None,
    words: tuple[list[list[str]], list[bool]] | None = None,
) -> None:
    """Writes predictions to a file or folder.

    Args:
        output: A file ``.npz`` of arrays, ``.csv`` of a table, ``.txt`` of a text or ``.conll`` of tagged words, else a
            folder for all artifacts.
        arrays: The arrays by name.
        present: The artifacts by name, or None if the predictions are only arrays.
        first: The index of the first row.
        labels: Descriptions of the rows: ``file [N]`` or ``series [N]``, their names, ``ignored [N]``, the numbers of
            tokens that were left out, and ``times [N, H]``, the times of the steps of forecasts.
        words: For tags, the words of each row, and whether it continues the sentence of the row before.

    Raises:
        RunError: The output cannot be written.
    """
    if words is not None and present is not None:
        tags, present = present["tags"], {**present, "tags": with_words(present["tags"], words[0])}
    presented = {} if present is None else {name: _labeled(each, first, labels or {}) for name, each in present.items()}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.suffix == ".npz":
            write_atomically(output, npz_of(arrays))
        elif output.suffix == ".csv":
            tables = [each for each in presented.values() if isinstance(each, Table)]
            write_atomically(output, artifacts.to_csv(tables[0] if tables else _table(arrays, first)))
        elif output.suffix == CONLL and words is not None:
            write_atomically(output, to_conll(tags, *words))
        elif output.suffix == ".txt":
            write_atomically(output, next(each.text for each in presented.values() if isinstance(each, Text)) + "\n")
        else:
            output.mkdir(exist_ok=True)
            write_atomically(output / "outputs.npz", npz_of(arrays))
            for name, artifact in presented.items():
                artifacts.write(output, name, artifact)
    except OSError as error:
        raise RunError(f"cannot write to {output}: {error.strerror}") from error


def words(path: str, predictor: Predictor, begin: int, end: int) -> tuple[list[list[str]], list[bool]] | None:
    """Returns the words of each row, and whether it continues the sentence of the row before; None for other inputs."""
    if not isinstance(predictor.inputs, SentenceWords):
        return None
    found = read_words(path, predictor.inputs)
    return found.words[begin:end], continues(path, predictor.inputs)[begin:end]


def _labeled(artifact: Any, first: int, labels: dict[str, np.ndarray]) -> Any:
    """Renumbers the rows of a table from ``first``, adds their names, and replaces steps by times."""
    if not isinstance(artifact, Table) or artifact.columns[0] != "row":
        return artifact
    names = [name for name in LABELS if name in labels]
    has_times = "times" in labels and artifact.columns[1] == "step"

    def labeled(row: tuple) -> tuple:
        rest = (str(labels["times"][row[0], row[1] - 1]), *row[2:]) if has_times else row[1:]
        return (row[0] + first, *(labels[name][row[0]].item() for name in names), *rest)

    rest = ("time", *artifact.columns[2:]) if has_times else artifact.columns[1:]
    return Table(("row", *names, *rest), [labeled(row) for row in artifact.rows])


def _table(arrays: dict[str, np.ndarray], first: int) -> Table:
    """Returns a table with one column for each number of a row, such as ``means[0,1]``."""
    columns: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        for index in np.ndindex(array.shape[1:]):
            suffix = f"[{','.join(map(str, index))}]" if index else ""
            columns[f"{name}{suffix}"] = array[(slice(None), *index)]
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return Table(("row", *columns), [(first + i, *row) for i, row in enumerate(values)])
