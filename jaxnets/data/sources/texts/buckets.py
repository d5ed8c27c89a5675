"""Batches of rows of similar length, padded to one of a few lengths, so that a model is compiled a few times only."""

import dataclasses
import functools
import sys
from collections.abc import Mapping
from typing import NamedTuple

import grain
import numpy as np

from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import SelectRows
from jaxnets.data.sources.batches import Batch
from jaxnets.ops.checks import check_integer


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Rows of different lengths, without padding.

    Attributes:
        values: All rows, one after another, ``[sum of lengths, ...]``.
        lengths: int32 ``[N]``.
    """

    values: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    @functools.cached_property
    def begins(self) -> np.ndarray:
        """Positions of the first elements of the rows, int64 ``[N]``."""
        return np.cumsum(self.lengths, dtype=np.int64) - self.lengths

    @classmethod
    def of(cls, rows: list[np.ndarray], dtype: type = np.int32) -> "Ragged":
        """Joins rows."""
        lengths = np.array([len(row) for row in rows], np.int32)
        return cls(np.concatenate([np.empty(0, dtype), *rows]).astype(dtype, copy=False), lengths)

    def padded(self, rows: np.ndarray, length: int) -> np.ndarray:
        """Returns rows padded with zeros, ``[len(rows), length, ...]``; none may be longer than ``length``."""
        valid = np.arange(length) < self.lengths[rows, None]
        result = np.zeros((len(rows), length, *self.values.shape[1:]), self.values.dtype)
        result[valid] = self.values[(self.begins[rows, None] + np.arange(length))[valid]]
        return result


class Plan(NamedTuple):
    """The batches of an epoch.

    Attributes:
        rows: int64 ``[batches, B]``, indices of rows.
        lengths: int64 ``[batches]``, T of each batch.
        rest: Rows that do not fill a batch, int64 ``[fewer than B]``.
    """

    rows: np.ndarray
    lengths: np.ndarray
    rest: np.ndarray


def bucket_lengths(max_length: int, buckets: int) -> tuple[int, ...]:
    """Returns the lengths to which batches are padded: ``max_length``, its half, its quarter, ..., ascending.

    Raises:
        ValueError: If an argument is not a positive integer.
    """
    check_integer("max_length", max_length)
    check_integer("buckets", buckets)
    return tuple(sorted({-(-max_length // 2**power) for power in range(min(buckets, 32))}))


def plan(order: np.ndarray, row_lengths: np.ndarray, lengths: tuple[int, ...], batch_size: int) -> Plan:
    """Cuts rows into batches of rows of the same bucket, in ascending order of T.

    Rows that do not fill a batch of their bucket belong to the next longer one.

    Args:
        order: Indices of rows; within a bucket, they stay in this order.
        row_lengths: Lengths of all rows.
        lengths: Ascending lengths of the buckets.
        batch_size: B.
    """
    bucket = np.searchsorted(lengths, row_lengths[order])
    rest = order[:0]
    rows, sizes = [order[:0].reshape(0, batch_size)], [np.empty(0, np.int64)]
    for index, length in enumerate(lengths):
        here = np.concatenate([rest, order[bucket == index]])
        full = len(here) // batch_size
        rows.append(here[: full * batch_size].reshape(full, batch_size))
        sizes.append(np.full(full, length))
        rest = here[full * batch_size :]
    return Plan(np.concatenate(rows), np.concatenate(sizes), rest)


def bucketed(
    arrays: Mapping[str, np.ndarray | Ragged],
    batch_size: int,
    seed: int,
    lengths: tuple[int, ...],
    select_rows: SelectRows = np.arange,
) -> grain.MapDataset:
    """Returns endless batches of rows of similar length, in random order.

    An epoch uses every row at most once: ``N % batch_size`` rows, other ones in each epoch, are left out. Batches are
    a pure function of seed and step.

    Args:
        arrays: All examples; the lengths of ``inputs``, which are ``Ragged``, determine the buckets.
        batch_size: B.
        seed: Seed of the order.
        lengths: Ascending lengths T of batches; the last one is at least that of the longest row.
        select_rows: Maps ``batch_size`` to the indices of the rows of a batch to read.

    Raises:
        ValueError: If there are fewer examples than a batch.
    """
    check_arguments(seed, batch_size=batch_size)
    row_lengths = _row_lengths(arrays)
    count = len(row_lengths)
    if count < batch_size:
        raise ValueError(
            f"the training examples must fill at least one batch of {batch_size}, got {count} "
            "(a smaller --config.data.batch_size helps)"
        )
    per_epoch = count // batch_size

    @functools.lru_cache(maxsize=2)
    def epoch_plan(epoch: int) -> Plan:
        random = np.random.default_rng((seed, epoch))
        order = random.permutation(count)[: per_epoch * batch_size]
        cut = plan(order, row_lengths, lengths, batch_size)
        mixed = random.permutation(per_epoch)
        return Plan(cut.rows[mixed], cut.lengths[mixed], cut.rest)

    def batch_at(step: int) -> Batch:
        epoch, index = divmod(step, per_epoch)
        here = epoch_plan(epoch)
        return _batch(arrays, here.rows[index][select_rows(batch_size)], int(here.lengths[index]))

    return grain.MapDataset.range(sys.maxsize // batch_size).map(batch_at)


def bucketed_once(
    arrays: Mapping[str, np.ndarray | Ragged],
    batch_size: int,
    lengths: tuple[int, ...],
    select_rows: SelectRows = np.arange,
) -> grain.MapDataset:
    """Returns all examples once, sorted by bucket; the last batch is padded with masked examples.

    Args:
        arrays, lengths: As in ``bucketed``.
        batch_size: B. Batches are smaller if there are fewer examples.
        select_rows: Maps the batch size to the indices of the rows of a batch to read.
    """
    check_arguments(0, batch_size=batch_size)
    row_lengths = _row_lengths(arrays)
    batch_size = max(1, min(batch_size, len(row_lengths)))
    full = plan(np.arange(len(row_lengths)), row_lengths, lengths, batch_size)
    last = len(full.rest)

    def batch_at(index: int) -> Batch:
        here = select_rows(batch_size)
        if index < len(full.rows):
            return _batch(arrays, full.rows[index][here], int(full.lengths[index]))
        longest = np.searchsorted(lengths, row_lengths[full.rest].max())
        batch = _batch(arrays, full.rest[np.minimum(here, last - 1)], lengths[longest])
        batch["mask"][here >= last] = False
        return batch

    return grain.MapDataset.range(len(full.rows) + (last > 0)).map(batch_at)


def _row_lengths(arrays: Mapping[str, np.ndarray | Ragged]) -> np.ndarray:
    inputs = arrays["inputs"]
    assert isinstance(inputs, Ragged)
    return inputs.lengths


def _batch(arrays: Mapping[str, np.ndarray | Ragged], rows: np.ndarray, length: int) -> Batch:
    """Returns the arrays of rows, with their lengths and a mask."""
    batch = {
        name: array.padded(rows, length) if isinstance(array, Ragged) else array[rows] for name, array in arrays.items()
    }
    return {**batch, "lengths": _row_lengths(arrays)[rows], "mask": np.ones(len(rows), bool)}
