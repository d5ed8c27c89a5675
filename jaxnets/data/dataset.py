"""``Dataset`` and ``Examples``: the results of data sources, with the meaning of their arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import grain
import numpy as np

from jaxnets.data.inputs import Inputs
from jaxnets.data.targets import Spec

SelectRows = Callable[[int], np.ndarray]  # from the number of rows of a batch to the indices of the rows to read


class Dataset(NamedTuple):
    """Batches of every split of a data set, and the metadata that is saved with a run.

    Attributes:
        splits: Batches of each split. ``train`` is endless, a pure function of (seed, step). All other splits, such as
            ``validation`` and ``test``, are finite.
        spec: Meaning of the targets, saved with the run.
        fingerprint: SHA-256 of the data, saved with the run. A run resumes with the same data only.
        description: One line for the user.
        read_part: Replacement of ``part`` for a source that can skip the other rows; None if it cannot.
        inputs: Preprocessing of the raw inputs, saved with the run; None if batches hold raw inputs.
        train_rows: Number of training rows; None if they are generated or cut from a stream.
    """

    splits: dict[str, grain.MapDataset]
    spec: Spec
    fingerprint: str
    description: str
    read_part: "Callable[[SelectRows], Dataset] | None" = None
    inputs: Inputs | None = None
    train_rows: int | None = None

    @property
    def train(self) -> grain.MapDataset:
        return self.splits["train"]

    @property
    def held_out(self) -> dict[str, grain.MapDataset]:
        """All splits except ``train``."""
        return {name: batches for name, batches in self.splits.items() if name != "train"}

    def part(self, rows: SelectRows) -> "Dataset":
        """Returns the dataset with a subset of the rows of every batch.

        Args:
            rows: Maps the number of rows of a batch to the indices of the rows to keep.
        """
        if self.read_part is not None:
            return self.read_part(rows)
        select = lambda batch: {name: array[rows(len(array))] for name, array in batch.items()}
        return self._replace(splits={name: batches.map(select) for name, batches in self.splits.items()})


class Examples(NamedTuple):
    """Examples of one split before they are batched.

    Attributes:
        inputs: float32 ``[N, ...]``, or images as uint8 ``[N, H, W, C]``. An array, or an object with ``shape``,
            ``dtype`` and indexing by row.
        targets: ``[N]`` or ``[N, C]``, as ``target_arrays.encode_targets`` accepts them; None if there are no targets.
        lengths: int32 ``[N]``, number of valid steps of each row; None if all steps are valid.
        width: Width of the images if rows are their pixels, one pixel per step; None otherwise.
        valid: bool ``[N, M]``, mask of the elements if rows are sets; None otherwise.
    """

    inputs: Any
    targets: np.ndarray | None = None
    lengths: np.ndarray | None = None
    width: int | None = None
    valid: np.ndarray | None = None
