"""Mean and standard deviation of features in float64, and rows standardized by them, block by block.

One pass finds the smallest and the largest value of each feature. Another sums what is left of the values after the
middle between both is subtracted, and joins the moments of blocks (Chan, Golub and LeVeque 1983, "Algorithms for
Computing the Sample Variance"). Neither a far offset nor a large or small scale costs digits.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

BLOCK = 2**18  # numbers that are worked on at a time
EPSILON = np.finfo(np.float64).eps
# scikit-learn's bound for nearly constant features grows with their number, as its rounding errors do. Those of blocks
# do not: beyond this number the bound stays, or the differences of many timestamps would be taken for rounding errors.
COUNTED = 10_000


class Statistics(NamedTuple):
    """Mean and standard deviation of D features; the mean is ``origin + offset``.

    Attributes:
        origin: ``[D]``, float64, or the data's integers: a value amid the data.
        offset: float64 ``[D]``.
        std: float64 ``[D]``, above 0: the population standard deviation, and 1 for features without one.
    """

    origin: np.ndarray
    offset: np.ndarray
    std: np.ndarray


def check_moments(origin: Any, offset: Any, std: Any, size: int | None = None) -> None:
    """Checks the fields of ``Statistics`` as a description has them: tuples of as many numbers, or all None.

    Raises:
        ValueError: They are neither, or not ``size`` numbers, or a standard deviation is not above 0.
    """
    given = [values for values in (origin, offset, std) if values is not None]
    numbers = all(isinstance(value, int | float) for values in given for value in values)
    sizes = {len(values) for values in given} | ({size} if given and size is not None else set())
    if len(given) not in (0, 3) or len(sizes) > 1 or not numbers or not all(value > 0 for value in std or ()):
        raise ValueError(f"origin, offset and std must be as many numbers, with std above 0, or None, got {given}")


def moments_of(statistics: Statistics | None) -> dict[str, tuple[float, ...]]:
    """The fields of ``Statistics`` as a description has them; none where there are no statistics."""
    return {} if statistics is None else {name: tuple(a.tolist()) for name, a in statistics._asdict().items()}


def statistics_of(origin: Any, offset: Any, std: Any) -> Statistics | None:
    """The statistics of fields that ``moments_of`` made; None where there are none."""
    if origin is None or offset is None or std is None:
        return None
    return Statistics(np.asarray(origin), np.asarray(offset, np.float64), np.asarray(std, np.float64))


def fit(values: np.ndarray, valid: np.ndarray) -> Statistics:
    r"""Statistics of the features of valid steps.

    .. math:: \mu_d = \frac{1}{n} \sum_i x_{id} \qquad \sigma_d = \sqrt{\frac{1}{n} \sum_i (x_{id} - \mu_d)^2}

    As in scikit-learn's ``StandardScaler``, :math:`\sigma` is 1 where it is 0 or, for floating-point values, no larger
    than the rounding errors that float64 sums of ``n`` such values may have, :math:`n \epsilon |\mu|`; here n counts up
    to 10,000. A feature without a finite value has mean 0.

    Args:
        values: Booleans, integers or floating-point numbers ``[N, T, D]``; those that are not finite do not count.
        valid: bool ``[N, T]``, the steps that count.
    """
    low, high = _range(values, valid)
    origin, shift = _middle(low, high)
    count, mean, squares = (np.zeros(values.shape[2]) for _ in range(3))
    for block, real in _features(values, valid):
        away = np.where(real, np.ldexp(differences(block, origin), -shift), 0)
        away, real = np.ascontiguousarray(away.T), real.T  # sums along the last axis lose the fewest digits
        found = real.sum(1)
        share = 1 / np.maximum(found, 1)
        own = away.sum(1) * share
        rest = np.where(real, away - own[:, None], 0)
        error = rest.sum(1) * share  # of the block's mean
        own += error
        both = count + found
        delta, part = own - mean, found / np.maximum(both, 1)
        squares += (rest**2).sum(1) - found * error**2 + delta**2 * count * part
        mean += delta * part
        count = both
    std = np.ldexp(np.sqrt(np.maximum(squares, 0) / np.maximum(count, 1)), shift)
    offset = np.ldexp(mean, shift)
    bound = np.zeros_like(std)
    if np.issubdtype(values.dtype, np.floating):
        relative = np.minimum(count, COUNTED) * EPSILON
        bound = relative * np.abs(origin + offset) / np.sqrt(1 - relative)
    return Statistics(origin, offset, np.where(std <= bound, 1, std))


def standardized(values: np.ndarray, valid: np.ndarray, statistics: Statistics | None) -> np.ndarray:
    """``(values - mean) / std`` as float32, computed in float64; 0 where a step is not valid.

    Args:
        values: ``[N, T, D]``. An array of float32 is overwritten: the result takes no memory of its own.
        valid: bool ``[N, T]``.
        statistics: Of the features; None: values are only cast.
    """
    writeable = values.dtype == np.float32 and values.flags.writeable
    made = values if writeable else np.empty(values.shape, np.float32)
    for part in blocks(values.shape):
        block = values[part]
        if statistics is not None:
            block = (differences(block, statistics.origin) - statistics.offset) / statistics.std
        with np.errstate(over="ignore"):  # becomes infinite, which is an error that names its place
            made[part] = np.where(valid[part][..., None], block, 0)
    return made


def differences(values: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """``values - origin`` in float64, rounded once, also for integers that float64 does not hold."""
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        upper, lower = ((part(values), part(origin)) for part in (lambda a: a >> 32, lambda a: a & 0xFFFFFFFF))
        return _apart(*upper) * 2.0**32 + _apart(*lower)
    wide = np.promote_types(values.dtype, np.float64)
    return (values.astype(wide) - origin).astype(np.float64)


def blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Slices of the first two axes that cover an array in pieces of about ``BLOCK`` numbers."""
    rows, steps = shape[:2]
    features = int(np.prod(shape[2:], dtype=np.int64))
    long = max(1, BLOCK // max(features, 1))
    many = max(1, long // max(steps, 1))
    for row in range(0, rows, many):
        for step in range(0, steps, long):
            yield slice(row, row + many), slice(step, step + long)


def _apart(values: np.ndarray, origin: np.ndarray) -> np.ndarray:
    return values.astype(np.float64) - origin.astype(np.float64)


def _features(values: np.ndarray, valid: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks ``[n, D]``, and which of their numbers count."""
    for part in blocks(values.shape):
        real = valid[part].reshape(-1, 1)
        block = values[part].reshape(len(real), values.shape[2])
        real = np.broadcast_to(real, block.shape)
        yield block, real & np.isfinite(block) if block.dtype.kind == "f" else real


def _range(values: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value of each feature; 0 where it has none."""
    kind = values.dtype if values.dtype.kind != "b" else np.dtype(np.uint8)
    limits: Any = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    low, high = (np.full(values.shape[2], limit, kind) for limit in (limits.max, limits.min))
    for block, real in _features(values, valid):
        block = block.astype(kind, copy=False)
        low = np.minimum(low, block.min(0, where=real, initial=limits.max))
        high = np.maximum(high, block.max(0, where=real, initial=limits.min))
    none = low > high
    return np.where(none, kind.type(0), low), np.where(none, kind.type(0), high)


def _middle(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A value between both, and the power of 2 above the larger distance from it, by feature."""
    if low.dtype.kind in "iu":
        middle = np.array([(int(a) + int(b)) // 2 for a, b in zip(low, high, strict=True)], low.dtype)
        return middle, np.zeros(len(low), int)
    low, high = low.astype(np.float64), high.astype(np.float64)
    middle = np.where(low == high, low, low / 2 + high / 2)
    return middle, np.frexp(np.maximum(high - middle, middle - low))[1]
