"""Sets with targets, from npz files."""

from jaxnets.data.checks import one_line_errors
from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.formats.npz import in_row
from jaxnets.data.sources.ragged import from_ragged


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
        batch_size: B, sets of a batch; 0: all training sets.
        validation_fraction: Fraction of the training sets to hold out for validation.
        standardize: Standardizes each feature by its mean and standard deviation over the training split, computed in
            float64 by ``statistics.fit``. A constant feature becomes 0.
        seed: Seed of the order and of the held-out sets.
        target_type: As in ``series``.

    Raises:
        ValueError: If the file cannot be read or lacks an array, an element is not finite (the message names set,
            element and feature), or an argument is out of range.
    """
    return from_ragged(
        path,
        _as_masks,
        batch_size=batch_size,
        validation_fraction=validation_fraction,
        standardize=standardize,
        seed=seed,
        target_type=target_type,
    )


def _as_masks(train: Examples, test: Examples) -> tuple[Examples, Examples]:
    """Replaces the lengths by masks of the elements."""
    masked = lambda split: split._replace(lengths=None, valid=in_row(split))
    return masked(train), masked(test)
