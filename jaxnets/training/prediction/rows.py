"""Rows computed batch by batch; what was computed before is not computed again."""

from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from jaxnets.training.prediction.parts import Parts
from jaxnets.training.prediction.predictor import Predictor, named

Check = Callable[[dict[str, np.ndarray]], None]


def compute(
    predictor: Predictor, arrays: dict[str, np.ndarray], begin: int, end: int, batch: int, parts: Parts, check: Check
) -> dict[str, np.ndarray]:
    """The outputs of the rows from ``begin`` to before ``end``, by name.

    Args:
        predictor: What is computed.
        arrays: Raw arrays, rows first.
        begin, end: Which rows.
        batch: Rows of one call; the last one is filled up, so that all have one shape.
        parts: Where the outputs of every call are kept.
        check: Is called with those of the first; what it raises ends the computation.

    Raises:
        ValueError: The arrays do not fit the model.
    """

    def rows(first: int) -> dict[str, np.ndarray]:
        at = np.minimum(np.arange(first, first + batch), end - 1)
        return {name: array[at] for name, array in arrays.items()}

    firsts = range(begin, end, batch)
    for first in tqdm(firsts, unit="batch", leave=False, disable=None):
        if first not in parts:
            computed = named(predictor.call(rows(first)))
            computed = {name: array[: end - first] for name, array in computed.items()}
            if first == begin:
                check(computed)
            parts.save(first, computed)
    found = [parts.read(first) for first in firsts]
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}
