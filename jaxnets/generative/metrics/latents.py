"""Active units of latent variable models."""

import numpy as np

from jaxnets.ops.array_types import Array, ArrayLike, Bool, Float


def active_units(means: Float[ArrayLike, "N latent"], threshold: float = 0.01) -> Bool[Array, " latent"]:
    r"""Determines which latent units are active (Burda et al. 2016, arXiv:1509.00519).

    .. math:: \mathrm{Var}_x (E_{q(z|x)} z_u) > 0.01

    A unit that is not active has collapsed to the prior. The variance is divided by N, in float64.

    Args:
        means: Posterior means of a set of inputs, ``[N, Z]``.
        threshold: The variance above which a unit is active.

    Returns:
        bool ``[Z]``.

    Raises:
        ValueError: The means have other axes, or no rows.
    """
    values = np.asarray(means, np.float64)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"`means` must have the shape [N, Z], N at least 1, got {values.shape}")
    return values.var(axis=0) > threshold
