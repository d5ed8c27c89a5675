"""The Frechet distance of two sets of features."""

import math
from typing import NamedTuple

import numpy as np

from jaxnets.ops.array_types import Array, ArrayLike, Float


class FeatureMoments(NamedTuple):
    """Mean and covariance of features.

    Attributes:
        mean: float64 ``[D]``.
        covariance: float64 ``[D, D]``.
    """

    mean: Float[Array, " D"]
    covariance: Float[Array, "D D"]


def feature_moments(features: Float[ArrayLike, "N D"]) -> FeatureMoments:
    """Computes the mean and the unbiased covariance (divided by N - 1) of features ``[N, D]`` in float64.

    Raises:
        ValueError: The features have other axes, or fewer than 2 rows.
    """
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"`features` must have the shape [N, D], N at least 2, got {values.shape}")
    centered = values - values.mean(axis=0)
    return FeatureMoments(values.mean(axis=0), centered.T @ centered / (len(values) - 1))


def frechet_distance(first: FeatureMoments, second: FeatureMoments) -> float:
    r"""Computes the squared Frechet distance of two Gaussians (Dowson and Landau 1982).

    .. math:: |\mu_1 - \mu_2|^2 + \mathrm{tr}(S_1 + S_2) - 2\, \mathrm{tr} (S_1^{1/2} S_2 S_1^{1/2})^{1/2}

    The last trace is the sum of the roots of the eigenvalues, which are real. The distance of features of the Inception
    network is known as FID (Heusel et al. 2017, arXiv:1706.08500). Distances of other features are not comparable.

    Args:
        first, second: The moments, ``[D]`` and ``[D, D]``.

    Returns:
        The distance; NaN if a moment is not finite.

    Raises:
        ValueError: The sizes differ.
    """
    mean, covariance = (np.asarray(a, np.float64) for a in first)
    other_mean, other_covariance = (np.asarray(a, np.float64) for a in second)
    if not covariance.shape == other_covariance.shape == (mean.size,) * 2 or mean.shape != other_mean.shape:
        shapes = [mean.shape, covariance.shape, other_mean.shape, other_covariance.shape]
        raise ValueError(f"`first` and `second` must have the shapes [D] and [D, D] for one D, got {shapes}")
    if not all(np.isfinite(a).all() for a in (mean, covariance, other_mean, other_covariance)):
        return math.nan
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ other_covariance @ root)
    roots = np.sqrt(np.maximum(eigenvalues, 0)).sum()  # rounding makes eigenvalues of 0 negative
    traces = np.trace(covariance) + np.trace(other_covariance)
    return float(np.sum((mean - other_mean) ** 2) + traces - 2 * roots)
