"""What the numbers of a dataset's targets mean, beside a ``Vocabulary``: classes, or measured quantities."""

import dataclasses


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
    """Targets are float32 ``[..., Q]``.

    Attributes:
        names: Of the Q quantities.
    """

    names: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.names)
