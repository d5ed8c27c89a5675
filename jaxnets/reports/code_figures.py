"""Figures of the codes of autoencoders."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxnets.ops.host.printable import printable
from jaxnets.reports.figures import MAX_NAME, escape_text

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

MAX_CLASSES = 20  # with a color of their own


def code_map(codes: np.ndarray, targets: np.ndarray | None = None, names: Sequence[str] = ()) -> "Figure":
    """Draws codes as points, colored by class: codes of two units, or the first two principal components of others.

    Args:
        codes: ``[N, Z]``.
        targets: Class indices ``[N]``; None draws all points in one color.
        names: Names of the classes.
    """
    from matplotlib.figure import Figure

    is_plane = codes.shape[-1] == 2
    points = codes if is_plane else _principal_components(codes)
    figure = Figure(figsize=(6, 5))
    axes = figure.subplots()
    if targets is None:
        axes.scatter(points[:, 0], points[:, 1], s=4)
    else:
        for index, name in enumerate(names[:MAX_CLASSES]):
            label, (x, y) = escape_text(printable(name, MAX_NAME)), points[targets == index].T
            axes.scatter(x, y, s=4, color=f"C{index % 10}", alpha=0.7, label=label)
        x, y = points[targets >= MAX_CLASSES].T
        axes.scatter(x, y, s=4, color="lightgray")
        axes.legend(markerscale=3, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    unit = "unit" if is_plane else "principal component"
    axes.set(xlabel=f"{unit} 1", ylabel=f"{unit} 2", title=f"codes of {len(codes):,} held-out examples")
    figure.tight_layout()
    return figure


def _principal_components(codes: np.ndarray) -> np.ndarray:
    """Projects ``[N, Z]`` to the two directions of the largest variance, in float64; zeros for missing directions."""
    centered = codes.astype(np.float64) - codes.mean(axis=0, dtype=np.float64)
    directions = np.linalg.svd(centered, full_matrices=False)[2][:2]
    points = centered @ directions.T
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
