"""Datasets of examples with or without targets: checks, splits, encoding of targets, fingerprint and description."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnets.data.checks import check_arguments, check_fraction
from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.inputs import Images, Inputs
from jaxnets.data.sources.parts import ADJECTIVES, Split, assemble, check_shapes, describe, digest, random_split
from jaxnets.data.statistics import BLOCK
from jaxnets.data.target_arrays import encode_targets
from jaxnets.ops.checks import check_integer


def from_examples(
    train: Examples,
    test: Examples | None,
    *,
    batch_size: int,
    validation: float | Examples,
    seed: int,
    source: str,
    target_type: str = "classes",
    names: Sequence[str] = (),
    fingerprint: str = "",
    inputs: Inputs | None = None,
) -> Dataset:
    """Returns the dataset of examples.

    Args:
        train: Examples for training, and for validation if ``validation`` is a fraction.
        test: Examples for testing, not used in training.
        batch_size: B, rows of a batch; 0: all training rows.
        validation: Fraction of ``train`` to hold out, sampled by the seed; or separate examples.
        seed: Seed of the order and of the held-out rows.
        source: Name of the data in messages.
        target_type: Type of the targets, as in ``target_arrays.encode_targets``.
        names: Names of the classes, if the labels are class indices; names of the quantities or labels.
        fingerprint: Digest of the data; empty for the digest of all examples.
        inputs: Preprocessing of raw inputs; None if there is none, as for images of uint8.

    Raises:
        ValueError: If an argument is out of range, targets are invalid, an input is not a finite number of float32,
            splits differ in shape, or a split has no examples.
    """
    check_arguments(seed)
    check_integer("batch_size", batch_size, minimum=0)
    if not isinstance(validation, Examples):
        check_fraction("validation_fraction", validation)
    given = {"train": train, "validation": validation, "test": test}
    examples = {name: split for name, split in given.items() if isinstance(split, Examples)}
    shown = {name: ADJECTIVES.get(name, name) for name in examples}
    counts = {shown[name]: len(split.inputs) for name, split in examples.items()}
    raw_targets = {shown[name]: split.targets for name, split in examples.items()}
    spec, targets, summary = encode_targets(target_type, source, raw_targets, counts, names, train.inputs.shape[-1])
    check_shapes(source, {name: split.inputs.shape[1:] for name, split in examples.items()})
    rows: dict[str, np.ndarray | None] = dict.fromkeys(examples)
    if not isinstance(validation, Examples):
        rows |= random_split(counts["training"], {"validation": validation}, seed)
        sizes = [len(indices) for indices in rows.values() if indices is not None]
        if not all(sizes):
            raise ValueError(
                f"{source}: {sum(sizes)} examples must leave at least one for training and one for validation, got "
                f"{sizes[0]} and {sizes[-1]}"
            )
    arrays = {
        name: arrays_of(split, targets[shown[name]], f"{source}, {shown[name]} split")
        for name, split in examples.items()
    }
    fingerprint = fingerprint or digest(arrays.values())
    if train.width is not None:  # after the digest: only figures use the width
        for split_arrays in arrays.values():
            split_arrays["width"] = np.full(len(split_arrays["mask"]), train.width, np.int32)
    splits = {name: Split(arrays.get(name, arrays["train"]), rows[name]) for name in given if name in rows}
    shape = "x".join(map(str, train.inputs.shape[1:]))
    if inputs is None and train.inputs.dtype == np.uint8:
        inputs = Images.like(train.inputs)
    sizes_of = {name: len(split) for name, split in splits.items()}
    return assemble(
        splits,
        batch_size=batch_size,
        seed=seed,
        spec=spec,
        fingerprint=fingerprint,
        description=describe(source, f"examples of {shape}", sizes_of, summary),
        inputs=inputs,
    )


def arrays_of(examples: Examples, targets: np.ndarray | None, source: str) -> dict[str, Any]:
    """Returns the arrays of a batch, with all examples."""
    inputs = examples.inputs
    if inputs.dtype != np.uint8:
        inputs = finite_float32(inputs, source)
    arrays = {"inputs": inputs, "targets": targets, "mask": np.ones(len(inputs), bool), "valid": examples.valid}
    if examples.lengths is not None:
        arrays["lengths"] = examples.lengths.astype(np.int32)
    return {name: array for name, array in arrays.items() if array is not None}


def finite_float32(inputs: Any, source: str) -> np.ndarray:
    """Returns inputs as float32.

    Raises:
        ValueError: If a number is not finite. The message names its position.
    """
    if inputs.dtype.kind not in "biuf":
        raise ValueError(f"{source}: inputs must be real numbers, got {inputs.dtype}")
    inputs = np.asarray(inputs, np.float32)
    rows = max(1, BLOCK // max(1, inputs[:1].size))
    for first in range(0, len(inputs), rows):  # in blocks: one mask of all inputs would need as much memory again
        wrong = np.argwhere(~np.isfinite(inputs[first : first + rows]))
        if len(wrong):
            row, position = first + wrong[0][0], tuple(wrong[0][1:])
            where = ", ".join(map(str, position))
            raise ValueError(
                f"{source}: example {row} must be finite, got {inputs[(row, *position)]} at position {where}"
            )
    return inputs
