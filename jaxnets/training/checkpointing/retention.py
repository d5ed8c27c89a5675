"""Which checkpoints stay: the last few, the best, and every so many."""

import math
from collections.abc import Sequence
from typing import Any


class Kept:
    """A policy for orbax; its own reads scores from files that may be damaged.

    Args:
        scores: By step, the smallest is the best; what is saved later is found in it too.
        last: How many of the last stay.
        every: Those whose step is a multiple of it stay; 0: none.
    """

    def __init__(self, scores: dict[int, float], last: int, every: int):
        self._scores = scores
        self._last = last
        self._every = every

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        best = min(steps, key=lambda step: self._scores.get(step, math.inf), default=None)
        measured = best is not None and self._scores.get(best, math.inf) < math.inf
        for_ever = lambda step: self._every > 0 and step % self._every == 0
        return [step in steps[-self._last :] or (measured and step == best) or for_ever(step) for step in steps]
