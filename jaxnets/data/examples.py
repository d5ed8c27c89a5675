"""Examples with an answer each, as grain pipelines: shuffled without end to learn from, in order to measure.

A batch is a dict of arrays that begin with B: ``inputs`` float32, ``targets``, ``mask`` bool (False fills up the last
batch), ``lengths`` int32 where the rows are ragged, and ``width`` int32 where a row is the pixels of an image.
"""

import hashlib
from typing import NamedTuple

import grain
import numpy as np

from jaxnets.data.dataset import Dataset, check_arguments
from jaxnets.data.targets import Classes

Batch = dict[str, np.ndarray]


class Examples(NamedTuple):
    """Attributes:
    inputs: float32 ``[N, ...]``.
    labels: ``[N]``, numbers or text, a class each.
    lengths: int32 ``[N]``, how many steps of a row are real; None: all.
    width: Of the images whose pixels, a step each, the rows are; None: they are something else.
    members: bool ``[N, M]``, which elements of a row are real where rows are sets; None: they are not.
    """

    inputs: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray | None = None
    width: int | None = None
    members: np.ndarray | None = None


def shuffled(arrays: Batch, batch: int, seed: int) -> grain.MapDataset:
    """Endless batches in an order shuffled anew each epoch.

    Raises:
        ValueError: There are fewer examples than a batch.
    """
    count = len(arrays["inputs"])
    if count < batch:
        raise ValueError(f"too few examples: {count} to learn from, fewer than one batch of {batch}")
    rows = grain.MapDataset.range(count).shuffle(seed=seed).repeat().batch(batch, drop_remainder=True)
    return rows.map(lambda chosen: {name: array[chosen] for name, array in arrays.items()})


def in_order(arrays: Batch, batch: int) -> grain.MapDataset:
    """All examples once, in order; the last batch is filled up with masked ones."""
    count = len(arrays["inputs"])
    batch = min(batch, count)

    def rows(step: int) -> Batch:
        at = step * batch + np.arange(batch)
        found = {name: array[np.minimum(at, count - 1)] for name, array in arrays.items()}  # copies
        found["mask"][at >= count] = False
        return found

    return grain.MapDataset.range(-(-count // batch)).map(rows)


def dataset(train: Examples, test: Examples, *, batch: int, validation: float, seed: int, source: str) -> Dataset:
    """Examples of classes as a dataset; a part of ``train``, drawn with the seed, is held out for validation.

    Args:
        train: To learn from, and to validate on.
        test: Never seen while training.
        batch: B, rows.
        validation: The part of ``train`` that is held out.
        seed: Of the order and of what is held out.
        source: What the data is called.

    Raises:
        ValueError: An argument out of range, a class that only ``test`` has, or an input that is not finite.
    """
    check_arguments(seed, validation, batch=batch)
    names, numbers = np.unique(train.labels, return_inverse=True)
    strange = np.setdiff1d(test.labels, names)
    if len(strange):
        raise ValueError(f"{source}: class {strange[0]} is in the test part only")
    held_out = round(len(numbers) * validation)
    if not 0 < held_out < len(numbers):
        raise ValueError(f"too few examples: {len(numbers)} leave {held_out} for validation")
    whole = _arrays(train, numbers, f"{source}, training part")
    order = np.random.default_rng(seed).permutation(len(numbers))
    take = lambda rows: {name: array[np.sort(rows)] for name, array in whole.items()}
    rest = _arrays(test, np.searchsorted(names, test.labels), f"{source}, test part")
    digest = hashlib.sha256()
    for arrays in (whole, rest):
        for array in arrays.values():
            digest.update(np.ascontiguousarray(array).tobytes())
    if train.width is not None:  # not digested: it is for pictures, nothing is learned from it
        for arrays in (whole, rest):
            arrays["width"] = np.full(len(arrays["mask"]), train.width, np.int32)
    shape = "x".join(map(str, train.inputs.shape[1:]))
    return Dataset(
        train=shuffled(take(order[held_out:]), batch, seed),
        validation=in_order(take(order[:held_out]), batch),
        targets=Classes(tuple(map(str, names))),
        fingerprint=digest.hexdigest(),
        description=f"{source}: {len(names)} classes, {len(numbers) - held_out:,} examples of {shape} to learn from, "
        f"{held_out:,} to validate on, {len(test.labels):,} to test on",
        test=in_order(rest, batch),
    )


def _arrays(examples: Examples, numbers: np.ndarray, source: str) -> Batch:
    inputs = np.asarray(examples.inputs, np.float32)
    wrong = np.argwhere(~np.isfinite(inputs))
    if len(wrong):
        where = ", ".join(map(str, wrong[0][1:]))
        raise ValueError(f"{source}: {inputs[tuple(wrong[0])]} in example {wrong[0][0]} at position {where}")
    arrays = {"inputs": inputs, "targets": numbers.astype(np.int32), "mask": np.ones(len(inputs), bool)}
    if examples.members is not None:
        arrays["members"] = examples.members
    return arrays if examples.lengths is None else {**arrays, "lengths": examples.lengths.astype(np.int32)}
