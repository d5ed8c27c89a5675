"""Means and standard deviations of features in float64, and standardization, block by block.

The first pass computes the range of each feature. The second one subtracts the middle of the range, and combines the
moments of blocks (Chan, Golub and LeVeque 1983, "Algorithms for Computing the Sample Variance"). Large offsets and
extreme scales do not cost precision.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

BLOCK = 2**18  # numbers per block
EPSILON = np.finfo(np.float64).eps
# The bound of scikit-learn for nearly constant features grows with the number of rows, like its rounding errors. Those
# of blocks do not grow, so the bound is constant beyond this number. Otherwise the differences of many timestamps would
# be taken for rounding errors.
COUNTED = 10_000


class Statistics(NamedTuple):
    """Means ``origin + offset`` and standard deviations of D features.

    Attributes:
        origin: ``[D]``, a value within the range of the data, in float64 or the integer type of the data.
        offset: float64 ``[D]``.
        std: float64 ``[D]``, positive: the population standard deviation, or 1 for constant features.
    """

    origin: np.ndarray
    offset: np.ndarray
    std: np.ndarray


def check_moments(origin: Any, offset: Any, std: Any, size: int | None = None) -> None:
    """Checks the fields of saved ``Statistics``: tuples of equal length, or all None.

    Raises:
        ValueError: They have another form, do not have ``size`` numbers, or a standard deviation is not positive.
    """
    given = [values for values in (origin, offset, std) if values is not None]
    numbers = all(isinstance(value, int | float) for values in given for value in values)
    sizes = {len(values) for values in given} | ({size} if given and size is not None else set())
    if len(given) not in (0, 3) or len(sizes) > 1 or not numbers or not all(value > 0 for value in std or ()):
        raise ValueError(
            f"`origin`, `offset` and `std` must be tuples of equal length, with positive std, or None, got {given}"
        )


def moments_of(statistics: Statistics | None) -> dict[str, tuple[float, ...]]:
    """Returns the fields of ``Statistics`` as tuples; an empty dict for None."""
    return {} if statistics is None else {name: tuple(a.tolist()) for name, a in statistics._asdict().items()}


def statistics_of(origin: Any, offset: Any, std: Any) -> Statistics | None:
    """Returns the ``Statistics`` of fields that ``moments_of`` made, or None."""
    if origin is None or offset is None or std is None:
        return None
    return Statistics(np.asarray(origin), np.asarray(offset, np.float64), np.asarray(std, np.float64))


def fit(values: np.ndarray, valid: np.ndarray) -> Statistics:
    r"""Computes the statistics of each feature over all valid steps.

    .. math:: \mu_d = \frac{1}{n} \sum_i x_{id} \qquad \sigma_d = \sqrt{\frac{1}{n} \sum_i (x_{id} - \mu_d)^2}

    As in the ``StandardScaler`` of scikit-learn, :math:`\sigma` is replaced by 1 if it is 0 or, for floating-point
    values, at most the rounding error of float64 sums, :math:`n \epsilon |\mu|`; here n is limited to 10,000. A feature
    without a finite value has mean 0.

    Args:
        values: Bools, integers or floating-point numbers ``[N, T, D]``; non-finite values are ignored.
        valid: Mask of steps, bool ``[N, T]``.
    """
    low, high = _range(values, valid)
    origin, shift = _middle(low, high)
    count, mean, squares = (np.zeros(values.shape[2]) for _ in range(3))
    for block, mask in _features(values, valid):
        scaled = np.where(mask, np.ldexp(differences(block, origin), -shift), 0)
        scaled, mask = np.ascontiguousarray(scaled.T), mask.T  # sums along the last axis are the most precise
        block_count = mask.sum(1)
        weight = 1 / np.maximum(block_count, 1)
        block_mean = scaled.sum(1) * weight
        residual = np.where(mask, scaled - block_mean[:, None], 0)
        error = residual.sum(1) * weight  # of the mean of the block
        block_mean += error
        total = count + block_count
        delta, fraction = block_mean - mean, block_count / np.maximum(total, 1)
        squares += (residual**2).sum(1) - block_count * error**2 + delta**2 * count * fraction
        mean += delta * fraction
        count = total
    std = np.ldexp(np.sqrt(np.maximum(squares, 0) / np.maximum(count, 1)), shift)
    offset = np.ldexp(mean, shift)
    bound = np.zeros_like(std)
    if np.issubdtype(values.dtype, np.floating):
        relative = np.minimum(count, COUNTED) * EPSILON
        bound = relative * np.abs(origin + offset) / np.sqrt(1 - relative)
    return Statistics(origin, offset, np.where(std <= bound, 1, std))


def standardized(values: np.ndarray, valid: np.ndarray, statistics: Statistics | None) -> np.ndarray:
    """Returns ``(values - mean) / std`` as float32, computed in float64; 0 for invalid steps.

    Args:
        values: ``[N, T, D]``. A float32 array is overwritten with the result to save memory.
        valid: Mask of steps, bool ``[N, T]``.
        statistics: Statistics of the features; None only casts the values.
    """
    in_place = values.dtype == np.float32 and values.flags.writeable
    result = values if in_place else np.empty(values.shape, np.float32)
    for index in blocks(values.shape):
        block = values[index]
        if statistics is not None:
            block = (differences(block, statistics.origin) - statistics.offset) / statistics.std
        with np.errstate(over="ignore"):  # infinities are reported later, with their position
            result[index] = np.where(valid[index][..., None], block, 0)
    return result


def differences(values: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Returns ``values - origin`` in float64, rounded once, also for integers beyond 2^53."""
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        upper, lower = ((part(values), part(origin)) for part in (lambda a: a >> 32, lambda a: a & 0xFFFFFFFF))
        return _subtracted(*upper) * 2.0**32 + _subtracted(*lower)
    wide = np.promote_types(values.dtype, np.float64)
    return (values.astype(wide) - origin).astype(np.float64)


def blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Yields slices of the first two axes that cover an array in blocks of about ``BLOCK`` numbers."""
    rows, steps = shape[:2]
    features = int(np.prod(shape[2:], dtype=np.int64))
    block_steps = max(1, BLOCK // max(features, 1))
    block_rows = max(1, block_steps // max(steps, 1))
    for row in range(0, rows, block_rows):
        for step in range(0, steps, block_steps):
            yield slice(row, row + block_rows), slice(step, step + block_steps)


def _subtracted(values: np.ndarray, origin: np.ndarray) -> np.ndarray:
    return values.astype(np.float64) - origin.astype(np.float64)


def _features(values: np.ndarray, valid: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields blocks ``[n, D]`` and masks of their valid finite numbers."""
    for index in blocks(values.shape):
        mask = valid[index].reshape(-1, 1)
        block = values[index].reshape(len(mask), values.shape[2])
        mask = np.broadcast_to(mask, block.shape)
        yield block, mask & np.isfinite(block) if block.dtype.kind == "f" else mask


def _range(values: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the minimum and the maximum of each feature, or 0 without values."""
    kind = values.dtype if values.dtype.kind != "b" else np.dtype(np.uint8)
    limits: Any = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    low, high = (np.full(values.shape[2], limit, kind) for limit in (limits.max, limits.min))
    for block, mask in _features(values, valid):
        block = block.astype(kind, copy=False)
        low = np.minimum(low, block.min(0, where=mask, initial=limits.max))
        high = np.maximum(high, block.max(0, where=mask, initial=limits.min))
    empty = low > high
    return np.where(empty, kind.type(0), low), np.where(empty, kind.type(0), high)


def _middle(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the middle of each range, and the exponent of the power of 2 above its half width."""
    if low.dtype.kind in "iu":
        middle = np.array([(int(a) + int(b)) // 2 for a, b in zip(low, high, strict=True)], low.dtype)
        return middle, np.zeros(len(low), int)
    low, high = low.astype(np.float64), high.astype(np.float64)
    middle = np.where(low == high, low, low / 2 + high / 2)
    return middle, np.frexp(np.maximum(high - middle, middle - low))[1]
