"""Endless shuffled batches whose rows are drawn again in each epoch."""

import functools
import sys
from collections.abc import Callable

import grain
import numpy as np

from jaxnets.data.dataset import SelectRows
from jaxnets.data.sources.batches import Batch

Rows = Callable[[np.ndarray], Batch]  # from the indices of rows to a batch


def endless(
    rows_of_epoch: Callable[[int], Rows],
    count: int,
    batch_size: int,
    seed: int,
    select_rows: SelectRows = np.arange,
) -> grain.MapDataset:
    """Returns endless batches, each a pure function of the seed and the step.

    ``sources.batches.shuffled`` computes the place of every row in pure Python. Here an epoch has millions of small
    rows, so its permutation is computed once.

    Args:
        rows_of_epoch: Returns the rows of an epoch, such as its random windows. The last two epochs are kept.
        count: Number of rows of an epoch.
        batch_size: B.
        seed: Seed of the order.
        select_rows: Maps ``batch_size`` to the indices of the rows of a batch to read.
    """

    @functools.lru_cache(2)
    def epoch_of(epoch: int) -> tuple[Rows, np.ndarray]:
        return rows_of_epoch(epoch), np.random.default_rng((seed, epoch, 1)).permutation(count)

    def batch_at(step: int) -> Batch:
        epochs, places = np.divmod(step * batch_size + select_rows(batch_size), count)
        parts = []
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            rows, order = epoch_of(epoch)
            parts.append(rows(order[places[epochs == epoch]]))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return grain.MapDataset.range(sys.maxsize // batch_size).map(batch_at)


def once(rows: Rows, count: int, batch_size: int, select_rows: SelectRows = np.arange) -> grain.MapDataset:
    """Returns all rows once, in order. The rows after the last one are indexed by ``count``."""
    batch_size = max(1, min(batch_size, count))
    number = -(-count // batch_size)
    return grain.MapDataset.range(number).map(
        lambda step: rows(np.minimum(step * batch_size + select_rows(batch_size), count))
    )
