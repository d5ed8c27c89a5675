"""Figures and image grids of generated examples."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxnets.reports import ImageGrid, ImageStrip
from jaxnets.tasks.gan.examples import to_images
from jaxnets.tasks.generative.codes import codes_of
from jaxnets.tasks.generative.labels import labels_in_turn

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

NUM_IMAGES = 64
MAX_CLASSES = 20  # of the rows of a grid
STRIP = 12  # images of the same codes at each report

Generate = Callable[[Any, jax.Array, Any], jax.Array]  # (variables, codes, labels or None) -> examples


def images_report(generate: Generate, latent: int, num_classes: int) -> Callable:
    """Creates the report of generated images: ``samples``, and ``strip``, images of the same codes over training.

    The grid ``samples`` of a conditional model has one row for each class, of the first 20.
    """
    rows = min(num_classes, MAX_CLASSES)
    columns = 8 if rows else 0
    labels = np.repeat(np.arange(rows, dtype=np.int32), columns) if rows else None
    fixed = codes_of(jax.random.split(jax.random.key(0), STRIP), latent)

    def draw(variables, splits, key):
        shape = splits["validation"][0]["inputs"].shape[1:]
        images = lambda codes, labels: np.asarray(to_images(generate(variables, codes, labels), shape))
        codes = codes_of(jax.random.split(key, rows * columns or NUM_IMAGES), latent)
        return {
            "samples": ImageGrid(images(codes, labels), columns),
            "strip": ImageStrip(images(fixed, labels_in_turn(STRIP, num_classes))),
        }

    return draw


def points_report(generate: Generate, latent: int, count: int) -> Callable:
    """Creates the report of generated points, a figure."""

    def draw(variables, splits, key):
        samples = generate(variables, codes_of(jax.random.split(key, count), latent), None)
        return {"samples": scatter(splits["validation"][0]["inputs"], np.asarray(samples))}

    return draw


def scatter(real: np.ndarray, samples: np.ndarray) -> "Figure":
    """Draws generated and real points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5))
    axes = figure.subplots()
    axes.scatter(samples[:, 0], samples[:, 1], s=3, alpha=0.3, label="generated")
    axes.scatter(real[:, 0], real[:, 1], s=6, color="black", label="real")
    axes.set(aspect="equal")
    axes.legend(loc="upper right")
    figure.tight_layout()
    return figure
