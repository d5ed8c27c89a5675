"""Datasets of a user's file with targets, for the evaluation of a trained run."""

import numpy as np

from jaxnets.data import Dataset, Vocabulary, in_order, preprocess, read_labeled, read_pairs
from jaxnets.data.sources.pairs import pair_arrays
from jaxnets.data.sources.parts import digest
from jaxnets.training import restore, rundir
from jaxnets.training.errors import UsageError
from jaxnets.training.prediction.files import read_streams

SPLIT = "file"


def dataset(run: restore.Run, path: str) -> Dataset:
    """Reads a file as a dataset with the split ``file``, in batches with the shapes of the run's batches.

    Args:
        run: The run, which determines the format and the preprocessing of the file.
        path: A file of the same kind as the run's data: npz with targets ``y``, CSV with the target columns, an image
            folder with one subfolder per class, a text, or pairs of texts.

    Raises:
        UsageError: The file cannot be read, a row is malformed, or a target does not occur in the run's spec.
    """
    shapes = rundir.data(run.workdir)[1]
    rows = next(iter(shapes.values())).shape[0]
    num_excluded = 0
    try:
        if isinstance(run.spec, Vocabulary) and "target_lengths" in shapes:
            found = read_pairs(path, tuple(run.config.data.get("columns", (0, 1))))
            arrays = pair_arrays(found, run.spec, shapes["targets"].shape[1])
            num_excluded = len(found) - len(arrays["inputs"])
        elif isinstance(run.spec, Vocabulary):
            tokens, batches = read_streams(path, run.spec, rows, shapes["inputs"].shape[1])
            return Dataset({SPLIT: batches}, run.spec, digest([{"tokens": tokens}]), f"{path}: {len(tokens):,} tokens")
        else:
            inputs = run.inputs()
            arrays = preprocess(inputs, read_labeled(path, inputs, run.spec), shapes)
            arrays.setdefault("mask", np.ones(len(arrays["inputs"]), bool))
    except ValueError as error:
        raise UsageError(f"--data: {error}") from error
    if missing := sorted(shapes.keys() - arrays.keys()):
        raise UsageError(
            f"--data must not be used with this run: its task needs {', '.join(missing)}, which files do not have"
        )
    arrays = {name: arrays[name] for name in shapes}
    batches = in_order(arrays, rows)
    excluded = f", without {num_excluded:,} that are longer than in training" if num_excluded else ""
    return Dataset({SPLIT: batches}, run.spec, digest([arrays]), f"{path}: {len(arrays['inputs']):,} rows{excluded}")
