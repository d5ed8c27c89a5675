"""Sets with targets, from npz files."""

from jaxnets.data.checks import one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.npz import in_row, ragged_parts
from jaxnets.data.sources.examples import from_examples
from jaxnets.ops.host.printable import printable


@one_line_errors
def labeled_sets(
    path: str,
    batch_size: int = 64,
    validation_fraction: float = 0.15,
    standardize: bool = True,
    seed: int = 0,
    target_type: str = "classes",
) -> Dataset:
    """Sets from an npz file with the arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test``.

    Args:
        path: The file. ``x`` has the shape ``[S, N]`` or ``[S, N, D]``: S sets of up to N elements, where NaN at the
            end of a set is padding. ``y`` has the shape ``[S]``, numbers or text.
        batch_size: B, sets of a batch.
        validation_fraction: Fraction of the training sets to hold out for validation.
        standardize: Standardizes each feature by its mean and standard deviation over the training split, computed in
            float64 by ``statistics.fit``. A constant feature becomes 0.
        seed: Seed of the order and of the held-out sets.
        target_type: As in ``series``.

    Raises:
        ValueError: If the file cannot be read or lacks an array, an element is not finite (the message names set,
            element and feature), or an argument is out of range.
    """
    *splits, inputs, names = ragged_parts(path, standardize, target_type)
    train, test = (split._replace(lengths=None, valid=in_row(split)) for split in splits)
    return from_examples(
        train,
        test,
        batch_size=batch_size,
        validation=validation_fraction,
        seed=seed,
        source=printable(path),
        target_type=target_type,
        names=names,
        inputs=inputs,
    )
