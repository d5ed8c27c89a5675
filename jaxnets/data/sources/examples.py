"""Examples with an answer each, as grain pipelines: shuffled without end to learn from, in order to measure.

A batch is a dict of arrays that begin with B: ``inputs`` float32, or uint8 ``[B, H, W, C]`` where they are images,
``targets``, ``mask`` bool (False fills up the last batch), ``lengths`` int32 where the rows are ragged, and ``width``
int32 where a row is the pixels of an image.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from jaxnets.data.checks import check_arguments, check_part
from jaxnets.data.dataset import Dataset, Examples, RowsOf
from jaxnets.data.inputs import Images, Inputs
from jaxnets.data.labels import number_labels
from jaxnets.data.statistics import BLOCK
from jaxnets.data.targets import Classes

Batch = dict[str, np.ndarray]
Arrays = Mapping[str, Any]  # all examples: arrays, or what is indexed like them


def shuffled(
    arrays: Arrays, batch: int, seed: int, rows: np.ndarray | None = None, part: RowsOf = np.arange
) -> grain.MapDataset:
    """Endless batches in an order shuffled anew each epoch.

    Args:
        arrays: All examples.
        batch: B.
        seed: Of the order.
        rows: Numbers of those to take; None: all.
        part: ``count -> numbers``, which rows of a batch are read.

    Raises:
        ValueError: There are fewer examples than a batch.
    """
    check_arguments(seed, batch=batch)
    taken = np.arange(len(arrays["inputs"])) if rows is None else rows
    if len(taken) < batch:
        raise ValueError(f"too few examples: {len(taken)} to learn from, fewer than one batch of {batch}")
    places = grain.MapDataset.range(len(taken)).shuffle(seed=seed).repeat().batch(batch, drop_remainder=True)
    return places.map(lambda at: {name: array[taken[at[part(batch)]]] for name, array in arrays.items()})


def in_order(arrays: Arrays, batch: int, rows: np.ndarray | None = None, part: RowsOf = np.arange) -> grain.MapDataset:
    """All examples once, in order, or those of ``rows``; the last batch is filled up with masked ones.

    Of each batch, the rows of ``part`` are read.
    """
    check_arguments(0, batch=batch)
    taken = np.arange(len(arrays["inputs"])) if rows is None else rows
    count = len(taken)
    batch = max(1, min(batch, count))

    def of_step(step: int) -> Batch:
        at = step * batch + part(batch)
        found = {name: array[taken[np.minimum(at, count - 1)]] for name, array in arrays.items()}  # copies
        found["mask"][at >= count] = False
        return found

    return grain.MapDataset.range(-(-count // batch)).map(of_step)


def dataset(
    train: Examples,
    test: Examples | None,
    *,
    batch: int,
    validation: float | Examples,
    seed: int,
    source: str,
    names: Sequence[str] = (),
    fingerprint: str = "",
    inputs: Inputs | None = None,
) -> Dataset:
    """Examples of classes as a dataset.

    Args:
        train: To learn from, and to validate on.
        test: Never seen while training.
        batch: B, rows.
        validation: The part of ``train`` that is held out, drawn with the seed; or examples of their own.
        seed: Of the order and of what is held out.
        source: What the data is called.
        names: Of the classes, where the labels are their numbers.
        fingerprint: Of the data; "": that of all examples.
        inputs: What became of raw inputs; None: nothing did, as with images of bytes.

    Raises:
        ValueError: An argument out of range, a class that ``train`` lacks, labels that are no classes, an input that is
            not a finite number of float32, or a part without examples.
    """
    part = None if isinstance(validation, Examples) else validation
    check_arguments(seed, batch=batch)
    if not isinstance(validation, Examples):
        check_part("validation", validation)
    given = {name: e for name, e in (("validation", validation), ("test", test)) if isinstance(e, Examples)}
    labels = {name: examples.labels for name, examples in {"training": train, **given}.items()}
    classes, numbers_of = number_labels(source, labels, names)
    numbers = numbers_of["training"]
    for name, examples in given.items():
        shapes = ["x".join(map(str, part.inputs.shape[1:])) for part in (train, examples)]
        if shapes[0] != shapes[1]:
            verb = "validate" if name == "validation" else name
            raise ValueError(f"{source}: examples to learn from are of {shapes[0]}, those to {verb} on of {shapes[1]}")
    held_out = 0 if part is None else round(len(numbers) * part)
    if part is not None and not 0 < held_out < len(numbers):
        raise ValueError(f"too few examples: {len(numbers)} leave {held_out} for validation")
    order = np.random.default_rng(seed).permutation(len(numbers))
    arrays = {"train": _arrays(train, numbers, f"{source}, training part")}
    for name, examples in given.items():
        arrays[name] = _arrays(examples, numbers_of[name], f"{source}, {name} part")
    fingerprint = fingerprint or _digest(arrays.values())
    if train.width is not None:  # not digested: it is for pictures, nothing is learned from it
        for each in arrays.values():
            each["width"] = np.full(len(each["mask"]), train.width, np.int32)
    from_train = part is not None
    chosen = np.sort(order[:held_out]) if from_train else None
    count = held_out if from_train else len(given["validation"].labels)
    shape = "x".join(map(str, train.inputs.shape[1:]))
    if inputs is None and train.inputs.dtype == np.uint8:
        inputs = Images.like(train.inputs)

    def reading(rows: RowsOf = np.arange) -> Dataset:
        splits = {
            "train": shuffled(arrays["train"], batch, seed, np.sort(order[held_out:]), rows),
            "validation": in_order(arrays["train" if from_train else "validation"], batch, chosen, rows),
        }
        if test is not None:
            splits["test"] = in_order(arrays["test"], batch, part=rows)
        return Dataset(
            splits=splits,
            spec=Classes(classes),
            fingerprint=fingerprint,
            description=f"{source}: {len(classes)} classes, {len(numbers) - held_out:,} examples of {shape} to learn "
            f"from, {count:,} to validate on" + ("" if test is None else f", {len(test.labels):,} to test on"),
            inputs=inputs,
            read_part=reading,
        )

    return reading()


def _digest(parts: Iterable[Arrays]) -> str:
    digest = hashlib.sha256()
    for arrays in parts:
        for array in arrays.values():
            digest.update(
                np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            )  # not its bytes: those are a copy
    return digest.hexdigest()


def _arrays(examples: Examples, numbers: np.ndarray, source: str) -> dict[str, Any]:
    inputs = examples.inputs
    if inputs.dtype != np.uint8:
        if inputs.dtype.kind not in "biuf":
            raise ValueError(f"{source}: inputs must be real numbers, got {inputs.dtype}")
        inputs = np.asarray(inputs, np.float32)
        rows = max(1, BLOCK // max(1, inputs[:1].size))
        for first in range(0, len(inputs), rows):  # all at once would take as much memory again
            wrong = np.argwhere(~np.isfinite(inputs[first : first + rows]))
            if len(wrong):
                row, place = first + wrong[0][0], tuple(wrong[0][1:])
                where = ", ".join(map(str, place))
                raise ValueError(f"{source}: {inputs[(row, *place)]} in example {row} at position {where}")
    arrays = {"inputs": inputs, "targets": numbers.astype(np.int32), "mask": np.ones(len(numbers), bool)}
    if examples.members is not None:
        arrays["members"] = examples.members
    return arrays if examples.lengths is None else {**arrays, "lengths": examples.lengths.astype(np.int32)}
