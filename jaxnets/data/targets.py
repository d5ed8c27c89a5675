"""The meaning of a dataset's targets, beside a ``Vocabulary``: classes, measured quantities, labels, or none."""

import dataclasses

import numpy as np

from jaxnets.data.statistics import Statistics, check_moments, statistics_of
from jaxnets.data.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Classes:
    """Targets are int32 numbers of classes.

    Attributes:
        names: In the order of their numbers.
    """

    names: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.names)


@dataclasses.dataclass(frozen=True)
class Quantities:
    """Targets are float32 ``[..., Q]``, standardized where ``std`` is given: ``(quantity - mean) / std``.

    The mean is ``origin + offset``, as in ``inputs.Rows``. All three are None where targets are in the units of the
    data.

    Attributes:
        names: Of the Q quantities.
        origin: Integers, or float64.
        offset: float64.
        std: float64, above 0.
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
        """Mean and standard deviation of the data, float64 ``[Q]``; None where targets are not standardized."""
        known = self.statistics
        return None if known is None else (known.origin + known.offset, known.std)

    @property
    def statistics(self) -> Statistics | None:
        """Those that targets are standardized with; None where they are not."""
        return statistics_of(self.origin, self.offset, self.std)


@dataclasses.dataclass(frozen=True)
class Labels:
    """Targets are bool ``[..., C]``: which of C labels an example has, any number of them.

    Attributes:
        names: Of the labels, in their order.
    """

    names: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.names)


@dataclasses.dataclass(frozen=True)
class Unlabeled:
    """There are no targets.

    Attributes:
        features: Numbers of the last axis of the inputs.
    """

    features: int

    @property
    def size(self) -> int:
        return self.features


Spec = Vocabulary | Classes | Quantities | Labels | Unlabeled
