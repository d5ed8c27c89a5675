"""Coverage of the modes of mixtures of Gaussians."""

from typing import NamedTuple

import numpy as np

from jaxnets.ops.array_types import ArrayLike, Float


class ModeCoverage(NamedTuple):
    """Coverage of the modes of a mixture by samples.

    Attributes:
        modes: Number of modes with at least one high-quality sample.
        high_quality: Fraction of samples within 3 standard deviations of the nearest mode.
        reverse_kl: KL divergence of the samples' distribution over the nearest modes from the uniform one, in nats.
    """

    modes: int
    high_quality: float
    reverse_kl: float


def mode_coverage(samples: Float[ArrayLike, "N D"], centers: Float[ArrayLike, "K D"], std: float) -> ModeCoverage:
    """Computes the coverage of a mixture of equally likely Gaussians (Lin et al. 2018, arXiv:1712.04086).

    Args:
        samples: Generated points, ``[N, D]``. Points that are not finite have no high quality.
        centers: Means of the components, ``[K, D]``.
        std: Their standard deviation.

    Raises:
        ValueError: A shape is wrong, or there are no samples or centers.
    """
    points, means = (np.asarray(a, np.float64) for a in (samples, centers))
    if points.ndim != 2 or means.ndim != 2 or points.shape[1] != means.shape[1] or not len(points) or not len(means):
        shapes = f"{points.shape} and {means.shape}"
        raise ValueError(f"`samples` and `centers` must have the shapes [N, D] and [K, D], not empty, got {shapes}")
    distances = np.linalg.norm(points[:, None] - means[None], axis=-1)
    nearest = distances.argmin(axis=1)
    close = distances.min(axis=1) < 3 * std
    fractions = np.bincount(nearest, minlength=len(means)) / len(points)
    present = fractions[fractions > 0]
    return ModeCoverage(
        modes=len(np.unique(nearest[close])),
        high_quality=float(close.mean()),
        reverse_kl=float(np.sum(present * np.log(present * len(means)))),
    )
