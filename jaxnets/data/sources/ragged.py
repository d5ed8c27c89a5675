"""Data sets of rows of different lengths, from npz files."""

from collections.abc import Callable

from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.formats.npz import ragged_parts
from jaxnets.data.sources.examples import from_examples
from jaxnets.ops.host.printable import printable


def from_ragged(
    path: str,
    mark_padding: Callable[[Examples, Examples], tuple[Examples, Examples]],
    *,
    batch_size: int,
    validation_fraction: float,
    standardize: bool,
    seed: int,
    target_type: str,
) -> Dataset:
    """A data set from an npz file whose rows end in NaN as padding.

    Args:
        path: The file.
        mark_padding: Function of the training and the test split that returns them with ``lengths`` or ``valid`` as
            the models of the data set read them.
        batch_size, validation_fraction, standardize, seed, target_type: As in ``series``.

    Raises:
        ValueError: If the file cannot be read or lacks an array, or an argument is out of range.
    """
    train, test, inputs, names = ragged_parts(path, standardize, target_type)
    return from_examples(
        *mark_padding(train, test),
        batch_size=batch_size,
        validation=validation_fraction,
        seed=seed,
        source=printable(path),
        target_type=target_type,
        names=names,
        inputs=inputs,
    )
