"""Problems that are made as they are needed: no example is repeated."""

from collections.abc import Callable

import grain
import numpy as np

from jaxnets.data.dataset import Dataset
from jaxnets.data.examples import Batch
from jaxnets.data.targets import Classes, Quantities

VALIDATION_BATCHES = 10


def generated(
    make: Callable[[np.random.Generator], Batch], targets: Classes | Quantities, seed: int, source: str
) -> Dataset:
    """Batches made from (seed, part, step) alone; the test part is the same for every seed."""

    class Made:
        def __init__(self, *key: int):
            self._key = key

        def __len__(self) -> int:
            return np.iinfo(np.int32).max

        def __getitem__(self, step: int) -> Batch:
            return make(np.random.default_rng((*self._key, int(step))))

    part: Callable[..., grain.MapDataset] = lambda *key: grain.MapDataset.source(Made(*key))
    return Dataset(
        train=part(seed, 0),
        validation=part(seed, 1)[:VALIDATION_BATCHES],
        targets=targets,
        fingerprint=source,  # says all that the data depends on, beside the seed of the config
        description=source,
        test=part(0, 2)[:VALIDATION_BATCHES],
    )
