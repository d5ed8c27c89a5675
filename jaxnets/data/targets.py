"""Specs of targets, except ``Vocabulary`` and ``Captions``: classes, quantities, steps of series, labels, or none."""

import dataclasses

import numpy as np

from jaxnets.data.statistics import Statistics, check_moments, statistics_of
from jaxnets.data.tokens.captions import Captions
from jaxnets.data.tokens.tag_schemes import SCHEMES, check_tag
from jaxnets.data.tokens.tokenizer import Tokenizer
from jaxnets.data.tokens.vocabulary import Vocabulary
from jaxnets.ops.checks import check_choice

MAX_TAGS = 4096  # the memory of their transitions is quadratic


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
class TextClasses:
    """Spec of targets that are int32 class indices of texts.

    Inputs are int32 token ids ``[B, T]`` with ``lengths``. T may differ between the batches of a split.

    Attributes:
        names: Names of the classes, in the order of their indices.
        tokenizer: The mapping from texts to token ids.
    """

    names: tuple[str, ...]
    tokenizer: Tokenizer

    @property
    def size(self) -> int:
        return len(self.names)


class _Standardized:
    """Properties of specs of numbers that may be standardized."""

    names: tuple[str, ...]
    origin: tuple[float, ...] | None
    offset: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @property
    def size(self) -> int:
        return len(self.names)

    @property
    def statistics(self) -> Statistics | None:
        """Statistics that standardize the numbers; None if they are not standardized."""
        return statistics_of(self.origin, self.offset, self.std)


@dataclasses.dataclass(frozen=True)
class Quantities(_Standardized):
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
    def scale(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and standard deviation of the data, float64 ``[Q]``; None if targets are not standardized."""
        known = self.statistics
        return None if known is None else (known.origin + known.offset, known.std)


@dataclasses.dataclass(frozen=True)
class Horizon(_Standardized):
    """Spec of targets that are the next steps of a series, float32 ``[B, H, C]``, standardized as in ``Quantities``.

    Attributes:
        names: Names of the C channels to forecast.
        horizon: H, the number of steps to forecast.
        context: T, the number of steps of the window before.
        season: The period in steps, for the seasonal naive forecast and for MASE.
        naive_error: The mean absolute difference to the value one season before, over the training part, in the units
            of the targets, one per channel; 0 if the training part has at most one season.
        origin, offset, std: As in ``Quantities``.
    """

    names: tuple[str, ...]
    horizon: int
    context: int
    season: int
    naive_error: tuple[float, ...]
    origin: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self):
        sizes = (self.horizon, self.context, self.season)
        if not all(type(size) is int and size > 0 for size in sizes):
            raise ValueError(f"`horizon`, `context` and `season` must be positive integers, got {sizes}")
        if len(self.naive_error) != len(self.names) or not all(error >= 0 for error in self.naive_error):
            raise ValueError(f"`naive_error` must be {len(self.names)} nonnegative numbers, got {self.naive_error}")
        check_moments(self.origin, self.offset, self.std, len(self.names))


@dataclasses.dataclass(frozen=True)
class LabeledSteps(_Standardized):
    """Spec of the steps of series with labels, True for an anomaly, bool ``[B, S]``.

    The series are float32 ``[B, T + S, C]``, standardized as in ``Quantities``.

    Attributes:
        names: Names of the C channels.
        context: T, the number of steps before.
        steps: S, the number of steps with labels.
        origin, offset, std: As in ``Quantities``.
    """

    names: tuple[str, ...]
    context: int
    steps: int
    origin: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self):
        if not all(type(size) is int and size > 0 for size in (self.context, self.steps)):
            raise ValueError(f"`context` and `steps` must be positive integers, got {self.context}, {self.steps}")
        check_moments(self.origin, self.offset, self.std, len(self.names))


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
class Words:
    """Spec of running text as word ids, for word vectors.

    Attributes:
        tokenizer: The mapping from words to ids, in descending order of frequency.
        counts: Number of occurrences of each id in the training text, 0 for the id 0 of unknown words.
    """

    tokenizer: Tokenizer
    counts: tuple[int, ...]

    def __post_init__(self):
        if not isinstance(self.tokenizer, Tokenizer) or self.tokenizer.unit != "word":
            raise ValueError("`tokenizer` must be a Tokenizer with the unit word")
        if len(self.counts) != self.size or not all(type(count) is int and count >= 0 for count in self.counts):
            raise ValueError(f"`counts` must be {self.size} nonnegative integers, got {str(self.counts)[:60]}")

    @property
    def size(self) -> int:
        return self.tokenizer.size


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


@dataclasses.dataclass(frozen=True)
class Tags:
    """Spec of the tags of words, int32 ``[B, T]``.

    Attributes:
        names: Names of the tags, in the order of their indices.
        scheme: Their scheme, one of ``tag_schemes.SCHEMES``.
        tokenizer: The words, of the unit ``"word"``.
        characters: The characters of words, of the unit ``"character"``; None if they are not read.
    """

    names: tuple[str, ...]
    scheme: str
    tokenizer: Tokenizer
    characters: Tokenizer | None = None

    def __post_init__(self):
        check_choice("scheme", self.scheme, SCHEMES)
        if not 0 < len(self.names) <= MAX_TAGS or len(set(self.names)) < len(self.names):
            raise ValueError(f"`names` must be 1 to {MAX_TAGS:,} distinct tags, got {len(self.names):,}")
        for name in self.names:
            check_tag(name, self.scheme)
        units = (self.tokenizer.unit, "character" if self.characters is None else self.characters.unit)
        if units != ("word", "character"):
            raise ValueError(f"the units of words and characters must be word and character, got {', '.join(units)}")

    @property
    def size(self) -> int:
        return len(self.names)


Spec = (
    Vocabulary
    | Captions
    | Classes
    | TextClasses
    | Tags
    | Quantities
    | Horizon
    | LabeledSteps
    | Labels
    | Words
    | Unlabeled
)
