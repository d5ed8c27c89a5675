"""Points in the plane around known modes, for measuring the mode collapse of a generator."""

import math

import numpy as np

from jaxnets.data.checks import check_arguments, one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.sources.problems.generated import generated
from jaxnets.data.targets import Quantities


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
    check_arguments(seed, modes=modes, batch_size=batch_size)
    for name, value in (("radius", radius), ("std", std)):
        if not 0 < value < math.inf:
            raise ValueError(f"`{name}` must be positive and finite, got {value}")
    centers = ring_modes(modes, radius)

    def make(random: np.random.Generator) -> dict[str, np.ndarray]:
        points = centers[random.integers(modes, size=batch_size)] + std * random.normal(size=(batch_size, 2))
        return {"inputs": points.astype(np.float32), "mask": np.ones(batch_size, bool)}

    source = f"{modes} Gaussians of std {std:g} on a ring of radius {radius:g}"
    return generated(make, Quantities(("x", "y")), seed, source)


def ring_modes(modes: int, radius: float) -> np.ndarray:
    """Returns the centers of the Gaussians of ``gaussian_ring``, float64 ``[modes, 2]``."""
    angles = 2 * np.pi * np.arange(modes) / modes
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
