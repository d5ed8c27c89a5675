"""Figures of generated images: their captions, and their quality over the guidance scale."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxnets.ops.host.printable import printable
from jaxnets.reports.figures import escape_text

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

MAX_CAPTION = 100  # characters of a title
LABELS = {
    "label_accuracy": "classified as asked",
    "precision": "precision",
    "recall": "recall",
}


def guidance_curves(scales: Sequence[float], metrics: Sequence[Mapping[str, float]]) -> "Figure":
    """Draws fidelity and diversity, and the Frechet distance, over the guidance scale.

    Args:
        scales: Guidance scales, ``[N]``.
        metrics: For each scale ``label_accuracy``, ``precision``, ``recall`` and ``logit_frechet_distance``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5))
    fractions, distances = figure.subplots(1, 2)
    for name, label in LABELS.items():
        fractions.plot(scales, [each[name] for each in metrics], marker="o", label=label)
    fractions.set(xlabel="guidance scale", ylabel="fraction of images", ylim=(0, 1.02))
    fractions.legend()
    distances.plot(scales, [each["logit_frechet_distance"] for each in metrics], marker="o", color="black")
    distances.set(xlabel="guidance scale", ylabel="Frechet distance of logits")
    distances.set_ylim(bottom=0)
    figure.tight_layout()
    return figure


def captioned_images(images: np.ndarray, captions: Sequence[str], columns: int = 6) -> "Figure":
    """Draws images below their captions.

    Args:
        images: ``[N, H, W, C]`` in [0, 1].
        captions: N texts.
        columns: Images of a row.
    """
    from matplotlib.figure import Figure

    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2 * columns, 2.3 * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, caption in zip(grid.flat, images, captions, strict=False):
        axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)
        axes.set_title(textwrap.fill(escape_text(printable(caption, MAX_CAPTION)), 26), fontsize=7)
    figure.tight_layout()
    return figure
