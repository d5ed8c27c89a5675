"""Functions of a window of a series: normalization, moving averages, patches, and the seasonal naive forecast."""

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Bool, Float
from jaxnets.ops.checks import check_choice, check_integer

NORMALIZATIONS = ("none", "last", "standardize")
EPSILON = 1e-5  # added to the variance, as in RevIN
TINY_SCALE = 1e-10


def window_moments(
    xs: Float[Array, "*batch T C"], normalization: str, observed: Bool[Array, "*batch T C"] | None = None
) -> tuple[Float[Array, "*batch 1 C"], Float[Array, "*batch 1 C"]]:
    r"""Computes the shift and the scale with which a window is normalized, ``(xs - shift) / scale``.

    ``"none"``: 0 and 1. ``"last"``: the last observed value and 1 (Zeng et al. 2023, arXiv:2205.13504).
    ``"standardize"``: the mean and :math:`\sqrt{\sigma^2 + 10^{-5}}` over the observed values, as in reversible
    instance normalization (RevIN, Kim et al. 2022). Both are constants for gradients.

    Args:
        xs: ``[*batch, T, C]``.
        normalization: One of the above.
        observed: bool, False at missing values; None: all values are observed. A channel without observed values has
            shift 0 and scale 1.

    Raises:
        ValueError: If ``normalization`` is unknown.
    """
    check_choice("normalization", normalization, NORMALIZATIONS)
    xs = jax.lax.stop_gradient(xs)
    zeros = jnp.zeros_like(xs[..., :1, :])
    if normalization == "none" or not xs.shape[-2]:
        return zeros, jnp.ones_like(zeros)
    if observed is None:
        if normalization == "last":
            return xs[..., -1:, :], jnp.ones_like(zeros)
        mean = jnp.mean(xs, axis=-2, keepdims=True)
        return mean, jnp.sqrt(jnp.mean((xs - mean) ** 2, axis=-2, keepdims=True) + EPSILON)
    count = jnp.sum(observed, axis=-2, keepdims=True)
    if normalization == "last":
        from_end = jnp.argmax(jnp.flip(observed, -2), axis=-2, keepdims=True)
        last = jnp.take_along_axis(xs, xs.shape[-2] - 1 - from_end, axis=-2)
        return jnp.where(count > 0, last, 0), jnp.ones_like(zeros)
    divisor = jnp.maximum(count, 1).astype(xs.dtype)
    mean = jnp.sum(jnp.where(observed, xs, 0), axis=-2, keepdims=True) / divisor
    squares = jnp.where(observed, (xs - mean) ** 2, 0)
    std = jnp.sqrt(jnp.sum(squares, axis=-2, keepdims=True) / divisor + EPSILON)
    return mean, jnp.where(count > 0, std, 1)


def mean_scale(
    xs: Float[Array, "*batch T C"], observed: Bool[Array, "*batch T C"] | None = None, counts: bool = False
) -> Float[Array, "*batch 1 C"]:
    r"""Computes the scale of a window, the mean absolute value over its observed values.

    For counts it is :math:`\nu = 1 + \frac1n \sum_t |x_t|` (Salinas et al. 2017, arXiv:1704.04110, section 3.3). For
    other values it is the mean itself, as in GluonTS, or 1 if the window has no value other than 0.

    Args:
        xs: ``[*batch, T, C]``.
        observed: bool, False at missing values; None: all values are observed.
        counts: Whether the values are counts in their own units.
    """
    known = jnp.ones(xs.shape, bool) if observed is None else observed
    total = jnp.sum(jnp.where(known, jnp.abs(xs), 0), axis=-2, keepdims=True)
    mean = total / jnp.maximum(jnp.sum(known, axis=-2, keepdims=True), 1).astype(xs.dtype)
    return 1 + mean if counts else jnp.where(mean > TINY_SCALE, mean, 1)


def moving_average(xs: Float[Array, "*batch T C"], window: int) -> Float[Array, "*batch T C"]:
    """Computes the centered moving average over time; the first and the last value are repeated beyond the ends.

    Args:
        xs: ``[*batch, T, C]`` with T of at least 1.
        window: Number of steps, odd.

    Raises:
        ValueError: If ``window`` is not a positive odd integer.
    """
    check_integer("window", window)
    if window % 2 == 0:
        raise ValueError(f"`window` must be odd, got {window}")
    half = window // 2
    pads = [(0, 0)] * (xs.ndim - 2) + [(half, half), (0, 0)]
    padded = jnp.pad(xs, pads, mode="edge")
    sums = jax.lax.reduce_window(
        padded.astype(jnp.float32) if xs.dtype != jnp.float64 else padded,
        0.0,
        jax.lax.add,
        (1,) * (xs.ndim - 2) + (window, 1),
        (1,) * xs.ndim,
        "VALID",
    )
    return (sums / window).astype(xs.dtype)


def patches(xs: Float[Array, "*batch T"], size: int, stride: int) -> Float[Array, "*batch patches {size}"]:
    """Cuts series into overlapping patches; the last value is first repeated ``stride`` times at the end.

    Args:
        xs: ``[*batch, T]`` with T of at least ``size``.
        size: Steps of a patch.
        stride: Steps between patches.

    Returns:
        ``[*batch, (T - size) // stride + 2, size]``.

    Raises:
        ValueError: If the series is shorter than a patch.
    """
    check_integer("size", size)
    check_integer("stride", stride)
    if xs.shape[-1] < size:
        raise ValueError(f"`xs` must have at least {size} steps, one patch, got {xs.shape[-1]}")
    padded = jnp.pad(xs, [(0, 0)] * (xs.ndim - 1) + [(0, stride)], mode="edge")
    starts = stride * jnp.arange((xs.shape[-1] - size) // stride + 2)
    return padded[..., starts[:, None] + jnp.arange(size)[None]]


def seasonal_naive(xs: Float[Array, "*batch T C"], horizon: int, season: int) -> Float[Array, "*batch {horizon} C"]:
    r"""Repeats the last season: :math:`\hat y_{T+h} = x_{T+h-m\lceil h/m \rceil}` with the period m.

    Args:
        xs: ``[*batch, T, C]`` with T of at least ``season``.
        horizon: Number of steps to forecast.
        season: m, the period in steps; 1 repeats the last value.

    Raises:
        ValueError: If the window is shorter than a season.
    """
    check_integer("horizon", horizon)
    check_integer("season", season)
    if xs.shape[-2] < season:
        raise ValueError(f"`xs` must have at least {season} steps, one season, got {xs.shape[-2]}")
    return xs[..., xs.shape[-2] - season + jnp.arange(horizon) % season, :]
