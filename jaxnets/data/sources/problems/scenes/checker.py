"""Checker of scenes: objects of an image, and whether they match a sentence."""

import functools
import itertools
from typing import NamedTuple

import numpy as np

from jaxnets.data.sources.problems.scenes.sentences import Scene, parse_scene
from jaxnets.data.sources.problems.scenes.shapes import (
    CELLS,
    COLORS,
    PALETTE,
    SHAPES,
    check_image_size,
    shape_masks,
    shape_sizes,
)
from jaxnets.ops.checks import check_fraction, describe_value

MIN_IOU = 0.7
MAX_BORDER = 1 / 3  # part of the border of an object that may have its color


class SceneObject(NamedTuple):
    """An object in an image.

    Attributes:
        shape, color: Names of its shape and its color.
        row, column: Its center in pixels, from the top and from the left.
    """

    shape: str
    color: str
    row: float
    column: float


class SceneMatch(NamedTuple):
    """Comparison of a sentence with an image.

    Attributes:
        mentioned: Number of objects in the sentence.
        found: Number of them that are in the image, with shape and color.
        relation: Whether all are found and the relation holds; True for one object that is found.
        others: Number of objects in the image that the sentence does not mention.
    """

    mentioned: int
    found: int
    relation: bool
    others: int

    @property
    def objects(self) -> bool:
        """Whether all objects of the sentence are in the image."""
        return self.found == self.mentioned

    @property
    def exact(self) -> bool:
        """Whether the image has the objects of the sentence, in their relation, and no others."""
        return self.relation and self.others == 0


def find_objects(image: np.ndarray, min_iou: float = MIN_IOU) -> list[SceneObject]:
    """Returns the objects in an image of the kind of ``shape_scenes``, from top to bottom.

    Each pixel has the nearest of the six colors and of the background. The pixels of a color are compared with every
    shape, in every size and at every place, by intersection over union within the box of the shape and its border of
    one pixel. The best match is an object, and is removed, until none is left. A larger area of one color is not an
    object: at most a third of the border may have the color.

    Args:
        image: uint8 ``[H, W, 3]``, H = W as in ``shape_scenes``.
        min_iou: The smallest intersection over union of an object, between 0 and 1.

    Raises:
        ValueError: If the image has another dtype or shape, or ``min_iou`` is out of range.
    """
    check_fraction("min_iou", min_iou)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"`image` must be uint8 of shape (H, W, 3), got {describe_value(image)}")
    size = image.shape[0]
    if image.shape[1] != size:
        raise ValueError(f"`image` must be square, got {describe_value(image)}")
    check_image_size(size)
    distances = ((image[..., None, :].astype(np.int32) - PALETTE.astype(np.int32)) ** 2).sum(-1)
    nearest = distances.argmin(-1)
    found: list[SceneObject] = []
    best = {color: _best(nearest == color, min_iou) for color in range(1, len(PALETTE))}
    while True:
        color, (score, shape, box) = max(best.items(), key=lambda item: item[1].score)
        if score < min_iou:
            return sorted(found, key=lambda each: (each.row, each.column))
        top, left, width = box
        found.append(SceneObject(SHAPES[shape], tuple(COLORS)[color - 1], top + width / 2, left + width / 2))
        inside = nearest[top : top + width, left : left + width]
        changed = {int(each) for each in np.unique(inside)} - {0}
        inside[:] = 0
        best |= {each: _best(nearest == each, min_iou) for each in changed}


class _Match(NamedTuple):
    score: float
    shape: int
    box: tuple[int, int, int]  # top, left, size


_NONE = _Match(0.0, 0, (0, 0, 0))


def _best(mask: np.ndarray, min_iou: float) -> _Match:
    """Returns the best match of the pixels of one color, bool ``[H, W]``."""
    sizes = shape_sizes(len(mask))
    smallest = shape_masks(sizes[0]).sum((1, 2)).min()
    if mask.sum() < min_iou * smallest:
        return _NONE
    best = _NONE
    padded = np.pad(mask, 1).astype(np.float32)
    for size in sizes:
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size + 2, size + 2))
        columns = windows.shape[1]
        values = windows.reshape(-1, (size + 2) ** 2)
        templates, border = _templates(size)
        common = values @ templates
        scores = common / (templates.sum(0) + values.sum(1, keepdims=True) - common)
        crowded = values @ border > MAX_BORDER * _border_pixels(len(mask), size)
        scores[crowded] = 0
        place, shape = divmod(int(scores.argmax()), len(SHAPES))
        if scores[place, shape] > best.score:
            top, left = divmod(place, columns)
            best = _Match(float(scores[place, shape]), shape, (top, left, size))
    return best


@functools.cache
def _templates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the shapes with a border, float32 ``[(size + 2)^2, 4]``, and the border ``[(size + 2)^2]``."""
    shapes = np.pad(shape_masks(size), ((0, 0), (1, 1), (1, 1))).astype(np.float32)
    border = np.pad(np.zeros((size, size), np.float32), 1, constant_values=1)
    return np.ascontiguousarray(shapes.reshape(len(SHAPES), -1).T), border.ravel()


@functools.cache
def _border_pixels(image_size: int, size: int) -> np.ndarray:
    """Returns the number of pixels of the border within the image, for each place of a box of this size."""
    padded = np.pad(np.ones((image_size, image_size), np.float32), 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size + 2, size + 2))
    return windows.reshape(-1, (size + 2) ** 2) @ _templates(size)[1]


def scene_matches(sentence: str | Scene, image: np.ndarray, min_iou: float = MIN_IOU) -> SceneMatch:
    """Compares a sentence with the objects that ``find_objects`` finds in an image.

    A relation holds if the centers of two objects with the described shapes and colors differ by at least half a cell
    in this direction.

    Args:
        sentence: A sentence of ``shape_scenes``, or its meaning as ``parse_scene`` returns it.
        image, min_iou: As in ``find_objects``.

    Raises:
        ValueError: As in ``find_objects``, or if the sentence is not one of the grammar.
    """
    scene = sentence if isinstance(sentence, Scene) else parse_scene(sentence)
    found = find_objects(image, min_iou)
    candidates = {pair: [each for each in found if (each.color, each.shape) == pair] for pair in scene.objects}
    # Two equal objects of a sentence are two objects of the image.
    number = sum(min(scene.objects.count(pair), len(each)) for pair, each in candidates.items())
    related = number == len(scene.objects)
    if related and scene.relation is not None:
        margin = len(image) / CELLS / 2
        pairs = itertools.product(*(candidates[pair] for pair in scene.objects))
        related = any(_related(first, second, scene.relation, margin) for first, second in pairs)
    return SceneMatch(len(scene.objects), number, related, len(found) - number)


def _related(first: SceneObject, second: SceneObject, relation: str, margin: float) -> bool:
    down, right = second.row - first.row, second.column - first.column
    distance = {"above": down, "below": -down, "to the left of": right, "to the right of": -right}[relation]
    return distance >= margin
