"""Artifacts other than matplotlib figures: plain data that the training loop writes to files."""

from typing import Any, NamedTuple

import numpy as np


class Text(NamedTuple):
    """Text, which is printed and written as ``.txt``.

    Attributes:
        text: The text.
    """

    text: str


class Table(NamedTuple):
    """A table, which is written as ``.csv``.

    Attributes:
        columns: Names of the columns.
        rows: Rows, with one value for each column.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class ImageGrid(NamedTuple):
    """A grid of images, which is written as one ``.png``.

    Attributes:
        images: ``[N, H, W, C]`` with 1 or 3 channels, uint8, or floating point in [0, 1].
        columns: Images per row; 0 chooses an approximately square grid.
    """

    images: np.ndarray
    columns: int = 0


class ImageStrip(NamedTuple):
    """A row of images that is appended to the rows of earlier steps in one ``.png``.

    Attributes:
        images: As in ``ImageGrid``, with equal shapes in every report.
    """

    images: np.ndarray


class Audio(NamedTuple):
    """A mono waveform, which is written as a 16-bit ``.wav``.

    Attributes:
        samples: ``[T]``, floating point in [-1, 1].
        sample_rate: Sampling rate in hertz.
    """

    samples: np.ndarray
    sample_rate: int


class Arrays(NamedTuple):
    """Arrays, which are written as ``.npz``.

    Attributes:
        arrays: Arrays by name.
    """

    arrays: dict[str, np.ndarray]
