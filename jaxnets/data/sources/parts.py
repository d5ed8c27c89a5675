"""Splits of a data set: random selection of rows, fingerprint, description, and the final ``Dataset``."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import Dataset, SelectRows
from jaxnets.data.inputs import Inputs
from jaxnets.data.sources.batches import Arrays, in_order, shuffled
from jaxnets.data.targets import Spec
from jaxnets.ops.checks import check_integer

SPLITS = ("train", "validation", "test")
ADJECTIVES = {"train": "training"}  # names of splits in messages, where they differ


class Split(NamedTuple):
    """A split of a data set.

    Attributes:
        arrays: Arrays of a batch, but with all examples.
        rows: Indices of the examples of the split; None if it has all of them.
    """

    arrays: Arrays
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.arrays["inputs"]) if self.rows is None else len(self.rows)


def assemble(
    splits: Mapping[str, Split],
    *,
    batch_size: int,
    seed: int,
    spec: Spec,
    fingerprint: str,
    description: str,
    inputs: Inputs | None = None,
) -> Dataset:
    """Returns the dataset of splits: ``train`` shuffled and endless, all others in order.

    Each process reads only its own rows.

    Args:
        splits: Splits by name; ``train`` is required.
        batch_size: B, rows of a batch; 0: all training rows.
        seed: Seed of the order.
        spec: Meaning of the targets.
        fingerprint: Digest of the data.
        description: One line for the user.
        inputs: Preprocessing of raw inputs.

    Raises:
        ValueError: If ``batch_size`` or ``seed`` is out of range, or ``train`` has fewer rows than a batch.
    """
    check_arguments(seed)
    check_integer("batch_size", batch_size, minimum=0)
    batch_size = batch_size or len(splits["train"])

    def read(select_rows: SelectRows = np.arange) -> Dataset:
        batches = {
            name: shuffled(split.arrays, batch_size, seed, split.rows, select_rows)
            if name == "train"
            else in_order(split.arrays, batch_size, split.rows, select_rows)
            for name, split in splits.items()
        }
        rows = len(splits["train"])
        return Dataset(batches, spec, fingerprint, description, read_part=read, inputs=inputs, train_rows=rows)

    return read()


def random_split(count: int, fractions: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Assigns rows to splits at random.

    Args:
        count: Number of rows.
        fractions: Fraction of all rows for each split except ``train``.
        seed: Seed of the assignment.

    Returns:
        The sorted row indices of each split. ``"train"`` has the remaining rows.
    """
    order = np.random.default_rng(seed).permutation(count)
    rows, begin, total = {}, 0, 0.0
    for name, fraction in fractions.items():
        total += fraction
        end = round(count * total)
        rows[name] = np.sort(order[begin:end])
        begin = end
    return {"train": np.sort(order[begin:]), **rows}


def stratified_rows(labels: np.ndarray, fraction: float, random: np.random.Generator) -> np.ndarray:
    """Samples a fraction of each class such that at least one row of each class remains.

    Returns:
        The sorted row indices. They are fewer than the fraction, or none, if classes have too few rows.
    """
    order = random.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # sorted by class, in random order within a class
    _, begins, counts = np.unique(labels[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(begins, counts)  # within the class
    size = np.repeat(counts, counts)
    priority = np.where(rank == size - 1, np.inf, (rank + random.random(len(order))) / size)
    return np.sort(order[np.argsort(priority)[: round(fraction * len(order))]])


def split_off(
    labels: np.ndarray, fraction: float, random: np.random.Generator, name: str, noun: str
) -> tuple[np.ndarray, np.ndarray]:
    """Samples a fraction of each class such that at least one row of each class remains.

    Args:
        labels: Class indices ``[N]``.
        fraction: Fraction of the rows to sample.
        random: Generator of random numbers.
        name: Name of the new split in messages.
        noun: The rows in messages, such as ``"images"``.

    Returns:
        The sorted indices of the remaining rows, and of the sampled ones.

    Raises:
        ValueError: If there are too few rows.
    """
    sampled, classes = stratified_rows(labels, fraction, random), len(np.unique(labels))
    if not 0 < len(sampled) <= len(labels) - classes:
        raise ValueError(
            f"too few {noun}: {len(labels)} of {classes} classes leave {len(sampled)} for the {name} split"
        )
    return np.setdiff1d(np.arange(len(labels)), sampled), sampled


def digest(splits: Iterable[Arrays]) -> str:
    """Returns the SHA-256 of the arrays of all splits, in their order."""
    result = hashlib.sha256()
    for arrays in splits:
        for array in arrays.values():
            result.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)  # a view: tobytes would copy
    return result.hexdigest()


def describe(source: str, items: str, counts: Mapping[str, int], targets: str = "") -> str:
    """Describes a dataset: ``"a.npz: 3 classes, 90 training examples of 7x1, 10 validation"``.

    Args:
        source: Name of the data.
        items: Name of the counted items, in the plural.
        counts: Number of items of each split, or of another subset such as ``"held out"``.
        targets: Summary of the targets; empty for none.
    """
    (first, count), *others = counts.items()
    counted = [f"{count:,} {ADJECTIVES.get(first, first)} {items}", *(f"{count:,} {name}" for name, count in others)]
    return f"{source}: " + ", ".join([targets, *counted] if targets else counted)


def check_shapes(source: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Checks that the examples of all splits have the shape of those in ``train``.

    Raises:
        ValueError: If a split has another shape.
    """
    sizes = {name: "x".join(map(str, shape)) for name, shape in shapes.items()}
    for name, size in sizes.items():
        if size != sizes["train"]:
            raise ValueError(
                f"{source}: {name} examples must have the shape of the training examples, {sizes['train']}, got {size}"
            )
