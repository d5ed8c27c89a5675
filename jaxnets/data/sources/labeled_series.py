"""Series with targets, and images as series or as images."""

import numpy as np

from jaxnets.data.checks import one_line_errors
from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.formats.idx import idx_folder
from jaxnets.data.formats.npz import in_row
from jaxnets.data.inputs import Pixels
from jaxnets.data.sources.examples import from_examples
from jaxnets.data.sources.ragged import from_ragged
from jaxnets.ops.checks import check_choice
from jaxnets.ops.host import extras
from jaxnets.ops.host.printable import printable


def digits(read_as: str = "rows", batch_size: int = 64, validation_fraction: float = 0.15, seed: int = 0) -> Dataset:
    """The 1797 handwritten digits of 8 x 8 pixels in scikit-learn (Alpaydin and Kaynak 1998).

    Every fifth digit belongs to the test split.

    Args:
        read_as: ``"rows"`` (series with T = 8, D = 8), ``"pixels"`` (series with T = 64, D = 1) or ``"images"``
            (uint8 with H = W = 8, C = 1).
        batch_size: B, rows of a batch; 0: all training rows.
        validation_fraction: Fraction of the remaining digits to hold out for validation.
        seed: Seed of the order and of the held-out digits.

    Raises:
        ValueError: If an argument is out of range.
    """
    from sklearn.datasets import load_digits  # seconds to import

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16
    if read_as == "images":
        images = np.round(255 * images).astype(np.uint8)
    fifth = np.arange(len(labels)) % 5 == 4
    return from_examples(
        _examples(images[~fifth], labels[~fifth], read_as),
        _examples(images[fifth], labels[fifth], read_as),
        batch_size=batch_size,
        validation=validation_fraction,
        seed=seed,
        source=_source("digits", read_as),
        inputs=None if read_as == "images" else Pixels(16.0, 8 if read_as == "pixels" else None, either=True),
    )


@one_line_errors
def idx(
    path: str, read_as: str = "rows", batch_size: int = 64, validation_fraction: float = 0.1, seed: int = 0
) -> Dataset:
    """Images from the four IDX files of MNIST, or of another data set in its layout.

    Args:
        path: The folder with ``train-images-idx3-ubyte`` and the other three files, plain or gzipped. Each may be in a
            folder of the same name, as Kaggle unpacks them.
        read_as: ``"rows"`` (series with T = height, D = width) or ``"pixels"`` (series with T = height * width, D = 1),
            both divided by 255; or ``"images"`` (uint8).
        batch_size, validation_fraction, seed: As in ``digits``.

    Raises:
        ValueError: If a file is missing or damaged, or an argument is out of range.
    """
    arrays = idx_folder(path)
    raw = arrays["train-images"]
    for name in ("train-images", "t10k-images"):
        if read_as != "images":
            arrays[name] = arrays[name] / np.float32(255)
        elif arrays[name].dtype != np.uint8:
            raise ValueError(f"{printable(path)}: {name} must be uint8, got {arrays[name].dtype}")
    train, test = (_examples(arrays[f"{name}-images"], arrays[f"{name}-labels"], read_as) for name in ("train", "t10k"))
    inputs = None if read_as == "images" else Pixels.of(raw, 255.0, read_as)
    source = _source(printable(path), read_as)
    return from_examples(
        train,
        test,
        batch_size=batch_size,
        validation=validation_fraction,
        seed=seed,
        source=source,
        inputs=inputs,
    )


def mnist1d(batch_size: int = 64, validation_fraction: float = 0.1, seed: int = 0) -> Dataset:
    """MNIST-1D (Greydanus 2020, arXiv:2011.14439): 5000 generated series of 40 steps in 10 classes.

    The generator runs with its default seed, which yields the published data. One fifth is the test split. Requires the
    extra ``[mnist1d]``.

    Args:
        batch_size, validation_fraction, seed: As in ``digits``.

    Raises:
        MissingExtraError: If ``[mnist1d]`` is not installed.
        ValueError: If an argument is out of range.
    """
    extras.require("jaxnets.data.mnist1d", "mnist1d")
    from mnist1d.data import get_dataset_args, make_dataset

    arrays = make_dataset(get_dataset_args())
    train, test = Examples(arrays["x"][..., None], arrays["y"]), Examples(arrays["x_test"][..., None], arrays["y_test"])
    return from_examples(
        train, test, batch_size=batch_size, validation=validation_fraction, seed=seed, source="MNIST-1D"
    )


@one_line_errors
def series(
    path: str,
    batch_size: int = 64,
    validation_fraction: float = 0.15,
    standardize: bool = True,
    seed: int = 0,
    target_type: str = "classes",
) -> Dataset:
    """Labeled series from an npz file, or of the UCR archive.

    An npz file has the arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test``. ``x`` has the shape ``[N, T]`` or
    ``[N, T, D]``; NaN at the end of a row is padding. ``y`` has the shape ``[N]``, numbers or text.

    Args:
        path: The npz file; or the training file of a data set of the UCR archive, such as ``ECG5000_TRAIN.tsv``,
            ``.ts`` or ``.arff``, whose test file is in the same folder.
        standardize: Standardizes each feature by its mean and standard deviation over the training split, computed in
            float64 by ``statistics.fit``. A constant feature becomes 0.
        batch_size, validation_fraction, seed: As in ``digits``.
        target_type: ``"classes"``: ``y`` as above. ``"quantities"``: ``y`` holds numbers ``[N]`` or ``[N, Q]``, which
            are standardized; the optional array ``quantities`` holds their names. ``"labels"``: ``y`` is bool, or 0 and
            1, ``[N, C]``, and an example has any number of labels; the optional array ``classes`` holds their names.
            ``"none"``: the file needs no ``y``.

    Raises:
        ValueError: If the file cannot be read or lacks an array, or an argument is out of range.
    """
    return from_ragged(
        path,
        without_full_lengths,
        batch_size=batch_size,
        validation_fraction=validation_fraction,
        standardize=standardize,
        seed=seed,
        target_type=target_type,
    )


def without_full_lengths(train: Examples, test: Examples) -> tuple[Examples, Examples]:
    """Leaves out the lengths if no row has padding."""
    if all(in_row(split).all() for split in (train, test)):
        return train._replace(lengths=None), test._replace(lengths=None)
    return train, test


def _examples(images: np.ndarray, labels: np.ndarray, read_as: str) -> Examples:
    """Images ``[N, H, W]`` as series of rows or pixels, or as images with a channel axis."""
    check_choice("read_as", read_as, ("rows", "pixels", "images"))
    if read_as == "images":
        return Examples(images[..., None], labels)
    if read_as == "rows":
        return Examples(images, labels)
    return Examples(images.reshape(len(images), -1, 1), labels, width=images.shape[2])


def _source(source: str, read_as: str) -> str:
    return f"{source} as images" if read_as == "images" else f"{source} by {read_as}"
