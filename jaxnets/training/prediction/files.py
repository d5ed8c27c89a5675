"""The user's files that a model is applied to, and those that predictions are written to."""

import sys
from pathlib import Path
from typing import Any

import grain
import numpy as np

from jaxnets.data import Vocabulary, read_inputs
from jaxnets.data.formats.npz import npz_of, read_arrays
from jaxnets.data.formats.text_files import text_of
from jaxnets.data.sources.sequences import once
from jaxnets.ops.files import write_atomically
from jaxnets.reports import Table, Text
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.prediction.predictor import Predictor
from jaxnets.training.reporting import artifacts

MAX_COLUMNS = 1000  # of a CSV file of arrays


def read(path: str, predictor: Predictor) -> dict[str, np.ndarray]:
    """The raw arrays in a file or folder, rows first.

    Raises:
        UsageError: It cannot be read, or a row is malformed, which one.
    """
    try:
        if predictor.read is not None:
            return predictor.read(text_of(path))
        if isinstance(predictor.spec, Vocabulary) and set(predictor.reads) <= {"inputs", "targets", "mask"}:
            return _tokens(path, predictor)
        if predictor.inputs is not None:
            return read_inputs(path, predictor.inputs)
        return _arrays(path, predictor)
    except ValueError as error:
        raise UsageError(f"--input: {error}") from error


def _arrays(path: str, predictor: Predictor) -> dict[str, np.ndarray]:
    """Arrays as batches of the run have them."""
    needed = {name: like for name, like in predictor.shapes.items() if name in predictor.reads}
    found = read_arrays(path, tuple(needed or predictor.reads))
    count = len(found["inputs"])
    for name, like in needed.items():
        own = len(predictor.reads[name])
        if found[name].ndim != len(like.shape) or found[name].shape[own:] != like.shape[own:]:
            sizes = ", ".join(map(str, (*predictor.reads[name], *like.shape[own:])))
            raise ValueError(f"{path}: {name} must be [{sizes}], got shape {found[name].shape}")
        if len(found[name]) != count:
            raise ValueError(f"{path}: {name} must have {count:,} rows as inputs has, got {len(found[name]):,}")
    return found


def streams(path: str, vocabulary: Vocabulary, rows: int, seq_len: int) -> tuple[np.ndarray, grain.MapDataset]:
    """The tokens of a text file, and batches of them in order, whose rows go on from batch to batch."""
    tokens = vocabulary.encode(text_of(path, vocabulary.unit))
    if len(tokens) < 2:
        raise ValueError(f"{path} must have at least 2 {vocabulary.unit}s, got {len(tokens)}")
    return tokens, once(tokens, rows, seq_len)


def _tokens(path: str, predictor: Predictor) -> dict[str, np.ndarray]:
    """A text's tokens, as rows of a batch that go on from step to step, or as windows."""
    rows, length = predictor.shapes["inputs"].shape
    if "step" in predictor.reads["inputs"]:
        _, batches = streams(path, predictor.spec, rows, length)
        steps = [batches[i] for i in range(len(batches))]
        return {name: np.stack([batch[name] for batch in steps], axis=1) for name in predictor.reads}
    tokens = predictor.spec.encode(text_of(path, predictor.spec.unit))
    count = len(tokens) // length
    if not count:
        raise ValueError(f"{path} must have at least {length} {predictor.spec.unit}s, one window, got {len(tokens)}")
    if left := len(tokens) - count * length:
        print(f"the last {left:,} {predictor.spec.unit}s fill no window of {length} and are left out", file=sys.stderr)
    return {"inputs": tokens[: count * length].reshape(count, length)}


def check(output: Path, arrays: dict[str, np.ndarray], present: dict[str, Any] | None) -> None:
    """A ``UsageError`` where predictions such as these, of some rows, cannot be written to a file of this kind."""
    kept = () if present is None else tuple(present.values())
    if output.suffix == ".txt" and not any(isinstance(each, Text) for each in kept):
        raise UsageError(f"--output={output} must end with .csv or .npz: these predictions are no text")
    if output.suffix == ".csv" and not any(isinstance(each, Table) for each in kept):
        columns = sum(array[0].size for array in arrays.values())
        if columns > MAX_COLUMNS:
            raise UsageError(f"--output must end with .npz, got .csv, for {columns:,} columns, above {MAX_COLUMNS:,}")


def write(
    output: Path, arrays: dict[str, np.ndarray], present: dict[str, Any] | None, first: int, names: Any = ()
) -> None:
    """Writes predictions: ``.npz`` arrays, ``.csv`` a table, ``.txt`` a text, else a folder of all artifacts.

    Args:
        output: The file or folder.
        arrays: By name.
        present: Artifacts by name; None: there are none beside the arrays.
        first: Number of the first row.
        names: Of the file of each row, where rows are files.

    Raises:
        RunError: It cannot be written.
    """
    kept = {} if present is None else {name: _numbered(each, first, names) for name, each in present.items()}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.suffix == ".npz":
            write_atomically(output, npz_of(arrays))
        elif output.suffix == ".csv":
            tables = [each for each in kept.values() if isinstance(each, Table)]
            write_atomically(output, artifacts.csv_of(tables[0] if tables else _table(arrays, first)))
        elif output.suffix == ".txt":
            write_atomically(output, next(each.text for each in kept.values() if isinstance(each, Text)) + "\n")
        else:
            output.mkdir(exist_ok=True)
            write_atomically(output / "outputs.npz", npz_of(arrays))
            for name, artifact in kept.items():
                artifacts.write(output, name, artifact)
    except OSError as error:
        raise RunError(f"cannot write to {output}: {error.strerror}") from error


def _numbered(artifact: Any, first: int, names: Any) -> Any:
    """A table whose rows are numbered from ``first`` on, in place of 0, and have the names of their files."""
    if not isinstance(artifact, Table) or artifact.columns[0] != "row":
        return artifact
    named = [(row[0] + first, *([str(names[row[0]])] if len(names) else []), *row[1:]) for row in artifact.rows]
    columns = ("row", "file", *artifact.columns[1:]) if len(names) else artifact.columns
    return Table(columns, named)


def _table(arrays: dict[str, np.ndarray], first: int) -> Table:
    """Arrays as columns, those of more than one number a row with their places: ``means[0,1]``."""
    columns: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        for place in np.ndindex(array.shape[1:]):
            where = f"[{','.join(map(str, place))}]" if place else ""
            columns[f"{name}{where}"] = array[(slice(None), *place)]
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return Table(("row", *columns), [(first + i, *row) for i, row in enumerate(values)])
