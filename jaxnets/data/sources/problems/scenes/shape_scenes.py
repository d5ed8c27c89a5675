"""Generated images of shapes, with sentences."""

from collections.abc import Sequence

import numpy as np

from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import Dataset
from jaxnets.data.inputs import Images
from jaxnets.data.sources.batches import Batch
from jaxnets.data.sources.problems.generated import generated
from jaxnets.data.sources.problems.scenes.sentences import RELATIONS, grammar_words, max_words, paraphrases
from jaxnets.data.sources.problems.scenes.shapes import (
    BACKGROUND,
    CELLS,
    COLORS,
    PAIRS,
    PALETTE,
    SHAPES,
    check_image_size,
    shape_masks,
    shape_sizes,
)
from jaxnets.data.tokens.captions import Captions
from jaxnets.ops.checks import check_integer, describe_value

HELD_OUT = ("red triangle", "green circle", "blue cross", "yellow square")


def shape_scenes(
    image_size: int = 16,
    max_objects: int = 2,
    batch_size: int = 64,
    held_out: Sequence[str] = HELD_OUT,
    seed: int = 0,
) -> Dataset:
    """Images of colored shapes with sentences, for text-to-image models and their composition of shape and color.

    An image has one object, or two different ones, in cells of a 2 x 2 grid on a dark background. Shapes are circle,
    square, triangle and cross; colors are red, green, blue, yellow, purple and white. Sizes and positions vary by
    pixels, and shapes do not touch. A sentence, one of five paraphrases, describes all objects and, for two, a
    relation that holds in the image: "there is a red circle to the left of a blue square".

    The training and validation splits have no object of the held-out pairs of color and shape. Every example of the
    test split has at least one.

    A batch is a dict of ``inputs`` uint8 ``[B, H, W, 3]``, ``tokens`` int32 ``[B, L]``, the word ids of the sentences,
    padded with 0, ``lengths`` int32 ``[B]``, their numbers of words, and ``mask`` bool ``[B]``. The spec is
    ``Captions``.

    Args:
        image_size: H = W, a multiple of 8 from 16 to 64. Shapes have 5 to 7 pixels for 16.
        max_objects: 1 or 2, the largest number of objects.
        batch_size: B, rows of a batch.
        held_out: Pairs of color and shape, such as "red triangle". Every shape and every color has other pairs.
        seed: Seed of the examples.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_arguments(seed, batch_size=batch_size)
    check_image_size(image_size)
    check_integer("max_objects", max_objects)
    if max_objects > 2:
        raise ValueError(f"`max_objects` must be 1 or 2, got {max_objects}")
    held = _checked_pairs(held_out)
    every = np.arange(len(PAIRS))
    seen = np.setdiff1d(every, held)
    captions = Captions(grammar_words(), max_words())
    templates, lengths = _templates(captions)

    def make(random: np.random.Generator, pairs: np.ndarray, others: np.ndarray) -> Batch:
        """Each image has an object of ``pairs`` and perhaps another one of ``others``, a superset."""
        two = random.integers(1, max_objects + 1, batch_size) == 2
        objects, cells = _objects(random, batch_size, pairs, others, two)
        relations = np.where(two, 1 + _relations(random, cells), 0)
        chosen = random.integers(0, templates.shape[1], batch_size)
        words = templates[relations, chosen]
        names = objects[..., None] // [len(SHAPES), 1] % [len(COLORS), len(SHAPES)]  # [B, 2, (color, shape)]
        ids = _name_ids(captions)[[0, 1], names].reshape(batch_size, 4)
        return {
            "inputs": _painted(random, image_size, objects, cells, two),
            "tokens": np.where(words < 0, np.take_along_axis(ids, np.maximum(~words, 0), axis=1), words),
            "lengths": lengths[relations, chosen],
            "mask": np.ones(batch_size, bool),
        }

    source = (
        f"scenes of up to {max_objects} shapes in {image_size} x {image_size} pixels, "
        f"{', '.join(PAIRS[pair] for pair in held)} in the test split only, {batch_size} a batch"
    )
    inputs = Images(image_size, image_size, 3)
    return generated(make, captions, seed, source, ((seen, seen), (seen, seen), (held, every)), inputs)


def _checked_pairs(held_out: Sequence[str]) -> np.ndarray:
    """Returns the sorted indices of pairs."""
    given = [held_out] if isinstance(held_out, str) or not isinstance(held_out, Sequence) else list(held_out)
    unknown = [pair for pair in given if pair not in PAIRS]
    if unknown or not given:
        example = "pairs of color and shape, such as 'red triangle', at least one"
        raise ValueError(f"`held_out` must be {example}, got {describe_value(unknown[0] if unknown else held_out)}")
    held = np.unique([PAIRS.index(pair) for pair in given])
    seen = {name for i, pair in enumerate(PAIRS) if i not in held for name in pair.split()}
    missing = [name for name in (*COLORS, *SHAPES) if name not in seen]
    if missing:
        raise ValueError(f"`held_out` must leave a pair of every color and shape, got all of {missing[0]}")
    return held


def _templates(captions: Captions) -> tuple[np.ndarray, np.ndarray]:
    """Returns word ids of the paraphrases ``[5, P, L]`` for no relation and each relation, and their lengths.

    The places of the color and the shape of the first and the second object hold -1 to -4.
    """
    sentences = [[each.split() for each in paraphrases(relation)] for relation in (None, *RELATIONS)]
    places = {"color_a": -1, "shape_a": -2, "color_b": -3, "shape_b": -4}
    ids = {word: index for index, word in enumerate(captions.words, start=1)} | places
    lengths = np.array([[len(words) for words in row] for row in sentences], np.int32)
    templates = np.zeros((*lengths.shape, captions.max_seq_len), np.int32)
    for i, row in enumerate(sentences):
        for j, words in enumerate(row):
            templates[i, j, : len(words)] = [ids[word] for word in words]
    return templates, lengths


def _name_ids(captions: Captions) -> np.ndarray:
    """Returns the word ids of colors and shapes ``[2, 6]``."""
    ids = np.zeros((2, max(len(COLORS), len(SHAPES))), np.int32)
    for row, names in zip(ids, (COLORS, SHAPES), strict=True):
        row[: len(names)] = [captions.words.index(name) + 1 for name in names]
    return ids


def _objects(
    random: np.random.Generator, count: int, pairs: np.ndarray, others: np.ndarray, two: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Samples indices of two different pairs and of two different cells, each ``[B, 2]``."""
    first = pairs[random.integers(0, len(pairs), count)]
    steps = random.integers(1, len(others), count)
    objects = np.stack([first, others[(np.searchsorted(others, first) + steps) % len(others)]], axis=1)
    swapped = two & (random.random(count) < 0.5)
    first_cell = random.integers(0, CELLS**2, count)
    cells = np.stack([first_cell, (first_cell + random.integers(1, CELLS**2, count)) % CELLS**2], axis=1)
    return np.where(swapped[:, None], objects[:, ::-1], objects), cells


def _relations(random: np.random.Generator, cells: np.ndarray) -> np.ndarray:
    """Returns indices of true relations ``[B]`` of the first to the second cell, at random if two are true."""
    down, right = np.sign(np.diff(np.stack(np.divmod(cells, CELLS)), axis=-1)[..., 0])
    vertical = (down != 0) & ((right == 0) | (random.random(len(cells)) < 0.5))
    return np.where(vertical, down < 0, 2 + (right < 0))


def _painted(
    random: np.random.Generator, image_size: int, objects: np.ndarray, cells: np.ndarray, two: np.ndarray
) -> np.ndarray:
    """Returns images uint8 ``[B, H, W, 3]`` of two objects, or of the first one where ``two`` is False.

    A shape lies within a square of one pixel less than a cell. All squares of an image are shifted by the same 0 or 1
    pixels down and to the right, so at least one pixel separates neighboring shapes.
    """
    cell, sizes, count = image_size // CELLS, np.array(shape_sizes(image_size)), len(objects)
    largest = sizes[-1]
    masks = np.zeros((len(sizes), len(SHAPES), largest, largest), bool)
    for i, size in enumerate(sizes):
        masks[i, :, :size, :size] = shape_masks(int(size))
    kinds = random.integers(0, len(sizes), objects.shape)
    free = (cell - sizes[kinds])[..., None]  # positions of a shape within its square, per axis
    corners = cell * np.stack(np.divmod(cells, CELLS), axis=-1) + random.integers(0, 2, (count, 1, 2))
    corners += (random.random(corners.shape) * free).astype(np.int64)
    images = np.full((count, image_size + largest, image_size + largest, 3), BACKGROUND, np.uint8)
    rows, within = np.arange(count)[:, None, None], np.arange(largest)
    for i, present in enumerate((np.ones(count, bool), two)):
        mask = masks[kinds[:, i], objects[:, i] % len(SHAPES)] & present[:, None, None]
        color = PALETTE[1 + objects[:, i] // len(SHAPES)][:, None, None]
        place = (rows, (corners[:, i, 0, None] + within)[:, :, None], (corners[:, i, 1, None] + within)[:, None])
        images[place] = np.where(mask[..., None], color, images[place])
    return np.ascontiguousarray(images[:, :image_size, :image_size])
