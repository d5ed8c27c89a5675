"""Artifacts beside matplotlib figures: plain descriptions, which the training loop writes to files."""

from typing import Any, NamedTuple

import numpy as np


class Text(NamedTuple):
    """Attributes:
    text: To be printed, and written as ``.txt``.
    """

    text: str


class Table(NamedTuple):
    """Attributes:
    columns: Their names.
    rows: Of as many values each; written as ``.csv``.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class ImageGrid(NamedTuple):
    """Attributes:
    images: ``[N, H, W, C]`` with 1 or 3 channels, uint8, or floating point from 0 to 1; written as one ``.png``.
    columns: Images in a row; 0: about as many as rows.
    """

    images: np.ndarray
    columns: int = 0


class Audio(NamedTuple):
    """Attributes:
    samples: ``[T]``, floating point from -1 to 1; written as ``.wav`` of 16 bits.
    rate: Samples a second.
    """

    samples: np.ndarray
    rate: int


class Arrays(NamedTuple):
    """Attributes:
    arrays: By name; written as ``.npz``.
    """

    arrays: dict[str, np.ndarray]
