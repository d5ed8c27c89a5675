"""Problems on sets, made as they are needed: no example is repeated.

A batch has ``members`` bool ``[B, N]`` beside what ``examples`` says: which elements are real.
"""

from collections.abc import Callable

import numpy as np

from jaxnets.data.dataset import Dataset, check_arguments
from jaxnets.data.examples import Batch
from jaxnets.data.generated import generated
from jaxnets.data.targets import Quantities

STATISTICS: dict[str, Callable] = {"mean": np.mean, "median": np.median, "maximum": np.max, "variance": np.var}


def set_statistics(statistic: str = "mean", size: int = 100, batch: int = 20, seed: int = 0) -> Dataset:
    """A statistic of the numbers of a set (Perez-Mon et al. 2024, arXiv:2403.15123).

    The numbers are uniform from 0 to m, m itself uniform from 0 to 1; the answer is the statistic of the numbers that
    are there, not of their distribution.

    Args:
        statistic: ``"mean"``, ``"median"``, ``"maximum"`` or ``"variance"``.
        size: N, numbers of a set.
        batch: B, sets.
        seed: Of the sets.

    Raises:
        ValueError: There is no such statistic, or an argument out of range.
    """
    if statistic not in STATISTICS:
        raise ValueError(f"statistic: one of {', '.join(STATISTICS)}; given {statistic!r}")
    check_arguments(seed, batch=batch, size=size)

    def make(random: np.random.Generator) -> Batch:
        numbers = (random.random((batch, 1)) * random.random((batch, size))).astype(np.float32)
        answers = STATISTICS[statistic](numbers, axis=1).astype(np.float32)
        return _batch(numbers[..., None], answers[:, None], np.full(batch, size))

    return generated(make, Quantities((statistic,)), seed, f"{statistic} of {size} numbers, {batch} sets a batch")


def maximum(largest: int = 10, scale: float = 100.0, batch: int = 128, seed: int = 0) -> Dataset:
    """The largest of 1 to ``largest`` numbers that are uniform from 0 to ``scale`` (Lee et al. 2019, section 5.1).

    Args:
        largest: Most numbers of a set.
        scale: Of the numbers and answers.
        batch: B, sets.
        seed: Of the sets.

    Raises:
        ValueError: An argument out of range.
    """
    check_arguments(seed, batch=batch, largest=largest)

    def make(random: np.random.Generator) -> Batch:
        sizes = random.integers(1, largest + 1, batch)
        numbers = (scale * random.random((batch, largest))).astype(np.float32)
        numbers[np.arange(largest) >= sizes[:, None]] = 0
        return _batch(numbers[..., None], numbers.max(1, keepdims=True), sizes)

    return generated(make, Quantities(("maximum",)), seed, f"maximum of 1 to {largest} numbers, {batch} sets a batch")


def digit_sum(shortest: int = 1, longest: int = 9, batch: int = 128, seed: int = 0) -> Dataset:
    """The sum of digits given as symbols 0 to 9 (Zaheer et al. 2017, section 4.1.2), each set of another size.

    Args:
        shortest: Fewest digits of a set.
        longest: Most.
        batch: B, sets.
        seed: Of the sets.

    Raises:
        ValueError: An argument out of range.
    """
    check_arguments(seed, batch=batch, shortest=shortest)
    if longest < shortest:
        raise ValueError(f"longest: at least shortest, {shortest}; given {longest}")

    def make(random: np.random.Generator) -> Batch:
        sizes = random.integers(shortest, longest + 1, batch)
        digits = random.integers(0, 10, (batch, longest)).astype(np.int32)
        digits[np.arange(longest) >= sizes[:, None]] = 0
        return _batch(digits, digits.sum(1, keepdims=True).astype(np.float32), sizes)

    source = f"sum of {shortest} to {longest} digits, {batch} sets a batch"
    return generated(make, Quantities(("sum",)), seed, source)


def _batch(inputs: np.ndarray, targets: np.ndarray, sizes: np.ndarray) -> Batch:
    members = np.arange(inputs.shape[1]) < sizes[:, None]
    return {"inputs": inputs, "targets": targets, "mask": np.ones(len(inputs), bool), "members": members}
