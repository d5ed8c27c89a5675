"""Synthetic problems that require memory over many steps."""

import numpy as np

from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import Dataset
from jaxnets.data.sources.batches import Batch
from jaxnets.data.sources.problems.generated import generated
from jaxnets.data.targets import Classes, Quantities
from jaxnets.ops.checks import check_integer


def adding(length: int = 100, batch_size: int = 64, seed: int = 0) -> Dataset:
    """The adding problem (Hochreiter and Schmidhuber 1997, section 5.4; as in Arjovsky et al. 2016, arXiv:1511.06464).

    An input is a sequence of pairs (value, marker) with values uniform in [0, 1]. One step in each half is marked, and
    the target is the sum of the two marked values. Constant predictions of 1 have a mean squared error of 1/6.

    Args:
        length: T, steps of a sequence, at least 2.
        batch_size: B, rows of a batch.
        seed: Seed of the examples.

    Raises:
        ValueError: If an argument is out of range.
    """
    _check_arguments(length, 2, batch_size, seed)

    def make(random: np.random.Generator) -> Batch:
        values = random.random((batch_size, length), np.float32)
        half = length // 2
        marked = np.stack([random.integers(0, half, batch_size), random.integers(half, length, batch_size)], axis=1)
        markers = np.zeros_like(values)
        np.put_along_axis(markers, marked, 1, axis=1)
        total = np.take_along_axis(values, marked, axis=1).sum(1, keepdims=True)
        return {"inputs": np.stack([values, markers], -1), "targets": total, "mask": np.ones(batch_size, bool)}

    return generated(make, Quantities(("sum",)), seed, f"adding problem of {length} steps, batches of {batch_size}")


def copying(delay: int = 100, symbols: int = 10, batch_size: int = 64, seed: int = 0) -> Dataset:
    """The copy problem (Hochreiter and Schmidhuber 1997; as in Arjovsky et al. 2016, arXiv:1511.06464).

    An input is a sequence of random symbols from an alphabet of 8, then ``delay`` blanks, the last of which is replaced
    by a signal, then as many blanks as symbols. The targets during these last blanks are the symbols in their order;
    all other steps are masked. Guessing costs log 8 = 2.08 nats per symbol.

    Args:
        delay: Steps between the last symbol and the first target, at least 1.
        symbols: Number of symbols to copy.
        batch_size: B, rows of a batch.
        seed: Seed of the examples.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_arguments(seed, batch_size=batch_size, delay=delay, symbols=symbols)
    alphabet, signal, blank = 8, 8, 9
    length = 2 * symbols + delay

    def make(random: np.random.Generator) -> Batch:
        copied = random.integers(0, alphabet, (batch_size, symbols))
        tokens = np.full((batch_size, length), blank)
        tokens[:, :symbols] = copied
        tokens[:, symbols + delay - 1] = signal
        targets = np.zeros((batch_size, length), np.int32)
        targets[:, symbols + delay :] = copied
        mask = np.broadcast_to(np.arange(length) >= symbols + delay, targets.shape)
        return {"inputs": np.eye(10, dtype=np.float32)[tokens], "targets": targets, "mask": mask}

    source = f"{symbols} symbols to copy after {delay} steps, batches of {batch_size}"
    return generated(make, Classes(tuple(map(str, range(alphabet)))), seed, source)


def temporal_order(length: int = 100, batch_size: int = 64, seed: int = 0) -> Dataset:
    """The temporal order problem (Hochreiter and Schmidhuber 1997, section 5.6, task 6a).

    An input starts with the symbol E, ends with B, and has random distractors a, b, c, d in between. One step in the
    second tenth and one step in the sixth tenth are replaced by X or Y. The class is their order: XX, XY, YX or YY.
    Guessing has an accuracy of 25 %.

    Args:
        length: T, steps of a sequence, at least 20.
        batch_size: B, rows of a batch.
        seed: Seed of the examples.

    Raises:
        ValueError: If an argument is out of range.
    """
    _check_arguments(length, 20, batch_size, seed)
    distractors, x, begin, end = 4, 4, 6, 7  # X has the index 4, Y has 5

    def make(random: np.random.Generator) -> Batch:
        tokens = random.integers(0, distractors, (batch_size, length))
        tokens[:, 0], tokens[:, -1] = begin, end
        first, second = random.integers(0, 2, (2, batch_size))
        tenth, rows = length // 10, np.arange(batch_size)
        tokens[rows, random.integers(tenth, 2 * tenth, batch_size)] = x + first
        tokens[rows, random.integers(5 * tenth, 6 * tenth, batch_size)] = x + second
        targets = (2 * first + second).astype(np.int32)
        return {"inputs": np.eye(8, dtype=np.float32)[tokens], "targets": targets, "mask": np.ones(batch_size, bool)}

    classes = Classes(("XX", "XY", "YX", "YY"))
    return generated(make, classes, seed, f"temporal order over {length} steps, batches of {batch_size}")


def _check_arguments(length: int, min_length: int, batch_size: int, seed: int) -> None:
    check_arguments(seed, batch_size=batch_size)
    check_integer("length", length, minimum=min_length)
