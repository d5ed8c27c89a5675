"""Problems that are made as they are needed: no example is repeated."""

from collections.abc import Callable, Sequence

import grain
import numpy as np

from jaxnets.data.dataset import Dataset
from jaxnets.data.inputs import Inputs
from jaxnets.data.sources.batches import Batch
from jaxnets.data.targets import Classes, Quantities

VALIDATION_BATCHES = 10


def generated(
    make: Callable[..., Batch],
    targets: Classes | Quantities,
    seed: int,
    source: str,
    parts: Sequence[tuple[np.ndarray, ...]] = ((), (), ()),
    inputs: Inputs | None = None,
) -> Dataset:
    """Batches made from (seed, part, step) alone; the test part is the same for every seed.

    Args:
        make: From a random generator, and the arrays of the part, to a batch.
        targets: What its targets mean.
        seed: Of training and validation.
        source: Says all that the data depends on, beside the seed.
        parts: Arrays that batches are drawn from, to learn from, to validate on and to test on.
        inputs: What became of raw inputs; None: nothing did.
    """

    class Made:
        def __init__(self, part: int, *key: int):
            self._key, self._arrays = (*key, part), parts[part]

        def __len__(self) -> int:
            return np.iinfo(np.int32).max

        def __getitem__(self, step: int) -> Batch:
            return make(np.random.default_rng((*self._key, int(step))), *self._arrays)

    part: Callable[..., grain.MapDataset] = lambda *key: grain.MapDataset.source(Made(*key))
    return Dataset(
        splits={
            "train": part(0, seed),
            "validation": part(1, seed)[:VALIDATION_BATCHES],
            "test": part(2, 0)[:VALIDATION_BATCHES],
        },
        spec=targets,
        fingerprint=source,  # says all that the data depends on, beside the seed of the config
        description=source,
        inputs=inputs,
    )
