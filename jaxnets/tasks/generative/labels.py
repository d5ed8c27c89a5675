"""Labels of conditional generative models."""

from typing import Any

import numpy as np

from jaxnets.data.targets import Classes


def labels_in_turn(count: int, num_classes: int) -> np.ndarray | None:
    """Returns labels 0, 1, ..., in turn, int32 ``[count]``; None for a model without labels."""
    return np.arange(count, dtype=np.int32) % num_classes if num_classes else None


def check_num_classes(module: Any, spec: Any) -> None:
    """Raises a ``ValueError`` unless a model has no classes or those of the data."""
    possible = (0, spec.size) if isinstance(spec, Classes) else (0,)
    given = getattr(module, "num_classes", "none")
    if given not in possible:
        raise ValueError(
            f"`num_classes` of the model must be {' or '.join(map(str, possible))} for this data, got {given}"
        )
