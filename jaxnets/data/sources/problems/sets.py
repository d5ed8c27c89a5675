"""Problems on sets, made as they are needed: no example is repeated.

A batch has ``valid`` bool ``[B, N]`` beside what ``batches`` says: which elements are real.
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


def set_statistics(statistic: str = "mean", size: int = 100, batch_size: int = 20, seed: int = 0) -> Dataset:
    """A statistic of the numbers of a set (Perez-Mon et al. 2024, arXiv:2403.15123).

    The numbers are uniform from 0 to m, m itself uniform from 0 to 1; the answer is the statistic of the numbers that
    are there, not of their distribution.

    Args:
        statistic: ``"mean"``, ``"median"``, ``"maximum"`` or ``"variance"``.
        size: N, numbers of a set.
        batch_size: B, sets.
        seed: Of the sets.

    Raises:
        ValueError: There is no such statistic, or an argument out of range.
    """
    if statistic not in STATISTICS:
        raise ValueError(f"statistic: one of {', '.join(STATISTICS)}; given {statistic!r}")
    check_arguments(seed, batch_size=batch_size, size=size)

    def make(random: np.random.Generator) -> Batch:
        numbers = (random.random((batch_size, 1)) * random.random((batch_size, size))).astype(np.float32)
        answers = STATISTICS[statistic](numbers, axis=1).astype(np.float32)
        return set_batch(numbers[..., None], answers[:, None], np.full(batch_size, size))

    return generated(make, Quantities((statistic,)), seed, f"{statistic} of {size} numbers, {batch_size} sets a batch")


def maximum(max_size: int = 10, scale: float = 100.0, batch_size: int = 128, seed: int = 0) -> Dataset:
    """The largest of 1 to ``max_size`` numbers that are uniform from 0 to ``scale`` (Lee et al. 2019, section 5.1).

    Args:
        max_size: Most numbers of a set.
        scale: Of the numbers and answers.
        batch_size: B, sets.
        seed: Of the sets.

    Raises:
        ValueError: An argument out of range.
    """
    check_arguments(seed, batch_size=batch_size, largest=max_size)

    def make(random: np.random.Generator) -> Batch:
        sizes = random.integers(1, max_size + 1, batch_size)
        numbers = (scale * random.random((batch_size, max_size))).astype(np.float32)
        numbers[np.arange(max_size) >= sizes[:, None]] = 0
        return set_batch(numbers[..., None], numbers.max(1, keepdims=True), sizes)

    return generated(
        make, Quantities(("maximum",)), seed, f"maximum of 1 to {max_size} numbers, {batch_size} sets a batch"
    )


def digit_sum(
    min_size: int = 1, max_size: int = 9, batch_size: int = 128, seed: int = 0, read_as: str = "set"
) -> Dataset:
    """The sum of digits given as symbols 0 to 9 (Zaheer et al. 2017, section 4.1.2), each set of another size.

    Args:
        min_size: Fewest digits of a set.
        max_size: Most.
        batch_size: B, sets.
        seed: Of the sets.
        read_as: ``"set"``, or ``"sequence"``: the same digits as vectors ``[B, N, 10]`` of zeros and a one, with
            ``lengths`` instead of ``valid``, for a recurrent network.

    Raises:
        ValueError: An argument out of range.
    """
    check_arguments(seed, batch_size=batch_size, shortest=min_size)
    check_range(min_size, max_size)
    if read_as not in ("set", "sequence"):
        raise ValueError(f"read_as: set or sequence; given {read_as!r}")

    def make(random: np.random.Generator) -> Batch:
        sizes = random.integers(min_size, max_size + 1, batch_size)
        digits = random.integers(0, 10, (batch_size, max_size)).astype(np.int32)
        digits[np.arange(max_size) >= sizes[:, None]] = 0
        made = set_batch(digits, digits.sum(1, keepdims=True).astype(np.float32), sizes)
        if read_as == "sequence":
            real = made.pop("valid")
            made |= {
                "inputs": np.eye(10, dtype=np.float32)[digits] * real[..., None],
                "lengths": real.sum(1, dtype=np.int32),
            }
        return made

    source = f"sum of {min_size} to {max_size} digits, {batch_size} {read_as}s a batch"
    return generated(make, Quantities(("sum",)), seed, source)


def mixture(
    components: int = 4,
    min_size: int = 100,
    max_size: int = 500,
    std: float = 0.3,
    batch_size: int = 10,
    seed: int = 0,
) -> Dataset:
    """Points of the plane from mixtures of Gaussians (Lee et al. 2019, section 5.3), each set from another one.

    Means are uniform from -4 to 4, weights from a Dirichlet distribution of ones. ``oracle`` ``[B]`` is the mean log
    density of a set's points in the mixture that they are from; ``targets`` ``[B, N]`` are their components.

    Args:
        components: K.
        min_size, max_size: Points of a set; all of a batch have as many, and are padded to the next quarter of
            ``max_size``: four shapes to compile for, and little work for points that are not there.
        std: Of every component.
        batch_size: B, sets.
        seed: Of the sets.

    Raises:
        ValueError: An argument out of range.
    """
    check_arguments(seed, batch_size=batch_size, components=components, shortest=min_size)
    check_range(min_size, max_size)
    if std <= 0:
        raise ValueError(f"std: above 0; given {std}")

    quarters = [-(-max_size * i // 4) for i in (1, 2, 3, 4)]

    def make(random: np.random.Generator) -> Batch:
        size = random.integers(min_size, max_size + 1)
        means = random.uniform(-4, 4, (batch_size, components, 2))
        shares = random.dirichlet(np.ones(components), batch_size)
        padded = next(length for length in quarters if length >= size)
        chosen = (random.random((batch_size, padded, 1)) > np.cumsum(shares, -1)[:, None]).sum(-1)
        chosen = np.minimum(chosen, components - 1)
        centers = np.take_along_axis(means, chosen[..., None], 1)
        points = centers + std * random.standard_normal((batch_size, padded, 2))
        away = ((points[:, :, None] - means[:, None]) ** 2).sum(-1) / std**2
        highest = -away.min(-1, keepdims=True) / 2
        density = (shares[:, None] * np.exp(-away / 2 - highest)).sum(-1)
        logs = np.log(density) + highest[..., 0] - np.log(2 * np.pi * std**2)
        points[:, size:] = 0
        made = set_batch(points.astype(np.float32), chosen.astype(np.int32), np.full(batch_size, size))
        return {**made, "oracle": logs[:, :size].mean(1).astype(np.float32)}

    names = ("share", "mean x", "mean y", "deviation x", "deviation y")
    source = f"{min_size} to {max_size} points from mixtures of {components} Gaussians, {batch_size} sets a batch"
    return generated(make, Quantities(names), seed, source)


def odd_one_out(size: int = 8, batch_size: int = 64, seed: int = 0) -> Dataset:
    """Digits of one class and one of another: which one? (After Lee et al. 2019, section 5.5.)

    The digits are scikit-learn's: three fifths to learn from, one to validate on, one to test on.

    Args:
        size: N, digits of a set.
        batch_size: B, sets.
        seed: Of the sets.

    Raises:
        ValueError: An argument out of range.
    """
    check_arguments(seed, batch_size=batch_size, size=size)
    if size < 2:
        raise ValueError(f"size: at least 2; given {size}")

    def make(random: np.random.Generator, images: np.ndarray, labels: np.ndarray) -> Batch:
        usual = random.integers(0, 10, batch_size)
        other = (usual + random.integers(1, 10, batch_size)) % 10
        targets = random.integers(0, size, batch_size).astype(np.int32)
        classes = np.where(np.arange(size) == targets[:, None], other[:, None], usual[:, None])
        return set_batch(images[_drawn(random, labels, classes)], targets, np.full(batch_size, size))

    source = f"the odd one out of {size} digits, {batch_size} sets a batch"
    return generated(make, Quantities(("score",)), seed, source, parts=digit_parts(), inputs=DIGITS)


def prevalence(size: int = 100, batch_size: int = 20, seed: int = 0) -> Dataset:
    """Which part of a bag of digits is of each class? The classes' shares are uniform among all there are.

    They are drawn from a Dirichlet distribution of ones (the artificial prevalence protocol); the answer is what a bag
    really has. Digits as of ``odd_one_out``.

    Args:
        size: N, digits of a bag.
        batch_size: B, bags.
        seed: Of the bags.

    Raises:
        ValueError: An argument out of range.
    """
    check_arguments(seed, batch_size=batch_size, size=size)

    def make(random: np.random.Generator, images: np.ndarray, labels: np.ndarray) -> Batch:
        shares = random.dirichlet(np.ones(10), batch_size)
        classes = (random.random((batch_size, size, 1)) > np.cumsum(shares, -1)[:, None]).sum(-1)
        classes = np.minimum(classes, 9)
        realized = (classes[..., None] == np.arange(10)).mean(1).astype(np.float32)
        return set_batch(images[_drawn(random, labels, classes)], realized, np.full(batch_size, size))

    source = f"shares of classes in bags of {size} digits, {batch_size} bags a batch"
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
    valid = np.arange(inputs.shape[1]) < sizes[:, None]
    return {"inputs": inputs, "targets": targets, "mask": np.ones(len(inputs), bool), "valid": valid}


def _drawn(random: np.random.Generator, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Numbers of examples of these classes, each drawn from all of its class."""
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels, minlength=10)
    first = np.cumsum(counts) - counts
    return order[first[classes] + (random.random(classes.shape) * counts[classes]).astype(int)]
