"""Problems on sets, made as they are needed: no example is repeated.

A batch has ``members`` bool ``[B, N]`` beside what ``batches`` says: which elements are real.
"""

from collections.abc import Callable

import numpy as np

from jaxnets.data.checks import check_arguments, check_range
from jaxnets.data.dataset import Dataset
from jaxnets.data.inputs import Pixels
from jaxnets.data.sources.batches import Batch
from jaxnets.data.sources.problems.generated import generated
from jaxnets.data.targets import Quantities

DIGITS = Pixels(16.0, either=True)  # scikit-learn's, as digit_parts divides them
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
        return set_batch(numbers[..., None], answers[:, None], np.full(batch, size))

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
        return set_batch(numbers[..., None], numbers.max(1, keepdims=True), sizes)

    return generated(make, Quantities(("maximum",)), seed, f"maximum of 1 to {largest} numbers, {batch} sets a batch")


def digit_sum(shortest: int = 1, longest: int = 9, batch: int = 128, seed: int = 0, read_as: str = "set") -> Dataset:
    """The sum of digits given as symbols 0 to 9 (Zaheer et al. 2017, section 4.1.2), each set of another size.

    Args:
        shortest: Fewest digits of a set.
        longest: Most.
        batch: B, sets.
        seed: Of the sets.
        read_as: ``"set"``, or ``"sequence"``: the same digits as vectors ``[B, N, 10]`` of zeros and a one, with
            ``lengths`` instead of ``members``, for a recurrent network.

    Raises:
        ValueError: An argument out of range.
    """
    check_arguments(seed, batch=batch, shortest=shortest)
    check_range(shortest, longest)
    if read_as not in ("set", "sequence"):
        raise ValueError(f"read_as: set or sequence; given {read_as!r}")

    def make(random: np.random.Generator) -> Batch:
        sizes = random.integers(shortest, longest + 1, batch)
        digits = random.integers(0, 10, (batch, longest)).astype(np.int32)
        digits[np.arange(longest) >= sizes[:, None]] = 0
        made = set_batch(digits, digits.sum(1, keepdims=True).astype(np.float32), sizes)
        if read_as == "sequence":
            real = made.pop("members")
            made |= {
                "inputs": np.eye(10, dtype=np.float32)[digits] * real[..., None],
                "lengths": real.sum(1, dtype=np.int32),
            }
        return made

    source = f"sum of {shortest} to {longest} digits, {batch} {read_as}s a batch"
    return generated(make, Quantities(("sum",)), seed, source)


def mixture(
    components: int = 4,
    shortest: int = 100,
    longest: int = 500,
    deviation: float = 0.3,
    batch: int = 10,
    seed: int = 0,
) -> Dataset:
    """Points of the plane from mixtures of Gaussians (Lee et al. 2019, section 5.3), each set from another one.

    Means are uniform from -4 to 4, weights from a Dirichlet distribution of ones. ``oracle`` ``[B]`` is the mean log
    density of a set's points in the mixture that they are from; ``targets`` ``[B, N]`` are their components.

    Args:
        components: K.
        shortest, longest: Points of a set; all of a batch have as many, and are padded to the next quarter of
            ``longest``: four shapes to compile for, and little work for points that are not there.
        deviation: Of every component.
        batch: B, sets.
        seed: Of the sets.

    Raises:
        ValueError: An argument out of range.
    """
    check_arguments(seed, batch=batch, components=components, shortest=shortest)
    check_range(shortest, longest)
    if deviation <= 0:
        raise ValueError(f"deviation: above 0; given {deviation}")

    quarters = [-(-longest * i // 4) for i in (1, 2, 3, 4)]

    def make(random: np.random.Generator) -> Batch:
        size = random.integers(shortest, longest + 1)
        means = random.uniform(-4, 4, (batch, components, 2))
        shares = random.dirichlet(np.ones(components), batch)
        padded = next(length for length in quarters if length >= size)
        chosen = (random.random((batch, padded, 1)) > np.cumsum(shares, -1)[:, None]).sum(-1)
        chosen = np.minimum(chosen, components - 1)
        centres = np.take_along_axis(means, chosen[..., None], 1)
        points = centres + deviation * random.standard_normal((batch, padded, 2))
        away = ((points[:, :, None] - means[:, None]) ** 2).sum(-1) / deviation**2
        highest = -away.min(-1, keepdims=True) / 2
        density = (shares[:, None] * np.exp(-away / 2 - highest)).sum(-1)
        logs = np.log(density) + highest[..., 0] - np.log(2 * np.pi * deviation**2)
        points[:, size:] = 0
        made = set_batch(points.astype(np.float32), chosen.astype(np.int32), np.full(batch, size))
        return {**made, "oracle": logs[:, :size].mean(1).astype(np.float32)}

    names = ("share", "mean x", "mean y", "deviation x", "deviation y")
    source = f"{shortest} to {longest} points from mixtures of {components} Gaussians, {batch} sets a batch"
    return generated(make, Quantities(names), seed, source)


def intruder(size: int = 8, batch: int = 64, seed: int = 0) -> Dataset:
    """Digits of one class and one of another: which one? (After Lee et al. 2019, section 5.5.)

    The digits are scikit-learn's: three fifths to learn from, one to validate on, one to test on.

    Args:
        size: N, digits of a set.
        batch: B, sets.
        seed: Of the sets.

    Raises:
        ValueError: An argument out of range.
    """
    check_arguments(seed, batch=batch, size=size)
    if size < 2:
        raise ValueError(f"size: at least 2; given {size}")

    def make(random: np.random.Generator, images: np.ndarray, labels: np.ndarray) -> Batch:
        usual = random.integers(0, 10, batch)
        other = (usual + random.integers(1, 10, batch)) % 10
        targets = random.integers(0, size, batch).astype(np.int32)
        classes = np.where(np.arange(size) == targets[:, None], other[:, None], usual[:, None])
        return set_batch(images[_drawn(random, labels, classes)], targets, np.full(batch, size))

    source = f"an intruder among {size} digits, {batch} sets a batch"
    return generated(make, Quantities(("score",)), seed, source, parts=digit_parts(), inputs=DIGITS)


def prevalence(size: int = 100, batch: int = 20, seed: int = 0) -> Dataset:
    """Which part of a bag of digits is of each class? The classes' shares are uniform among all there are.

    They are drawn from a Dirichlet distribution of ones (the artificial prevalence protocol); the answer is what a bag
    really has. Digits as of ``intruder``.

    Args:
        size: N, digits of a bag.
        batch: B, bags.
        seed: Of the bags.

    Raises:
        ValueError: An argument out of range.
    """
    check_arguments(seed, batch=batch, size=size)

    def make(random: np.random.Generator, images: np.ndarray, labels: np.ndarray) -> Batch:
        shares = random.dirichlet(np.ones(10), batch)
        classes = (random.random((batch, size, 1)) > np.cumsum(shares, -1)[:, None]).sum(-1)
        classes = np.minimum(classes, 9)
        realised = (classes[..., None] == np.arange(10)).mean(1).astype(np.float32)
        return set_batch(images[_drawn(random, labels, classes)], realised, np.full(batch, size))

    source = f"shares of classes in bags of {size} digits, {batch} bags a batch"
    return generated(make, Quantities(tuple(map(str, range(10)))), seed, source, parts=digit_parts(), inputs=DIGITS)


def digit_parts() -> list[tuple[np.ndarray, np.ndarray]]:
    """Images ``[n, 64]`` from 0 to 1 and labels, to learn from, to validate on and to test on."""
    from sklearn.datasets import load_digits  # seconds to import

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    fifth = np.arange(len(labels)) % 5
    return [(images[here], labels[here]) for here in (fifth < 3, fifth == 3, fifth == 4)]


def set_batch(inputs: np.ndarray, targets: np.ndarray, sizes: np.ndarray) -> Batch:
    """Sets of which the first so many elements are real."""
    members = np.arange(inputs.shape[1]) < sizes[:, None]
    return {"inputs": inputs, "targets": targets, "mask": np.ones(len(inputs), bool), "members": members}


def _drawn(random: np.random.Generator, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Numbers of examples of these classes, each drawn from all of its class."""
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels, minlength=10)
    first = np.cumsum(counts) - counts
    return order[first[classes] + (random.random(classes.shape) * counts[classes]).astype(int)]
