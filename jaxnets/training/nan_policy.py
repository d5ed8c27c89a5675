"""NaN policies: stop, skip the update or roll back to the last checkpoint."""

import math
from collections.abc import Mapping
from typing import Any

from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.errors import RunError

# "skip" skips the update within the jitted step. "roll_back" restores the last checkpoint but not its position in the
# data, so that the batch that caused the NaN is not used again.
POLICIES = ("stop", "skip", "roll_back")


class NotFinite(Exception):
    """A non-finite number that the policy does not tolerate.

    Attributes:
        position: The position in the data after the batch that caused it.
    """

    def __init__(self, reason: str, step: int, position: Any):
        super().__init__(f"{reason} at step {step}")
        self.position = position


def find(numbers: Mapping[str, float]) -> str | None:
    """Returns a message about the first non-finite number, or None if all are finite."""
    return next((f"{name} is {value}" for name, value in numbers.items() if not math.isfinite(value)), None)


def stopped(reason: str, checkpoints: Checkpoints) -> RunError:
    """Returns the error that ends a run."""
    last = max(checkpoints.steps(), default=None)
    saved = f"the last checkpoint is that of step {last}" if last is not None else "no checkpoint has been saved"
    return RunError(
        f"{reason}: training stopped; {saved}. A smaller --config.optimizer.learning_rate or "
        "--config.optimizer.clip_norm may help"
    )
