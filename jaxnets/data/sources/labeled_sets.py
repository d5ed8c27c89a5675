"""Sets and their targets."""

from jaxnets.data.checks import one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.npz import in_row, ragged_parts
from jaxnets.data.sources.examples import dataset
from jaxnets.ops.printable import printable


@one_line_errors
def labeled_sets(
    path: str,
    batch_size: int = 64,
    validation_fraction: float = 0.15,
    standardize: bool = True,
    seed: int = 0,
    target_type: str = "classes",
) -> Dataset:
    """Sets of an npz file: ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    Args:
        path: The file. ``x`` is ``[S, N]`` or ``[S, N, D]``, sets of up to N elements; a set that ends in NaN is that
            much smaller. ``y`` is ``[S]``, numbers or text.
        batch_size: B, sets.
        validation_fraction: The part held out of what is not for testing.
        standardize: Whether features get mean 0 and standard deviation 1 over the training part, as ``statistics.fit``
            finds them in float64; a constant feature becomes 0.
        seed: Of the order and of what is held out.
        target_type: As in ``series``.

    Raises:
        ValueError: The file cannot be read or lacks something; an element has NaN, which set, element and feature;
            an argument is out of range.
    """
    *parts, inputs, names = ragged_parts(path, standardize, target_type)
    train, test = (part._replace(lengths=None, valid=in_row(part)) for part in parts)
    return dataset(
        train,
        test,
        batch_size=batch_size,
        validation_fraction=validation_fraction,
        seed=seed,
        source=printable(path),
        targets=target_type,
        names=names,
        inputs=inputs,
    )
