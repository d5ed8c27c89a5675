"""Prediction of rows batch by batch, without recomputing saved batches."""

from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from jaxnets.training.prediction.predictor import Predictor, named
from jaxnets.training.prediction.saved_batches import SavedBatches

Check = Callable[[dict[str, np.ndarray]], None]


def compute(
    predictor: Predictor,
    arrays: dict[str, np.ndarray],
    begin: int,
    end: int,
    batch_size: int,
    saved: SavedBatches,
    check: Check,
) -> dict[str, np.ndarray]:
    """Computes the outputs of the rows ``begin`` to ``end - 1``.

    Args:
        predictor: The predictor.
        arrays: Raw arrays. The first axis of every array is rows.
        begin: The first row.
        end: The row after the last one.
        batch_size: Rows per call. The last batch repeats its last row, so that all batches have the same shape.
        saved: The storage of the outputs of every batch.
        check: A function that is called with the outputs of the first batch and may raise an error.

    Returns:
        The outputs by name.

    Raises:
        ValueError: The arrays do not match the model.
    """

    def rows(first: int) -> dict[str, np.ndarray]:
        at = np.minimum(np.arange(first, first + batch_size), end - 1)
        return {name: array[at] for name, array in arrays.items()}

    starts = range(begin, end, batch_size)
    for first in tqdm(starts, unit="batch", leave=False, disable=None):
        if first not in saved:
            computed = named(predictor.call(rows(first)))
            computed = {name: array[: end - first] for name, array in computed.items()}
            if first == begin:
                check(computed)
            saved.save(first, computed)
    found = [saved.read(first) for first in starts]
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}
