"""Batches of examples as grain pipelines: endless and shuffled for training, in order for evaluation.

A batch is a dict of arrays whose first axis is B: ``inputs`` float32, or uint8 ``[B, H, W, C]`` for images;
``targets``, if there are any; ``mask`` bool, False in the padding of the last batch; ``lengths`` int32 if rows are
ragged; ``width`` int32 if a row is the pixels of an image.
"""

import sys
from collections.abc import Mapping
from typing import Any

import grain
import numpy as np
from grain.experimental import index_shuffle

from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import SelectRows

Batch = dict[str, np.ndarray]
Arrays = Mapping[str, Any]  # all examples: arrays, or objects that are indexed like arrays


def shuffled(
    arrays: Arrays, batch_size: int, seed: int, rows: np.ndarray | None = None, select_rows: SelectRows = np.arange
) -> grain.MapDataset:
    """Returns endless batches, reshuffled in each epoch.

    Args:
        arrays: All examples.
        batch_size: B.
        seed: Seed of the order.
        rows: Indices of the examples to use; None uses all.
        select_rows: Maps ``batch_size`` to the indices of the rows of a batch to read.

    Raises:
        ValueError: If there are fewer examples than a batch.
    """
    check_arguments(seed, batch_size=batch_size)
    rows = np.arange(len(arrays["inputs"])) if rows is None else rows
    if len(rows) < batch_size:
        raise ValueError(
            f"the training examples must fill at least one batch of {batch_size}, got {len(rows)} "
            "(a smaller --config.data.batch_size helps)"
        )
    count = len(rows)

    def batch_at(step: int) -> Batch:
        # As range(count).shuffle(seed).repeat().batch(batch_size), whose cost per row exceeds that of reading it.
        positions = step * batch_size + select_rows(batch_size)
        epochs, places = (each.tolist() for each in np.divmod(positions, count))
        order = [
            index_shuffle(place, max_index=count - 1, seed=(seed + epoch) % 2**32, rounds=4)
            for epoch, place in zip(epochs, places, strict=True)
        ]
        chosen = rows[order]
        return {name: array[chosen] for name, array in arrays.items()}

    return grain.MapDataset.range(sys.maxsize // batch_size).map(batch_at)


def in_order(
    arrays: Arrays, batch_size: int, rows: np.ndarray | None = None, select_rows: SelectRows = np.arange
) -> grain.MapDataset:
    """Returns all examples once, in order; the last batch is padded with masked examples.

    Args:
        arrays: All examples.
        batch_size: B. Batches are smaller if there are fewer examples.
        rows: Indices of the examples to use; None uses all.
        select_rows: Maps the batch size to the indices of the rows of a batch to read.
    """
    check_arguments(0, batch_size=batch_size)
    rows = np.arange(len(arrays["inputs"])) if rows is None else rows
    count = len(rows)
    batch_size = max(1, min(batch_size, count))

    def batch_at(step: int) -> Batch:
        positions = step * batch_size + select_rows(batch_size)
        batch = {name: array[rows[np.minimum(positions, count - 1)]] for name, array in arrays.items()}  # copies
        batch["mask"][positions >= count] = False
        return batch

    return grain.MapDataset.range(-(-count // batch_size)).map(batch_at)
