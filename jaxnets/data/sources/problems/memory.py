"""Synthetic tests of memory: what must be remembered stands long before it is asked for. No example is repeated."""

import numpy as np

from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import Dataset
from jaxnets.data.sources.batches import Batch
from jaxnets.data.sources.problems.generated import generated
from jaxnets.data.targets import Classes, Quantities


def adding(length: int = 100, batch_size: int = 64, seed: int = 0) -> Dataset:
    """The adding problem (Hochreiter and Schmidhuber 1997, section 5.4; as in Arjovsky et al. 2016, arXiv:1511.06464).

    Of ``length`` pairs (value, marker) with values uniform in [0, 1], two are marked, one in each half; the answer is
    the sum of their values. Always answering 1 has a mean squared error of 1/6.

    Args:
        length: T, at least 2.
        batch_size: B, rows.
        seed: Of the examples.

    Raises:
        ValueError: An argument out of range.
    """
    _check(length, 2, batch_size, seed)

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

    ``symbols`` random ones of 8, then ``delay`` steps without any, the last of them a signal; then the symbols are to
    be given in their order, while nothing is read. Only these answers count. Guessing costs log 8 = 2.08 nats.

    Args:
        delay: Steps between the last symbol and the first answer, at least 1.
        symbols: How many are to be remembered.
        batch_size: B, rows.
        seed: Of the examples.

    Raises:
        ValueError: An argument out of range.
    """
    check_arguments(seed, batch_size=batch_size, delay=delay, symbols=symbols)
    alphabet, signal, nothing = 8, 8, 9
    length = 2 * symbols + delay

    def make(random: np.random.Generator) -> Batch:
        memory = random.integers(0, alphabet, (batch_size, symbols))
        tokens = np.full((batch_size, length), nothing)
        tokens[:, :symbols] = memory
        tokens[:, symbols + delay - 1] = signal
        targets = np.zeros((batch_size, length), np.int32)
        targets[:, symbols + delay :] = memory
        counts = np.broadcast_to(np.arange(length) >= symbols + delay, targets.shape)
        return {"inputs": np.eye(10, dtype=np.float32)[tokens], "targets": targets, "mask": counts}

    source = f"{symbols} symbols to copy after {delay} steps, batches of {batch_size}"
    return generated(make, Classes(tuple(map(str, range(alphabet)))), seed, source)


def temporal_order(length: int = 100, batch_size: int = 64, seed: int = 0) -> Dataset:
    """The temporal order problem (Hochreiter and Schmidhuber 1997, section 5.6, task 6a).

    Random distractors a, b, c, d between a first symbol E and a last B; at one step of the second tenth and at one of
    the sixth tenth stands an X or a Y. The class is their order: XX, XY, YX or YY. Guessing is right in a quarter.

    Args:
        length: T, at least 20.
        batch_size: B, rows.
        seed: Of the examples.

    Raises:
        ValueError: An argument out of range.
    """
    _check(length, 20, batch_size, seed)
    distractors, x, begin, end = 4, 4, 6, 7  # X is 4, Y is 5

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


def _check(length: int, least: int, batch: int, seed: int) -> None:
    check_arguments(seed, batch_size=batch, length=length)
    if length < least:
        raise ValueError(f"length: at least {least}; given {length}")
