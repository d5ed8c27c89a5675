"""Sets of one class each."""

from jaxnets.data.checks import one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.examples import dataset
from jaxnets.data.npz_file import in_row, ragged_parts
from jaxnets.ops.names import printable


@one_line_errors
def labelled_sets(
    path: str, batch: int = 64, validation: float = 0.15, standardise: bool = True, seed: int = 0
) -> Dataset:
    """Sets of an npz file: ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    Args:
        path: The file. ``x`` is ``[S, N]`` or ``[S, N, D]``, sets of up to N elements; a set that ends in NaN is that
            much smaller. ``y`` is ``[S]``, numbers or text.
        batch: B, sets.
        validation: The part held out of what is not for testing.
        standardise: Whether every feature is shifted and scaled to mean 0 and deviation 1 over the training part.
        seed: Of the order and of what is held out.

    Raises:
        ValueError: The file cannot be read or lacks something; an element has NaN, which set, element and feature;
            an argument is out of range.
    """
    train, test = (part._replace(lengths=None, members=in_row(part)) for part in ragged_parts(path, standardise))
    return dataset(train, test, batch=batch, validation=validation, seed=seed, source=printable(path))
