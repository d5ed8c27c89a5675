"""Datasets of batches that are generated on demand."""

from collections.abc import Callable, Sequence

import grain
import numpy as np

from jaxnets.data.dataset import Dataset
from jaxnets.data.inputs import Inputs
from jaxnets.data.sources.batches import Batch
from jaxnets.data.targets import Spec

VALIDATION_BATCHES = 10


def generated(
    make: Callable[..., Batch],
    spec: Spec,
    seed: int,
    source: str,
    split_arrays: Sequence[tuple[np.ndarray, ...]] = ((), (), ()),
    inputs: Inputs | None = None,
) -> Dataset:
    """Returns batches that are pure functions of (seed, split, step). The test split is the same for every seed.

    Args:
        make: Maps a random generator and the arrays of a split to a batch.
        spec: Meaning of the targets.
        seed: Seed of the training and validation splits.
        source: Description of the data, with every setting that determines it except the seed.
        split_arrays: Arrays from which batches are sampled, for the training, validation and test splits.
        inputs: Preprocessing of raw inputs; None if there is none.
    """

    class Generated:
        def __init__(self, split: int, *key: int):
            self._key, self._arrays = (*key, split), split_arrays[split]

        def __len__(self) -> int:
            return np.iinfo(np.int32).max

        def __getitem__(self, step: int) -> Batch:
            return make(np.random.default_rng((*self._key, int(step))), *self._arrays)

    batches: Callable[..., grain.MapDataset] = lambda *key: grain.MapDataset.source(Generated(*key))
    return Dataset(
        splits={
            "train": batches(0, seed),
            "validation": batches(1, seed)[:VALIDATION_BATCHES],
            "test": batches(2, 0)[:VALIDATION_BATCHES],
        },
        spec=spec,
        fingerprint=source,  # with the seed of the config, it determines the data
        description=source,
        inputs=inputs,
    )
