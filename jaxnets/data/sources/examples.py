"""Examples with or without targets as a dataset: parts, checks, numbers of classes, digest and description."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnets.data.checks import check_arguments, check_fraction
from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.inputs import Images, Inputs
from jaxnets.data.sources.parts import Part, assemble, check_shapes, describe, digest, draw
from jaxnets.data.statistics import BLOCK
from jaxnets.data.target_arrays import encoded

PART_NAMES = {"train": "training"}  # in messages


def dataset(
    train: Examples,
    test: Examples | None,
    *,
    batch_size: int,
    validation_fraction: float | Examples,
    seed: int,
    source: str,
    targets: str = "classes",
    names: Sequence[str] = (),
    fingerprint: str = "",
    inputs: Inputs | None = None,
) -> Dataset:
    """Examples as a dataset.

    Args:
        train: To learn from, and to validate on.
        test: Never seen while training.
        batch_size: B, rows.
        validation_fraction: The part of ``train`` that is held out, drawn with the seed; or examples of their own.
        seed: Of the order and of what is held out.
        source: What the data is called.
        targets: What they are, as in ``target_arrays.encoded``.
        names: Of the classes, where the labels are their numbers; of the quantities or labels.
        fingerprint: Of the data; "": that of all examples.
        inputs: What became of raw inputs; None: nothing did, as with images of bytes.

    Raises:
        ValueError: An argument out of range, targets that are not what they should be, an input that is not a finite
            number of float32, parts that differ in their shapes, or a part without examples.
    """
    check_arguments(seed, batch_size=batch_size)
    if not isinstance(validation_fraction, Examples):
        check_fraction("validation", validation_fraction)
    given = {"train": train, "validation": validation_fraction, "test": test}
    examples = {name: part for name, part in given.items() if isinstance(part, Examples)}
    counts = {PART_NAMES.get(name, name): len(part.inputs) for name, part in examples.items()}
    answers = {PART_NAMES.get(name, name): part.targets for name, part in examples.items()}
    spec, numbers, kind = encoded(targets, source, answers, counts, names, train.inputs.shape[-1])
    check_shapes(source, {name: part.inputs.shape[1:] for name, part in examples.items()})
    rows: dict[str, np.ndarray | None] = dict.fromkeys(examples)
    if not isinstance(validation_fraction, Examples):
        rows |= draw(counts["training"], {"validation": validation_fraction}, seed)
        sizes = [len(found) for found in rows.values() if found is not None]
        if not all(sizes):
            raise ValueError(f"too few examples: {sum(sizes)} leave {sizes[-1]} for validation")
    arrays = {}
    for name, part in examples.items():
        called = PART_NAMES.get(name, name)
        arrays[name] = _arrays(part, numbers[called], f"{source}, {called} part")
    fingerprint = fingerprint or digest(arrays.values())
    if train.width is not None:  # not digested: it is for pictures, nothing is learned from it
        for each in arrays.values():
            each["width"] = np.full(len(each["mask"]), train.width, np.int32)
    parts = {name: Part(arrays.get(name, arrays["train"]), rows[name]) for name in given if name in rows}
    shape = "x".join(map(str, train.inputs.shape[1:]))
    if inputs is None and train.inputs.dtype == np.uint8:
        inputs = Images.like(train.inputs)
    return assemble(
        parts,
        batch_size=batch_size,
        seed=seed,
        spec=spec,
        fingerprint=fingerprint,
        description=describe(source, f"examples of {shape}", {name: len(part) for name, part in parts.items()}, kind),
        inputs=inputs,
    )


def _arrays(examples: Examples, targets: np.ndarray | None, source: str) -> dict[str, Any]:
    inputs = examples.inputs
    if inputs.dtype != np.uint8:
        inputs = finite(inputs, source)
    arrays = {"inputs": inputs, "targets": targets, "mask": np.ones(len(inputs), bool), "valid": examples.valid}
    if examples.lengths is not None:
        arrays["lengths"] = examples.lengths.astype(np.int32)
    return {name: array for name, array in arrays.items() if array is not None}


def finite(inputs: Any, source: str) -> np.ndarray:
    """Inputs as float32; a ``ValueError`` that names the first that is not a finite number."""
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
    return inputs
