"""Series of one class each, and images read as series or as what they are."""

import numpy as np

from jaxnets.data.checks import one_line_errors
from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.formats.idx import idx_folder
from jaxnets.data.formats.npz import in_row, ragged_parts
from jaxnets.data.inputs import Pixels
from jaxnets.data.sources.examples import dataset
from jaxnets.ops import extras
from jaxnets.ops.printable import printable


def digits(read_as: str = "rows", batch_size: int = 64, validation_fraction: float = 0.15, seed: int = 0) -> Dataset:
    """1797 handwritten digits of 8 x 8 (Alpaydin and Kaynak 1998), from scikit-learn; every fifth is for testing.

    Args:
        read_as: ``"rows"`` (T 8, D 8), ``"pixels"`` (T 64, D 1) or ``"images"`` (H 8, W 8, C 1, bytes 0 to 255).
        batch_size: B, rows.
        validation_fraction: The part held out of what is not for testing.
        seed: Of the order and of what is held out.

    Raises:
        ValueError: An argument out of range.
    """
    from sklearn.datasets import load_digits  # seconds to import

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16
    if read_as == "images":
        images = np.round(255 * images).astype(np.uint8)
    fifth = np.arange(len(labels)) % 5 == 4
    return dataset(
        _examples(images[~fifth], labels[~fifth], read_as),
        _examples(images[fifth], labels[fifth], read_as),
        batch_size=batch_size,
        validation_fraction=validation_fraction,
        seed=seed,
        source=_called("digits", read_as),
        inputs=None if read_as == "images" else Pixels(16.0, 8 if read_as == "pixels" else None, either=True),
    )


@one_line_errors
def idx(
    path: str, read_as: str = "rows", batch_size: int = 64, validation_fraction: float = 0.1, seed: int = 0
) -> Dataset:
    """Images in the four IDX files of MNIST's layout, as such, or one row or pixel after the other.

    Args:
        path: The folder of ``train-images-idx3-ubyte`` and the other three, plain or gzipped; each may be in a folder
            of its name, as Kaggle unpacks them.
        read_as: ``"rows"`` (T height, D width) or ``"pixels"`` (T height times width, D 1), divided by 255; or
            ``"images"`` (bytes).
        batch_size, validation_fraction, seed: As in ``digits``.

    Raises:
        ValueError: A file is missing or damaged, or an argument is out of range.
    """
    arrays = idx_folder(path)
    raw = arrays["train-images"]
    for name in ("train-images", "t10k-images"):
        if read_as != "images":
            arrays[name] = arrays[name] / np.float32(255)
        elif arrays[name].dtype != np.uint8:
            raise ValueError(f"{printable(path)}: {name} of unsigned bytes expected; given {arrays[name].dtype}")
    train, test = (_examples(arrays[f"{part}-images"], arrays[f"{part}-labels"], read_as) for part in ("train", "t10k"))
    inputs = None if read_as == "images" else Pixels.of(raw, 255.0, read_as)
    source = _called(printable(path), read_as)
    return dataset(
        train,
        test,
        batch_size=batch_size,
        validation_fraction=validation_fraction,
        seed=seed,
        source=source,
        inputs=inputs,
    )


def mnist1d(batch_size: int = 64, validation_fraction: float = 0.1, seed: int = 0) -> Dataset:
    """MNIST-1D (Greydanus 2020, arXiv:2011.14439): 5000 generated series of 40 steps, 10 classes; needs ``[mnist1d]``.

    The generator's own seed is its default, so that the data is the published one; a fifth is for testing.

    Args:
        batch_size, validation_fraction, seed: As in ``digits``.

    Raises:
        MissingExtraError: ``[mnist1d]`` is not installed.
        ValueError: An argument is out of range.
    """
    extras.require("jaxnets.data.mnist1d", "mnist1d")
    from mnist1d.data import get_dataset_args, make_dataset

    made = make_dataset(get_dataset_args())
    train, test = Examples(made["x"][..., None], made["y"]), Examples(made["x_test"][..., None], made["y_test"])
    return dataset(
        train, test, batch_size=batch_size, validation_fraction=validation_fraction, seed=seed, source="MNIST-1D"
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
    """Series of an npz file in the manner of the UCR archive: ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    Args:
        path: The file. ``x`` is ``[N, T]`` or ``[N, T, D]``; a row that ends in NaN is that much shorter. ``y`` is
            ``[N]``, numbers or text.
        standardize: Whether features get mean 0 and standard deviation 1 over the training part, as ``statistics.fit``
            finds them in float64; a constant feature becomes 0.
        batch_size, validation_fraction, seed: As in ``digits``.
        target_type: ``"classes"``: ``y`` as above. ``"quantities"``: ``y`` is numbers ``[N]`` or ``[N, Q]``, which
            become targets with mean 0 and standard deviation 1; their names are in ``quantities``, if it is there.
            ``"labels"``: ``y`` is bool, or 0 and 1, ``[N, C]``, any number of labels of an example; their names are in
            ``classes``, if it is there. ``"none"``: there is no ``y``.

    Raises:
        ValueError: The file cannot be read or lacks something, or an argument is out of range.
    """
    train, test, inputs, names = ragged_parts(path, standardize, target_type)
    if all(in_row(part).all() for part in (train, test)):
        train, test = train._replace(lengths=None), test._replace(lengths=None)
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


def _examples(images: np.ndarray, labels: np.ndarray, read_as: str) -> Examples:
    """Images ``[N, H, W]`` as series of rows or of pixels, or as they are, with an axis of channels."""
    if read_as not in ("rows", "pixels", "images"):
        raise ValueError(f"read_as: rows, pixels or images; given {read_as!r}")
    if read_as == "images":
        return Examples(images[..., None], labels)
    if read_as == "rows":
        return Examples(images, labels)
    return Examples(images.reshape(len(images), -1, 1), labels, width=images.shape[2])


def _called(source: str, read_as: str) -> str:
    return f"{source} as images" if read_as == "images" else f"{source} by {read_as}"
