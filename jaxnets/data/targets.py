"""Specs of targets, except ``Vocabulary``: classes, quantities, labels, or no targets."""

import dataclasses

import numpy as np

from jaxnets.data.statistics import Statistics, check_moments, statistics_of
from jaxnets.data.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Classes:
    """Spec of targets that are int32 class indices.

    Attributes:
        names: Names of the classes, in the order of their indices.
    """

    names: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.names)


@dataclasses.dataclass(frozen=True)
class Quantities:
    """Spec of targets that are float32 quantities ``[..., Q]``.

    Targets are standardized if ``std`` is given: ``(quantity - mean) / std`` with ``mean = origin + offset``, as in
    ``inputs.Rows``. Otherwise ``origin``, ``offset`` and ``std`` are None, and targets have the units of the data.

    Attributes:
        names: Names of the Q quantities.
        origin: First term of the mean, integers or float64.
        offset: Second term of the mean, float64.
        std: Standard deviation, float64, positive.
    """

    names: tuple[str, ...]
    origin: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self):
        check_moments(self.origin, self.offset, self.std, len(self.names))

    @property
    def size(self) -> int:
        return len(self.names)

    @property
    def scale(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and standard deviation of the data, float64 ``[Q]``; None if targets are not standardized."""
        known = self.statistics
        return None if known is None else (known.origin + known.offset, known.std)

    @property
    def statistics(self) -> Statistics | None:
        """Statistics that standardize the targets; None if targets are not standardized."""
        return statistics_of(self.origin, self.offset, self.std)


@dataclasses.dataclass(frozen=True)
class Labels:
    """Spec of multilabel targets, bool ``[..., C]``: an example has any number of C labels.

    Attributes:
        names: Names of the labels.
    """

    names: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.names)


@dataclasses.dataclass(frozen=True)
class Unlabeled:
    """Spec of data without targets.

    Attributes:
        features: Size of the last axis of the inputs.
    """

    features: int

    @property
    def size(self) -> int:
        return self.features


Spec = Vocabulary | Classes | Quantities | Labels | Unlabeled
