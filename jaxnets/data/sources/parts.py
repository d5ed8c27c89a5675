"""The parts of a data set: rows drawn for them, a digest of their arrays, a description, and the dataset of both."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import Dataset, RowsOf
from jaxnets.data.inputs import Inputs
from jaxnets.data.sources.batches import Arrays, in_order, shuffled
from jaxnets.data.targets import Spec

PURPOSES = {"train": "to learn from", "validation": "to validate on", "test": "to test on"}


class Part(NamedTuple):
    """A part of a data set.

    Attributes:
        arrays: Of a batch, but with all examples.
        rows: The numbers of the examples that the part has; None: all.
    """

    arrays: Arrays
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.arrays["inputs"]) if self.rows is None else len(self.rows)


def assemble(
    parts: Mapping[str, Part],
    *,
    batch_size: int,
    seed: int,
    spec: Spec,
    fingerprint: str,
    description: str,
    inputs: Inputs | None = None,
) -> Dataset:
    """The dataset of parts: ``train`` shuffled without end, the others in order.

    One process reads its own rows only.

    Args:
        parts: By name; ``train`` is one of them.
        batch_size: B, rows.
        seed: Of the order.
        spec: What the numbers in batches mean.
        fingerprint: Of the data.
        description: One line for a person.
        inputs: What became of raw inputs.

    Raises:
        ValueError: ``batch_size`` or ``seed`` is out of range, or ``train`` has fewer rows than a batch.
    """
    check_arguments(seed, batch_size=batch_size)

    def reading(rows: RowsOf = np.arange) -> Dataset:
        splits = {
            name: shuffled(part.arrays, batch_size, seed, part.rows, rows)
            if name == "train"
            else in_order(part.arrays, batch_size, part.rows, rows)
            for name, part in parts.items()
        }
        return Dataset(splits, spec, fingerprint, description, read_part=reading, inputs=inputs)

    return reading()


def draw(count: int, shares: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Row numbers, sorted, of parts that are drawn with a seed.

    Args:
        count: Of all rows.
        shares: The share of all rows that each part takes.
        seed: Of what is drawn.

    Returns:
        The rows of each part, and of ``"train"``, which has the others.
    """
    order = np.random.default_rng(seed).permutation(count)
    rows, first, share = {}, 0, 0.0
    for name, own in shares.items():
        share += own
        end = round(count * share)
        rows[name] = np.sort(order[first:end])
        first = end
    return {"train": np.sort(order[first:]), **rows}


def draw_by_class(labels: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Row numbers, sorted, of a share of each class, drawn so that at least one row of each class is left.

    They are too few, or none, where a class has too few rows for that.
    """
    order = random.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # class by class, each in an order drawn
    _, begins, counts = np.unique(labels[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(begins, counts)
    size = np.repeat(counts, counts)
    ahead = np.where(place == size - 1, np.inf, (place + random.random(len(order))) / size)
    return np.sort(order[np.argsort(ahead)[: round(share * len(order))]])


def digest(parts: Iterable[Arrays]) -> str:
    """SHA-256 of the arrays of all parts, in their order."""
    made = hashlib.sha256()
    for arrays in parts:
        for array in arrays.values():
            made.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)  # not its bytes: those are a copy
    return made.hexdigest()


def describe(source: str, what: str, counts: Mapping[str, int], kind: str = "") -> str:
    """The description of a dataset: ``"a.npz: 3 classes, 90 examples of 7x1 to learn from, 10 to validate on"``.

    Args:
        source: What the data is called.
        what: Is counted, in the plural.
        counts: By part, or by another purpose: ``"held out"``.
        kind: What is to be said before; "": nothing.
    """
    (first, count), *others = ((PURPOSES.get(name, name), count) for name, count in counts.items())
    told = [f"{count:,} {what} {first}", *(f"{count:,} {purpose}" for purpose, count in others)]
    return f"{source}: " + ", ".join([kind, *told] if kind else told)


def check_shapes(source: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises a ``ValueError`` where the examples of a part have another shape than those to learn from."""
    sizes = {name: "x".join(map(str, shape)) for name, shape in shapes.items()}
    for name, size in sizes.items():
        if size != sizes["train"]:
            purpose = PURPOSES[name]
            raise ValueError(f"{source}: examples to learn from are of {sizes['train']}, those {purpose} of {size}")
