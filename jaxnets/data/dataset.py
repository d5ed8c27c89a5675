"""``Dataset`` and ``Examples``: what readers of data return, and the meaning of their numbers, to be saved."""

from collections.abc import Callable
from typing import Any, NamedTuple

import grain
import numpy as np

from jaxnets.data.inputs import Inputs
from jaxnets.data.targets import Spec

RowsOf = Callable[[int], np.ndarray]


class Dataset(NamedTuple):
    """Attributes:
    splits: Batches by name. ``train`` is endless, a pure function of (seed, step); others, such as ``validation`` and
        ``test``, are finite.
    spec: What the numbers in batches mean, saved with the run.
    fingerprint: SHA-256 of the data, saved with the run: it goes on with the same data only.
    description: One line for a person.
    read_part: As ``part``, for data that need not read the other rows.
    inputs: What became of raw inputs, saved with the run; None where batches hold them as they are.
    """

    splits: dict[str, grain.MapDataset]
    spec: Spec
    fingerprint: str
    description: str
    read_part: "Callable[[RowsOf], Dataset] | None" = None
    inputs: Inputs | None = None

    @property
    def train(self) -> grain.MapDataset:
        return self.splits["train"]

    @property
    def validation(self) -> grain.MapDataset:
        return self.splits["validation"]

    @property
    def test(self) -> grain.MapDataset | None:
        return self.splits.get("test")

    @property
    def targets(self) -> Spec:
        """The spec, as the meaning of the targets."""
        return self.spec

    @property
    def held_out(self) -> dict[str, grain.MapDataset]:
        """The splits that are not learned from."""
        return {name: batches for name, batches in self.splits.items() if name != "train"}

    def part(self, rows: RowsOf) -> "Dataset":
        """The same batches with some of their rows only.

        Args:
            rows: ``count -> numbers``, which of a batch's ``count`` rows.
        """
        if self.read_part is not None:
            return self.read_part(rows)
        cut = lambda batch: {name: array[rows(len(array))] for name, array in batch.items()}
        return self._replace(splits={name: batches.map(cut) for name, batches in self.splits.items()})


class Examples(NamedTuple):
    """Attributes:
    inputs: float32 ``[N, ...]``, or uint8 ``[N, H, W, C]``, images, which stay bytes; an array, or what has its
        ``shape`` and ``dtype`` and gives rows by their numbers.
    targets: ``[N]`` or ``[N, C]``, what ``target_arrays.encoded`` takes; None where there are none.
    lengths: int32 ``[N]``, how many steps of a row are real; None: all.
    width: Of the images whose pixels, a step each, the rows are; None: they are something else.
    valid: bool ``[N, M]``, which elements of a row are real where rows are sets; None: they are not.
    """

    inputs: Any
    targets: np.ndarray | None = None
    lengths: np.ndarray | None = None
    width: int | None = None
    valid: np.ndarray | None = None
