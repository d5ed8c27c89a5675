"""Masks and colors of the shapes of scenes."""

import functools

import numpy as np

from jaxnets.ops.checks import describe_value

CELLS = 2  # per side of an image
MIN_SIZE, MAX_SIZE, SIZE_STEP = 16, 64, 8  # of an image

BACKGROUND = (16, 16, 16)
COLORS = {
    "red": (255, 32, 32),
    "green": (32, 224, 32),
    "blue": (32, 64, 255),
    "yellow": (255, 240, 32),
    "purple": (208, 32, 255),
    "white": (255, 255, 255),
}
SHAPES = ("circle", "square", "triangle", "cross")
PALETTE = np.array([BACKGROUND, *COLORS.values()], np.uint8)
PAIRS = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)


def check_image_size(image_size: int) -> None:
    """Raises a ValueError unless an image size is a multiple of 8 from 16 to 64."""
    if type(image_size) is not int or image_size not in range(MIN_SIZE, MAX_SIZE + 1, SIZE_STEP):
        raise ValueError(
            f"`image_size` must be a multiple of {SIZE_STEP} from {MIN_SIZE} to {MAX_SIZE}, "
            f"got {describe_value(image_size)}"
        )


def shape_sizes(image_size: int) -> tuple[int, ...]:
    """Returns the sizes of shapes in pixels: 5, 6 and 7 of a cell of 8 pixels, and in proportion for larger ones."""
    cell = image_size // CELLS
    return tuple(range(5 * cell // 8, cell, max(1, cell // 8)))


@functools.cache
def shape_masks(size: int) -> np.ndarray:
    """Returns the pixels of the shapes in the order of ``SHAPES``, bool ``[4, size, size]``."""
    centers = np.arange(size) + 0.5
    y, x = centers[:, None], centers[None]
    across, down = abs(x - size / 2), abs(y - size / 2)
    masks = np.stack(
        [
            across**2 + down**2 <= (0.47 * size) ** 2,
            np.ones((size, size), bool),
            across <= y / 2 + 0.25,
            abs(across - down) <= size / 10,
        ]
    )
    masks.setflags(write=False)
    return masks
