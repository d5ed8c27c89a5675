"""Figures of the quality of generated images over the settings of a sampler."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

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
