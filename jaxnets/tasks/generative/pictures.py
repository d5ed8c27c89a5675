"""Images and codes of autoencoders, for reports."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxnets.reports import Arrays, ImageGrid
from jaxnets.tasks.generative.pixels import image_shape

PAIRS, STEPS = 8, 11  # of interpolations
MAX_UNITS = 10  # of a traversal
MAX_POINTS = 2000  # of a map of codes
SPAN = 3.0  # standard deviations of the prior, on either side

Decode = Callable[[np.ndarray], Any]  # codes [N, Z] to pixels [N, D]


def image_grid(pixels: Any, shape: tuple[int, ...] = (), columns: int = 0) -> ImageGrid | Arrays:
    """Flat images in this shape, or as squares; unchanged if they have neither shape. Values are clipped to [0, 1]."""
    pixels = np.asarray(pixels)
    images = image_shape(pixels.shape[-1], shape)
    if images is None:
        return Arrays({"samples": pixels})
    return ImageGrid(np.clip(pixels, 0, 1).reshape(-1, *images), columns)


def side_by_side(*pixels: Any, shape: tuple[int, ...] = (), rows: int = 8) -> ImageGrid | Arrays:
    """Draws versions of the same images ``[N, D]`` beside each other, in four groups per row."""
    count = min(4 * rows, len(pixels[0]))
    versions = np.stack([np.asarray(each)[:count] for each in pixels], axis=1)
    return image_grid(versions.reshape(-1, versions.shape[-1]), shape, 4 * len(pixels))


def interpolations(decode: Decode, codes: np.ndarray, shape: tuple[int, ...] = ()) -> ImageGrid | Arrays:
    """Draws the decoded codes on the lines between pairs of codes ``[N, Z]``, one pair in each row."""
    codes = np.asarray(codes)
    count = max(min(PAIRS, len(codes) // 2), 1)
    weights = np.linspace(0, 1, STEPS, dtype=codes.dtype)[None, :, None]
    first, second = codes[:count, None], codes[-count:, None]
    between = (1 - weights) * first + weights * second
    return image_grid(decode(between.reshape(-1, codes.shape[-1])), shape, STEPS)


def traversal(decode: Decode, codes: np.ndarray, shape: tuple[int, ...] = ()) -> ImageGrid | Arrays:
    """Draws the decoded codes of a grid of the plane, or of the lines along the units with the largest variance.

    Two units: quantiles of the standard normal prior in both directions. More: from -3 to 3, one unit in each row, the
    other units as in the first code.

    Args:
        decode: Codes to pixels.
        codes: ``[N, Z]``.
        shape: Shape of an image.
    """
    codes = np.asarray(codes)
    if codes.shape[-1] == 2:
        quantiles = np.asarray(jax.scipy.special.ndtri(np.linspace(0.03, 0.97, 16, dtype=np.float32)), codes.dtype)
        plane = np.stack(np.meshgrid(quantiles, quantiles[::-1]), axis=-1)
        return image_grid(decode(plane.reshape(-1, 2)), shape, len(quantiles))
    units = np.argsort(-codes.var(axis=0))[:MAX_UNITS]
    lines = np.broadcast_to(codes[0], (len(units), STEPS, codes.shape[-1])).copy()
    lines[np.arange(len(units)), :, units] = np.linspace(-SPAN, SPAN, STEPS, dtype=codes.dtype)
    return image_grid(decode(lines.reshape(-1, codes.shape[-1])), shape, STEPS)


def class_changes(
    decode: Decode, codes: np.ndarray, labels: np.ndarray, shape: tuple[int, ...] = ()
) -> ImageGrid | Arrays:
    """Draws how one image of each class, of the first 10, becomes one of the next class.

    The code moves by the difference of the mean codes of both classes (Kingma and Dhariwal 2018, arXiv:1807.03039).

    Args:
        decode: Codes to pixels.
        codes: ``[N, Z]``.
        labels: Class indices ``[N]``.
        shape: Shape of an image.
    """
    classes = np.unique(labels)[:MAX_UNITS]
    means = np.stack([codes[labels == each].mean(axis=0) for each in classes])
    first = np.stack([codes[labels == each][0] for each in classes])
    change = np.roll(means, -1, axis=0) - means
    weights = np.linspace(0, 1, STEPS, dtype=codes.dtype)[None, :, None]
    lines = first[:, None] + weights * change[:, None]
    return image_grid(decode(lines.reshape(-1, codes.shape[-1])), shape, STEPS)


def encoded(encode: Callable[[Any], Any], batches: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the codes and the class indices, if there are any, of up to 2,000 rows of a split.

    Args:
        encode: Batch to codes ``[B, Z]``.
        batches: The batches of the split.
    """
    codes, targets = [], []
    for batch in _first(batches, MAX_POINTS):
        codes.append(np.asarray(encode(batch))[batch["mask"]])
        targets.append(batch["targets"][batch["mask"]] if "targets" in batch else None)
    known = [each for each in targets if each is not None]
    return np.concatenate(codes)[:MAX_POINTS], np.concatenate(known)[:MAX_POINTS] if known else None


def _first(batches: Any, rows: int) -> Iterator[Any]:
    count = 0
    for i in range(len(batches)):  # by index: an iterator would prefetch many batches
        if count >= rows:
            return
        yield (batch := batches[i])
        count += int(batch["mask"].sum())
