"""Descriptions of the preprocessing of raw inputs.

A description is saved with the run, so that predictions and exports preprocess new inputs like the reader. Readers
without preprocessing, such as those of tokens or generated numbers, have none.
"""

import dataclasses

import numpy as np

from jaxnets.data.statistics import Statistics, check_moments, moments_of, statistics_of
from jaxnets.data.timestamps import Frequency
from jaxnets.data.tokens.tag_schemes import SCHEMES
from jaxnets.data.tokens.tokenizer import Tokenizer
from jaxnets.ops.checks import check_choice, check_integer

MAX_WORDS = 2**16  # of a row of words, and characters of a word


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of numbers ``[N, T, D]`` or ``[N, T]``, padded with trailing NaNs.

    Inputs are ``(raw - mean) / std`` for each feature with ``mean = origin + offset``, a sum that is more precise than
    one float64. All three are None if rows are not standardized.

    Attributes:
        origin: Integers or float64, one per feature.
        offset: float64, one per feature.
        std: Standard deviations, float64, positive.
    """

    origin: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self):
        check_moments(self.origin, self.offset, self.std)

    @property
    def statistics(self) -> Statistics | None:
        """Statistics for standardization, or None."""
        return statistics_of(self.origin, self.offset, self.std)

    @classmethod
    def of(cls, statistics: Statistics | None) -> "Rows":
        """Makes the description for given statistics."""
        return cls(**moments_of(statistics))


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Grayscale images ``[N, H, W]``, or sets of them ``[N, M, H * W]``, divided by a constant.

    Attributes:
        divisor: The constant.
        width: W, if an image is a sequence of pixels ``[N, H * W, 1]``; None preserves the axes.
        either: Whether images, or sets, without a value above 1 are accepted as already divided. This is possible if
            every raw image that is not black has such a value.
    """

    divisor: float
    width: int | None = None
    either: bool = False

    def __post_init__(self):
        if not self.divisor > 0 or (self.width is not None and self.width < 1):
            raise ValueError(f"`divisor` and `width` must be positive, got {self.divisor} and {self.width}")

    @classmethod
    def of(cls, images: np.ndarray, divisor: float, read_as: str) -> "Pixels":
        """Makes the description for raw images ``[N, H, W]``, read as rows or as pixels."""
        unsigned = np.issubdtype(images.dtype, np.integer) and images.size > 0 and images.min() >= 0
        either = bool(unsigned and np.all(images.max((1, 2)) != 1))
        return cls(divisor, images.shape[2] if read_as == "pixels" else None, either)


@dataclasses.dataclass(frozen=True)
class Images:
    """Images of bytes ``[N, H, W, C]``, without preprocessing. Image files are decoded and resized to this size.

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
        """Makes the description for images ``[N, H, W, C]``."""
        return cls(*map(int, images.shape[1:]))


@dataclasses.dataclass(frozen=True)
class Columns:
    """Columns of a table as features ``[N, D]``: numbers, and one-hot categories, in the order of the columns.

    Features are ``(raw - mean) / std`` as in ``Rows``; one-hot features have mean 0 and std 1. Origin, offset and std
    are None if columns are not standardized.

    Attributes:
        names: Names of the columns.
        categories: The sorted categories of each column; empty for a numeric column.
        targets: Names of the target columns; empty if targets are not columns.
        origin: Integers or float64, one per feature.
        offset: float64, one per feature.
        std: Standard deviations, float64, positive.
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
            raise ValueError(
                "`names`, `categories` and `targets` must be strings, with one tuple of categories per name"
            )
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f"`names` must be different strings, at least one, got {len(self.names)}")
        check_moments(self.origin, self.offset, self.std, self.features)

    @property
    def features(self) -> int:
        """D, the number of features."""
        return sum(max(1, len(texts)) for texts in self.categories)

    @property
    def statistics(self) -> Statistics | None:
        """Statistics for standardization, or None."""
        return statistics_of(self.origin, self.offset, self.std)


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of regular series, with covariates; see ``sources.series.forecasting``.

    Values are ``(raw - mean) / std`` for each of the C + P + F + S numbers of targets, past, future and static
    covariates, as in ``Rows``. Origin, offset and std are None if they are not standardized.

    Attributes:
        targets: Names of the targets.
        context: T, steps of a window.
        horizon: H, steps to forecast.
        time: Name of the column of timestamps; empty for none.
        series: Name of the column that names series; empty for none.
        past, future, static: Names of the covariates.
        count, unit: The frequency, as in ``timestamps.Frequency``.
        origin: Integers or float64, one per number.
        offset: float64, one per number.
        std: Standard deviations, float64, positive.
    """

    targets: tuple[str, ...]
    context: int
    horizon: int
    time: str = ""
    series: str = ""
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    count: int = 1
    unit: str = "1"
    origin: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self):
        names = (self.time, self.series, *self.targets, *self.past, *self.future, *self.static)
        if not self.targets or not all(isinstance(name, str) for name in names):
            raise ValueError("`targets` and the other columns must be strings, with at least one target")
        if not all(type(size) is int and size > 0 for size in (self.context, self.horizon)):
            raise ValueError(f"`context` and `horizon` must be positive integers, got {self.context}, {self.horizon}")
        Frequency(self.count, self.unit)
        check_moments(self.origin, self.offset, self.std, self.size)

    @property
    def columns(self) -> dict[str, slice]:
        """The statistics of each array of a batch: ``inputs``, ``past``, ``future`` and ``static``."""
        groups = {"inputs": self.targets, "past": self.past, "future": self.future, "static": self.static}
        ends = np.cumsum([len(names) for names in groups.values()]).tolist()
        return {key: slice(end - len(names), end) for (key, names), end in zip(groups.items(), ends, strict=True)}

    @property
    def size(self) -> int:
        """The number of targets and covariates."""
        return self.columns["static"].stop

    @property
    def statistics(self) -> Statistics | None:
        """Statistics for standardization, or None."""
        return statistics_of(self.origin, self.offset, self.std)


@dataclasses.dataclass(frozen=True)
class LabeledWindows(Windows):
    """Windows of regular series with a label per step; see ``sources.series.labeled_steps``.

    A window has ``context + horizon`` steps; each step of a series is one of the last ``horizon`` steps of one window.

    Attributes:
        labels: Name of the column of labels, which files without targets do not need.
    """

    labels: str = "anomaly"

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.labels, str) or not self.labels:
            raise ValueError(f"`labels` must be the name of a column, got {self.labels!r}")


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts as token ids ``[N, T]`` with ``lengths``; longer texts are cut off after ``max_length`` tokens.

    Attributes:
        tokenizer: The mapping from texts to token ids.
        max_length: The largest number of tokens of a text.
        column: Name of the column of texts; empty if an example is a binary file, whose first bytes are the tokens.
        label: Name of the column of labels.
    """

    tokenizer: Tokenizer
    max_length: int
    column: str = "text"
    label: str = "label"

    def __post_init__(self):
        check_integer("max_length", self.max_length)
        if not isinstance(self.tokenizer, Tokenizer) or not all(
            isinstance(name, str) for name in (self.column, self.label)
        ):
            raise ValueError("`tokenizer` must be a Tokenizer, and `column` and `label` strings")
        if not self.column and self.tokenizer.unit != "byte":
            raise ValueError(f"the tokenizer of binary files must have the unit byte, got {self.tokenizer.unit}")


@dataclasses.dataclass(frozen=True)
class SentenceWords:
    """Sentences of words, as token ids ``[N, T]`` and the ids of their characters ``[N, T, W]``.

    Attributes:
        tokenizer: The words, of the unit ``"word"``.
        characters: The characters of words, of the unit ``"character"``; None if they are not read.
        max_length: Largest T. Longer sentences are split.
        max_characters: W, characters of a word.
        column: The column of the tags of CoNLL files, as in ``formats.conll.read_conll``.
        scheme: The scheme of the tags of files.
        source: ``"conll"`` for files of words, ``"python"`` for sources of Python.
    """

    tokenizer: Tokenizer
    characters: Tokenizer | None
    max_length: int
    max_characters: int
    column: str = ""
    scheme: str = "none"
    source: str = "conll"

    def __post_init__(self):
        check_integer("max_length", self.max_length)
        check_integer("max_characters", self.max_characters, minimum=0)
        check_choice("scheme", self.scheme, SCHEMES)
        check_choice("source", self.source, ("conll", "python"))
        if self.max_length > MAX_WORDS or self.max_characters > MAX_WORDS:
            raise ValueError(f"`max_length` and `max_characters` must be at most {MAX_WORDS:,}, got more")
        if not isinstance(self.tokenizer, Tokenizer) or not isinstance(self.column, str):
            raise ValueError("`tokenizer` must be a Tokenizer and `column` a string")


Inputs = Rows | Pixels | Images | Columns | Windows | Texts | SentenceWords
