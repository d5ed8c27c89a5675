"""Preservation policy for checkpoints."""

import math
from collections.abc import Sequence
from typing import Any


class PreservationPolicy:
    """An orbax preservation policy that keeps recent, periodic and best checkpoints.

    Unlike the policies of orbax, it does not read scores from files, which may be damaged.

    Args:
        scores: The score of each step. The lowest score is the best. The caller adds the scores of new steps.
        max_to_keep: Number of recent checkpoints to keep.
        keep_period: Checkpoints at multiples of this number of steps are kept. 0: none.
    """

    def __init__(self, scores: dict[int, float], max_to_keep: int, keep_period: int):
        self._scores = scores
        self._max_to_keep = max_to_keep
        self._keep_period = keep_period

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        best = min(steps, key=lambda step: self._scores.get(step, math.inf), default=None)
        has_score = best is not None and self._scores.get(best, math.inf) < math.inf
        keep = set(steps[-self._max_to_keep :]) | ({best} if has_score else set())
        periodic = lambda step: self._keep_period > 0 and step % self._keep_period == 0
        return [step in keep or periodic(step) for step in steps]
