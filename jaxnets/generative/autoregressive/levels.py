"""Levels of pixels: integers 0 ... L - 1, and the same as numbers from -1 to 1."""

from jaxnets.ops.array_types import Array, Float


def from_levels(levels: Float[Array, "*shape"], num_levels: int) -> Float[Array, "*shape"]:
    """Scales levels l of 0 ... L - 1 to the interval [-1, 1]: ``2 l / (L - 1) - 1``."""
    return levels * (2 / (num_levels - 1)) - 1


def to_levels(xs: Float[Array, "*shape"], num_levels: int) -> Float[Array, "*shape"]:
    """Inverts ``from_levels``, without rounding."""
    return (xs + 1) * ((num_levels - 1) / 2)
