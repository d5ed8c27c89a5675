"""Precision, recall, density and coverage of generated samples, from distances to nearest neighbors."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxnets.ops.array_types import ArrayLike, Float
from jaxnets.ops.checks import check_integer

BLOCK = 1000  # rows of distances in memory at once


class SampleQuality(NamedTuple):
    """Metrics of generated samples.

    Attributes:
        precision: Fraction of generated samples within the neighborhood of a real one.
        recall: Fraction of real samples within the neighborhood of a generated one.
        density: Mean number of neighborhoods of real samples that contain a generated one, divided by k.
        coverage: Fraction of real samples whose neighborhood contains a generated one.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def sample_quality(real: Float[ArrayLike, "N D"], fake: Float[ArrayLike, "M D"], k: int = 5) -> SampleQuality:
    r"""Computes precision and recall, and density and coverage, of generated samples.

    The neighborhood of a sample is the open ball to its k-th nearest neighbor in its own set, without itself. Results
    equal those of the package ``prdc``; distances that are equal but for rounding may be ordered differently. Memory is
    bounded by 1,000 rows of distances.

    Precision and recall are those of Kynkaanniemi et al. 2019 (arXiv:1904.06991), who use k = 3; density and coverage
    those of Naeem et al. 2020 (arXiv:2002.09797), who use k = 5.

    Args:
        real: Features of real samples, ``[N, D]``.
        fake: Features of generated samples, ``[M, D]``.
        k: Neighbors, fewer than N and M.

    Raises:
        ValueError: The features have different sizes, or at most k rows.
    """
    check_integer("k", k)
    xs, ys = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if xs.ndim != 2 or ys.ndim != 2 or xs.shape[1] != ys.shape[1] or min(len(xs), len(ys)) <= k:
        shapes = f"{xs.shape} and {ys.shape}"
        raise ValueError(f"`real` and `fake` must have the shapes [N, D] and [M, D], N and M above {k}, got {shapes}")
    center = xs.mean(axis=0)  # squares of values far from zero would lose digits
    xs, ys = xs - center, ys - center
    real_radii, fake_radii = _radii(xs, k), _radii(ys, k)
    neighborhoods = np.zeros(len(ys), np.int64)  # of real samples, around each generated one
    recalled, covered = np.zeros(len(xs), bool), np.zeros(len(xs), bool)
    for rows, distances in _blocks(xs, ys):
        inside = distances < real_radii[rows, None]
        neighborhoods += inside.sum(axis=0)
        recalled[rows] = (distances < fake_radii[None]).any(axis=1)
        covered[rows] = inside.any(axis=1)
    return SampleQuality(
        precision=float(np.mean(neighborhoods > 0)),
        recall=float(recalled.mean()),
        density=float(neighborhoods.mean() / k),
        coverage=float(covered.mean()),
    )


def _radii(xs: np.ndarray, k: int) -> np.ndarray:
    """Returns the squared distance of each row to its k-th nearest neighbor."""
    radii = np.empty(len(xs))
    for rows, distances in _blocks(xs, xs):
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = -1  # the row itself comes first
        radii[rows] = np.partition(distances, k, axis=1)[:, k]
    return radii


def _blocks(xs: np.ndarray, ys: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields squared distances of blocks of rows of ``xs`` to all rows of ``ys``."""
    squares = np.sum(ys**2, axis=1)
    for start in range(0, len(xs), BLOCK):
        rows = slice(start, min(start + BLOCK, len(xs)))
        block = xs[rows]
        distances = np.sum(block**2, axis=1)[:, None] - 2 * (block @ ys.T) + squares[None]
        yield rows, np.maximum(distances, 0)
