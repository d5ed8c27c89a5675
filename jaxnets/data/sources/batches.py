"""Batches of examples as grain pipelines: shuffled without end to learn from, in order to measure.

A batch is a dict of arrays that begin with B: ``inputs`` float32, or uint8 ``[B, H, W, C]`` where they are images,
``targets``, where there are any, ``mask`` bool (False fills up the last batch), ``lengths`` int32 where the rows are
ragged, and ``width`` int32 where a row is the pixels of an image.
"""

from collections.abc import Mapping
from typing import Any

import grain
import numpy as np

from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import RowsOf

Batch = dict[str, np.ndarray]
Arrays = Mapping[str, Any]  # all examples: arrays, or what is indexed like them


def shuffled(
    arrays: Arrays, batch_size: int, seed: int, rows: np.ndarray | None = None, part: RowsOf = np.arange
) -> grain.MapDataset:
    """Endless batches in an order shuffled anew each epoch.

    Args:
        arrays: All examples.
        batch_size: B.
        seed: Of the order.
        rows: Numbers of those to take; None: all.
        part: ``count -> numbers``, which rows of a batch are read.

    Raises:
        ValueError: There are fewer examples than a batch.
    """
    check_arguments(seed, batch_size=batch_size)
    taken = np.arange(len(arrays["inputs"])) if rows is None else rows
    if len(taken) < batch_size:
        raise ValueError(f"too few examples: {len(taken)} to learn from, fewer than one batch of {batch_size}")
    places = grain.MapDataset.range(len(taken)).shuffle(seed=seed).repeat().batch(batch_size, drop_remainder=True)
    return places.map(lambda at: {name: array[taken[at[part(batch_size)]]] for name, array in arrays.items()})


def in_order(
    arrays: Arrays, batch_size: int, rows: np.ndarray | None = None, part: RowsOf = np.arange
) -> grain.MapDataset:
    """All examples once, in order, or those of ``rows``; the last batch is filled up with masked ones.

    Of each batch, the rows of ``part`` are read.
    """
    check_arguments(0, batch_size=batch_size)
    taken = np.arange(len(arrays["inputs"])) if rows is None else rows
    count = len(taken)
    batch_size = max(1, min(batch_size, count))

    def of_step(step: int) -> Batch:
        at = step * batch_size + part(batch_size)
        found = {name: array[taken[np.minimum(at, count - 1)]] for name, array in arrays.items()}  # copies
        found["mask"][at >= count] = False
        return found

    return grain.MapDataset.range(-(-count // batch_size)).map(of_step)
