"""What a run does where its loss or its gradient is not finite: stop, leave the update out, or go back."""

import math
from collections.abc import Mapping
from typing import Any

from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.errors import RunError

# "skip" leaves out the update, within the jitted step; "roll_back" goes on from the last checkpoint with the data after
# what led here, so that the same batch does not come again.
POLICIES = ("stop", "skip", "roll_back")


class NotFinite(Exception):
    """A number that the policy does not pass over.

    Attributes:
        position: In the data, after the batch that it comes from.
    """

    def __init__(self, because: str, step: int, position: Any):
        super().__init__(f"{because} at step {step}")
        self.position = position


def find(numbers: Mapping[str, float]) -> str | None:
    """The first number that is not finite, in words; None where all are."""
    return next((f"{name} is {value}" for name, value in numbers.items() if not math.isfinite(value)), None)


def stopped(because: str, checkpoints: Checkpoints) -> RunError:
    """What a run that must stop is ended with."""
    good = max(checkpoints.steps(), default=None)
    kept = f"the checkpoint of step {good} is kept" if good is not None else "no checkpoint was made before"
    return RunError(
        f"{because}; stopped, {kept}. A smaller --config.optimizer.learning_rate or "
        "--config.optimizer.clip_norm may help"
    )
