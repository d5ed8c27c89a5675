"""A user's file with targets as a dataset, to evaluate a trained run on."""

import numpy as np

from jaxnets.data import Dataset, Vocabulary, in_order, preprocess, read_labeled, read_pairs
from jaxnets.data.sources.pairs import pair_arrays
from jaxnets.data.sources.parts import digest
from jaxnets.training import restore, rundir
from jaxnets.training.errors import UsageError
from jaxnets.training.prediction.files import streams

SPLIT = "file"


def dataset(run: restore.Run, path: str) -> Dataset:
    """The rows of a file in batches like those of the run, as the split ``file``.

    Args:
        run: Says how the file is read and preprocessed.
        path: npz with targets ``y``, CSV with the target columns, a folder of images with a folder for each class, a
            text, or pairs of texts, as the run's data were.

    Raises:
        UsageError: It cannot be read, a row is malformed, or a target is none of the run's.
    """
    shapes = rundir.data(run.workdir)[1]
    rows = next(iter(shapes.values())).shape[0]
    left_out = 0
    try:
        if isinstance(run.spec, Vocabulary) and "target_lengths" in shapes:
            found = read_pairs(path, tuple(run.config.data.get("columns", (0, 1))))
            arrays = pair_arrays(found, run.spec, shapes["targets"].shape[1])
            left_out = len(found) - len(arrays["inputs"])
        elif isinstance(run.spec, Vocabulary):
            tokens, batches = streams(path, run.spec, rows, shapes["inputs"].shape[1])
            return Dataset({SPLIT: batches}, run.spec, digest([{"tokens": tokens}]), f"{path}: {len(tokens):,} tokens")
        else:
            inputs = run.inputs()
            arrays = preprocess(inputs, read_labeled(path, inputs, run.spec), shapes)
            arrays["mask"] = np.ones(len(arrays["inputs"]), bool)
    except ValueError as error:
        raise UsageError(f"--data: {error}") from error
    if missing := sorted(shapes.keys() - arrays.keys()):
        raise UsageError(f"--data: the task of this run needs {', '.join(missing)}, which files do not have")
    arrays = {name: arrays[name] for name in shapes}
    batches = in_order(arrays, rows)
    more = f", and {left_out:,} that are longer than those of training left out" if left_out else ""
    return Dataset({SPLIT: batches}, run.spec, digest([arrays]), f"{path}: {len(arrays['inputs']):,} rows{more}")
