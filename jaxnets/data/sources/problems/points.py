"""Points in the plane around known modes, for measuring the mode collapse of a generator."""

import math

import numpy as np

from jaxnets.data.checks import check_arguments, one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.sources.problems.generated import generated
from jaxnets.data.targets import Quantities
from jaxnets.ops.checks import check_choice


@one_line_errors
def gaussian_ring(
    modes: int = 8, radius: float = 1.0, std: float = 0.01, batch_size: int = 128, seed: int = 0
) -> Dataset:
    """Mixture of Gaussians at equal angles on a circle, as ``inputs`` ``[B, 2]`` (Metz et al. 2016, arXiv:1611.02163).

    Args:
        modes: Number of Gaussians; the first one is at angle 0.
        radius: Radius of the circle.
        std: Standard deviation of each Gaussian, along both axes.
        batch_size: B, points of a batch.
        seed: Seed of the points.

    Raises:
        ValueError: If an argument is out of range.
    """
    return _mixture("ring", modes, radius, std, batch_size, seed)


@one_line_errors
def gaussian_grid(
    modes: int = 25, radius: float = 4.0, std: float = 0.05, batch_size: int = 128, seed: int = 0
) -> Dataset:
    """Mixture of Gaussians on a square grid, as ``inputs`` ``[B, 2]``: that of PacGAN by default (arXiv:1712.04086).

    Args:
        modes: Number of Gaussians, a square number from 4.
        radius: The largest coordinate of the grid, which is centered at 0.
        std: Standard deviation of each Gaussian, along both axes.
        batch_size: B, points of a batch.
        seed: Seed of the points.

    Raises:
        ValueError: If an argument is out of range.
    """
    return _mixture("grid", modes, radius, std, batch_size, seed)


def _mixture(layout: str, modes: int, radius: float, std: float, batch_size: int, seed: int) -> Dataset:
    check_arguments(seed, modes=modes, batch_size=batch_size)
    for name, value in (("radius", radius), ("std", std)):
        if not 0 < value < math.inf:
            raise ValueError(f"`{name}` must be positive and finite, got {value}")
    centers = mixture_centers(layout, modes, radius)

    def make(random: np.random.Generator) -> dict[str, np.ndarray]:
        points = centers[random.integers(modes, size=batch_size)] + std * random.normal(size=(batch_size, 2))
        return {"inputs": points.astype(np.float32), "mask": np.ones(batch_size, bool)}

    source = f"{modes} Gaussians of std {std:g} on a {layout} of radius {radius:g}"
    return generated(make, Quantities(("x", "y")), seed, source)


def mixture_centers(layout: str, modes: int, radius: float) -> np.ndarray:
    """Returns the centers of the Gaussians of ``gaussian_ring`` or ``gaussian_grid``, float64 ``[modes, 2]``.

    Raises:
        ValueError: The layout is not ``"ring"`` or ``"grid"``, or a grid cannot have this number of modes.
    """
    check_choice("layout", layout, ("ring", "grid"))
    if layout == "ring":
        angles = 2 * np.pi * np.arange(modes) / modes
        return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    side = math.isqrt(modes)
    if side**2 != modes or side < 2:
        raise ValueError(f"`modes` of a grid must be a square number from 4, got {modes}")
    line = np.linspace(-radius, radius, side)
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
