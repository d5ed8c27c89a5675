"""Synthetic problems on sets.

In addition to the arrays in ``batches``, a batch has ``valid`` bool ``[B, N]``, the mask of the elements.
"""

from collections.abc import Callable

import numpy as np

from jaxnets.data.checks import check_arguments, check_range
from jaxnets.data.dataset import Dataset
from jaxnets.data.inputs import Pixels
from jaxnets.data.sources.batches import Batch
from jaxnets.data.sources.problems.generated import generated
from jaxnets.data.targets import Quantities
from jaxnets.ops.checks import check_choice, check_integer

DIGITS = Pixels(16.0, either=True)  # the preprocessing of digit_parts
STATISTICS: dict[str, Callable] = {"mean": np.mean, "median": np.median, "maximum": np.max, "variance": np.var}


def set_statistics(statistic: str = "mean", size: int = 100, batch_size: int = 20, seed: int = 0) -> Dataset:
    """Regression of a statistic of a set of numbers (Perez-Mon et al. 2024, arXiv:2403.15123).

    The numbers of a set are uniform in [0, m], where m is uniform in [0, 1]. The target is the sample statistic of the
    set.

    Args:
        statistic: ``"mean"``, ``"median"``, ``"maximum"`` or ``"variance"``.
        size: N, numbers of a set.
        batch_size: B, sets of a batch.
        seed: Seed of the sets.

    Raises:
        ValueError: If ``statistic`` is unknown, or an argument is out of range.
    """
    check_choice("statistic", statistic, STATISTICS)
    check_arguments(seed, batch_size=batch_size, size=size)

    def make(random: np.random.Generator) -> Batch:
        numbers = (random.random((batch_size, 1)) * random.random((batch_size, size))).astype(np.float32)
        targets = STATISTICS[statistic](numbers, axis=1).astype(np.float32)
        return set_batch(numbers[..., None], targets[:, None], np.full(batch_size, size))

    return generated(make, Quantities((statistic,)), seed, f"{statistic} of {size} numbers, {batch_size} sets a batch")


def set_maximum(max_size: int = 10, scale: float = 100.0, batch_size: int = 128, seed: int = 0) -> Dataset:
    """Regression of the maximum of a set of numbers (Lee et al. 2019, section 5.1).

    A set has 1 to ``max_size`` numbers, uniform in [0, ``scale``].

    Args:
        max_size: N, maximum number of elements of a set.
        scale: Upper bound of the numbers.
        batch_size: B, sets of a batch.
        seed: Seed of the sets.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_arguments(seed, batch_size=batch_size, max_size=max_size)

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
    """Regression of the sum of a set of digits, which are symbols 0 to 9 (Zaheer et al. 2017, section 4.1.2).

    Args:
        min_size, max_size: Range of the number of digits of a set.
        batch_size: B, sets of a batch.
        seed: Seed of the sets.
        read_as: ``"set"``: indices ``[B, N]`` with ``valid``. ``"sequence"``: the same digits as one-hot vectors
            ``[B, N, 10]`` with ``lengths``, for a recurrent network.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_arguments(seed, batch_size=batch_size, min_size=min_size)
    check_range(min_size, max_size)
    check_choice("read_as", read_as, ("set", "sequence"))

    def make(random: np.random.Generator) -> Batch:
        sizes = random.integers(min_size, max_size + 1, batch_size)
        digits = random.integers(0, 10, (batch_size, max_size)).astype(np.int32)
        digits[np.arange(max_size) >= sizes[:, None]] = 0
        batch = set_batch(digits, digits.sum(1, keepdims=True).astype(np.float32), sizes)
        if read_as == "sequence":
            valid = batch.pop("valid")
            batch |= {
                "inputs": np.eye(10, dtype=np.float32)[digits] * valid[..., None],
                "lengths": valid.sum(1, dtype=np.int32),
            }
        return batch

    source = f"sum of {min_size} to {max_size} digits, {batch_size} {read_as}s a batch"
    return generated(make, Quantities(("sum",)), seed, source)


def gaussian_mixtures(
    components: int = 4,
    min_size: int = 100,
    max_size: int = 500,
    std: float = 0.3,
    batch_size: int = 10,
    seed: int = 0,
) -> Dataset:
    """Points in the plane from mixtures of Gaussians, a random mixture for each set (Lee et al. 2019, section 5.3).

    Means are uniform in [-4, 4], and weights follow a flat Dirichlet distribution. ``oracle`` ``[B]`` is the mean log
    density of the points of a set under their mixture. ``targets`` ``[B, N]`` are the component indices.

    Args:
        components: K, components of a mixture.
        min_size, max_size: Range of the number of points of a set. All sets of a batch have equally many points, padded
            to the next quarter of ``max_size``, so that there are only four shapes to compile.
        std: Standard deviation of every component.
        batch_size: B, sets of a batch.
        seed: Seed of the sets.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_arguments(seed, batch_size=batch_size, components=components, min_size=min_size)
    check_range(min_size, max_size)
    if std <= 0:
        raise ValueError(f"`std` must be positive, got {std}")

    quarters = [-(-max_size * i // 4) for i in (1, 2, 3, 4)]

    def make(random: np.random.Generator) -> Batch:
        size = random.integers(min_size, max_size + 1)
        means = random.uniform(-4, 4, (batch_size, components, 2))
        weights = random.dirichlet(np.ones(components), batch_size)
        padded_size = next(quarter for quarter in quarters if quarter >= size)
        component = (random.random((batch_size, padded_size, 1)) > np.cumsum(weights, -1)[:, None]).sum(-1)
        component = np.minimum(component, components - 1)
        centers = np.take_along_axis(means, component[..., None], 1)
        points = centers + std * random.standard_normal((batch_size, padded_size, 2))
        squared_distance = ((points[:, :, None] - means[:, None]) ** 2).sum(-1) / std**2
        max_log = -squared_distance.min(-1, keepdims=True) / 2  # for a stable log-sum-exp
        density = (weights[:, None] * np.exp(-squared_distance / 2 - max_log)).sum(-1)
        log_density = np.log(density) + max_log[..., 0] - np.log(2 * np.pi * std**2)
        points[:, size:] = 0
        batch = set_batch(points.astype(np.float32), component.astype(np.int32), np.full(batch_size, size))
        return {**batch, "oracle": log_density[:, :size].mean(1).astype(np.float32)}

    names = ("share", "mean x", "mean y", "deviation x", "deviation y")
    source = f"{min_size} to {max_size} points from mixtures of {components} Gaussians, {batch_size} sets a batch"
    return generated(make, Quantities(names), seed, source)


def odd_one_out(size: int = 8, batch_size: int = 64, seed: int = 0) -> Dataset:
    """Detection of the one digit of a set that has another class than the rest (after Lee et al. 2019, section 5.5).

    The images are the digits of scikit-learn: three fifths for training, one for validation, one for testing.

    Args:
        size: N, digits of a set, at least 2.
        batch_size: B, sets of a batch.
        seed: Seed of the sets.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_arguments(seed, batch_size=batch_size)
    check_integer("size", size, minimum=2)

    def make(random: np.random.Generator, images: np.ndarray, labels: np.ndarray) -> Batch:
        usual = random.integers(0, 10, batch_size)
        other = (usual + random.integers(1, 10, batch_size)) % 10
        targets = random.integers(0, size, batch_size).astype(np.int32)
        classes = np.where(np.arange(size) == targets[:, None], other[:, None], usual[:, None])
        return set_batch(images[_sample_of_classes(random, labels, classes)], targets, np.full(batch_size, size))

    source = f"the odd one out of {size} digits, {batch_size} sets a batch"
    return generated(make, Quantities(("score",)), seed, source, split_arrays=digit_parts(), inputs=DIGITS)


def prevalence(size: int = 100, batch_size: int = 20, seed: int = 0) -> Dataset:
    """Quantification: the prevalence of each class in a bag of digits.

    Class probabilities follow a flat Dirichlet distribution (the artificial prevalence protocol). The target is the
    realized prevalence in the bag. The images are as in ``odd_one_out``.

    Args:
        size: N, digits of a bag.
        batch_size: B, bags of a batch.
        seed: Seed of the bags.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_arguments(seed, batch_size=batch_size, size=size)

    def make(random: np.random.Generator, images: np.ndarray, labels: np.ndarray) -> Batch:
        probabilities = random.dirichlet(np.ones(10), batch_size)
        classes = (random.random((batch_size, size, 1)) > np.cumsum(probabilities, -1)[:, None]).sum(-1)
        classes = np.minimum(classes, 9)
        realized = (classes[..., None] == np.arange(10)).mean(1).astype(np.float32)
        return set_batch(images[_sample_of_classes(random, labels, classes)], realized, np.full(batch_size, size))

    source = f"shares of classes in bags of {size} digits, {batch_size} bags a batch"
    return generated(
        make, Quantities(tuple(map(str, range(10)))), seed, source, split_arrays=digit_parts(), inputs=DIGITS
    )


def digit_parts() -> list[tuple[np.ndarray, np.ndarray]]:
    """Images ``[n, 64]`` in [0, 1] and labels of the training, validation and test splits."""
    from sklearn.datasets import load_digits  # seconds to import

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    fifth = np.arange(len(labels)) % 5
    return [(images[rows], labels[rows]) for rows in (fifth < 3, fifth == 3, fifth == 4)]


def set_batch(inputs: np.ndarray, targets: np.ndarray, sizes: np.ndarray) -> Batch:
    """Returns the batch of padded sets; set ``i`` has ``sizes[i]`` valid elements."""
    valid = np.arange(inputs.shape[1]) < sizes[:, None]
    return {"inputs": inputs, "targets": targets, "mask": np.ones(len(inputs), bool), "valid": valid}


def _sample_of_classes(random: np.random.Generator, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Indices of random examples of the given classes."""
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels, minlength=10)
    first = np.cumsum(counts) - counts
    return order[first[classes] + (random.random(classes.shape) * counts[classes]).astype(int)]
