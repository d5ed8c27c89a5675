"""The preprocessing of raw inputs by a reader, saved with the run so that its export does the same.

A reader whose batches hold raw inputs, such as tokens or generated numbers, has none of these.
"""

import dataclasses

import numpy as np

from jaxnets.data.statistics import Statistics, check_moments, moments_of, statistics_of


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of numbers ``[N, T, D]`` or ``[N, T]``; NaN at the end of a row is padding.

    Inputs are ``(raw - mean) / std`` by feature, where ``mean = origin + offset``: together they hold a mean more
    exactly than one float64. All three are None where rows are not standardized.

    Attributes:
        origin: Integers, or float64.
        offset: float64.
        std: float64, above 0.
    """

    origin: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self):
        check_moments(self.origin, self.offset, self.std)

    @property
    def statistics(self) -> Statistics | None:
        """Those that rows are standardized with; None where they are not."""
        return statistics_of(self.origin, self.offset, self.std)

    @classmethod
    def of(cls, statistics: Statistics | None) -> "Rows":
        """Those that are standardized by statistics, or are not."""
        return cls(**moments_of(statistics))


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Images ``[N, H, W]`` of one channel, or sets of them ``[N, M, H * W]``, whose values are divided by a constant.

    Attributes:
        divisor: What values are divided by.
        width: W, where an image is read pixel by pixel, ``[N, H * W, 1]``; None: the axes stay.
        either: Whether an image, or a set, without a value above 1 has been divided already: where every raw one that
            is not black has such a value.
    """

    divisor: float
    width: int | None = None
    either: bool = False

    def __post_init__(self):
        if not self.divisor > 0 or (self.width is not None and self.width < 1):
            raise ValueError(f"divisor and width must be above 0, got {self.divisor} and {self.width}")

    @classmethod
    def of(cls, images: np.ndarray, divisor: float, read_as: str) -> "Pixels":
        """For raw images like these, read as rows or as pixels."""
        unsigned = np.issubdtype(images.dtype, np.integer) and images.size > 0 and images.min() >= 0
        either = bool(unsigned and np.all(images.max((1, 2)) != 1))
        return cls(divisor, images.shape[2] if read_as == "pixels" else None, either)


@dataclasses.dataclass(frozen=True)
class Images:
    """Images of bytes ``[N, H, W, C]``, as they are; a file is decoded and brought to this size first.

    Attributes:
        height: H.
        width: W.
        channels: C.
    """

    height: int
    width: int
    channels: int

    @classmethod
    def like(cls, images: np.ndarray) -> "Images":
        return cls(*map(int, images.shape[1:]))


@dataclasses.dataclass(frozen=True)
class Columns:
    """Columns of a table as features ``[N, D]``: numbers as they are, categories one-hot, in the order of the columns.

    Features are ``(raw - mean) / std``, as in ``Rows``; those of categories have mean 0 and std 1. Origin, offset and
    std are None where columns are not standardized.

    Attributes:
        names: Of the columns.
        categories: Of each column the texts that it has, sorted; none of a column of numbers.
        targets: Names of the columns that are targets; none where the targets are not columns.
        origin: Integers, or float64, by feature.
        offset: float64.
        std: float64, above 0.
    """

    names: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    targets: tuple[str, ...] = ()
    origin: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self):
        texts = [*self.names, *self.targets, *(text for texts in self.categories for text in texts)]
        if not all(isinstance(text, str) for text in texts) or len(self.names) != len(self.categories):
            raise ValueError("names, categories and targets of columns must be texts, and categories as many as names")
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f"names of columns must be different texts, got {len(self.names)}")
        check_moments(self.origin, self.offset, self.std, self.features)

    @property
    def features(self) -> int:
        """D."""
        return sum(max(1, len(texts)) for texts in self.categories)

    @property
    def statistics(self) -> Statistics | None:
        """Those that features are standardized with; None where they are not."""
        return statistics_of(self.origin, self.offset, self.std)


Inputs = Rows | Pixels | Images | Columns
