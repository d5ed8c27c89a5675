"""Images with targets, as uint8 ``[B, H, W, C]``, from npz files."""

import hashlib
import os

import numpy as np

from jaxnets.data.checks import check_arguments, one_line_errors
from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.formats.npz import names_of, read_arrays
from jaxnets.data.image_files import EncodedImages, check_classes, skipped_images
from jaxnets.data.sources.examples import from_examples
from jaxnets.data.target_arrays import TARGET_TYPES
from jaxnets.ops.checks import check_choice, check_integer
from jaxnets.ops.host.printable import printable


@one_line_errors
def image_arrays(
    path: str, batch_size: int = 64, validation_fraction: float = 0.1, seed: int = 0, target_type: str = "classes"
) -> Dataset:
    """Images from an npz file with the arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test``.

    Args:
        path: The file. ``x`` is uint8 ``[N, H, W]`` or ``[N, H, W, C]``. ``y`` has the shape ``[N]``, numbers or text.
            The optional array ``classes`` holds the names of the class indices in ``y``.
        batch_size: B, images of a batch; 0: all training images.
        validation_fraction: Fraction of the training images to hold out for validation.
        seed: Seed of the order and of the held-out images.
        target_type: As in ``series``.

    Raises:
        ValueError: If the file cannot be read or lacks an array, or an argument is out of range.
    """
    check_choice("target_type", target_type, TARGET_TYPES)
    letters = "x" if target_type == "none" else "xy"
    keys = tuple(f"{letter}_{split}" for split in ("train", "test") for letter in letters)
    names_key = "quantities" if target_type == "quantities" else "classes"
    arrays = _read(path, keys, names_key)
    names, examples = names_of(path, arrays, names_key), []
    for split in ("train", "test"):
        pixels = _images(path, arrays, split)
        targets = _labels(path, arrays, split) if target_type == "classes" else arrays.get(f"y_{split}")
        if targets is not None and len(pixels) != len(targets):
            raise ValueError(
                f"{printable(path)}: y_{split} must have one target for each of {len(pixels)} images in x_{split}, "
                f"got {len(targets)}"
            )
        examples.append(Examples(pixels, targets))
    train, test = examples
    return from_examples(
        train,
        test,
        batch_size=batch_size,
        validation=validation_fraction,
        seed=seed,
        source=printable(path),
        target_type=target_type,
        names=names if target_type != "none" else (),
    )


@one_line_errors
def jpeg_images(
    path: str,
    size: int = 0,
    channels: int = 3,
    batch_size: int = 64,
    validation_fraction: float = 0.1,
    on_corrupt: str = "refuse",
    seed: int = 0,
) -> Dataset:
    """Encoded images, such as JPEG, from an npz file; all images are decoded at the start.

    Args:
        path: The file. ``jpg_train`` is uint8, the concatenated bytes of N images. ``off_train`` holds N + 1 integers,
            the offsets of the images and the end of the last one. ``y_train`` has the shape ``[N]``, numbers or text.
            The arrays ``jpg_test``, ``off_test`` and ``y_test`` have the same layout. The optional array ``classes``
            holds the names of the class indices.
        size: As in ``images``; 0 keeps the size, which must be the same for all images.
        channels, batch_size, validation_fraction, on_corrupt, seed: As in ``images``.

    Raises:
        ValueError: If the file cannot be read or lacks an array, an image is corrupt (the message contains its index),
            or an argument is out of range.
    """
    check_arguments(seed, validation_fraction)
    check_integer("batch_size", batch_size, minimum=0)
    check_integer("size", size, minimum=0)
    keys = tuple(f"{name}_{split}" for split in ("train", "test") for name in ("jpg", "off", "y"))
    arrays = _read(path, keys)
    digest, examples, failures, labels, decoded_labels = hashlib.sha256(), [], [], {}, {}
    for split in ("train", "test"):
        labels[split] = _labels(path, arrays, split)
        decoded = _encoded(path, arrays, split, size, channels).all(on_corrupt)
        decoded_labels[split] = labels[split][decoded.kept]
        examples.append(Examples(decoded.images, decoded_labels[split]))
        failures += decoded.failures
        digest.update(decoded.digest + np.ascontiguousarray(labels[split]).tobytes())
    train, test = examples
    check_classes(path, labels["train"], decoded_labels["train"], names_of(path, arrays, "classes"), failures)
    result = from_examples(
        train,
        test,
        batch_size=batch_size,
        validation=validation_fraction,
        seed=seed,
        source=printable(path),
        names=names_of(path, arrays, "classes"),
        fingerprint=digest.hexdigest(),
    )
    return result._replace(description=result.description + skipped_images(failures))


def _read(path: str, keys: tuple[str, ...], names_key: str = "classes") -> dict[str, np.ndarray]:
    """Returns the arrays of the file, with the optional array of names."""
    if os.path.isdir(os.path.expanduser(path)):
        raise ValueError(f"{printable(path)} must be an npz file, got a folder; data.images reads folders of images")
    return read_arrays(path, keys, (names_key,))


def _images(path: str, arrays: dict[str, np.ndarray], split: str) -> np.ndarray:
    """Returns the images of one split with a channel axis."""
    x = arrays[f"x_{split}"]
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or not x.size:
        raise ValueError(
            f"{printable(path)}: x_{split} must be uint8 of shape [N, H, W] or [N, H, W, C], "
            f"got {x.dtype} of shape {x.shape}"
        )
    if x.ndim == 4 and x.shape[1] in (1, 3) and x.shape[3] > 4:
        raise ValueError(f"{printable(path)}: x_{split} must have its channels last, [N, H, W, C], got shape {x.shape}")
    return x if x.ndim == 4 else x[..., None]


def _labels(path: str, arrays: dict[str, np.ndarray], split: str) -> np.ndarray:
    """Returns the labels ``[N]`` of one split."""
    labels = arrays[f"y_{split}"]
    if labels.ndim == 2 and labels.shape[1] == 1:  # the shape in the data sets of Keras
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"{printable(path)}: y_{split} must be [N], got shape {labels.shape}")
    if "classes" in arrays:
        count = len(arrays["classes"])
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{printable(path)}: y_{split} must be integer class indices, got {labels.dtype}")
        wrong = np.flatnonzero((labels < 0) | (labels >= count))
        if len(wrong):
            raise ValueError(
                f"{printable(path)}: y_{split} must be class indices from 0 to {count - 1}, "
                f"got {labels[wrong[0]]} for image {wrong[0]}"
            )
    return labels


def _encoded(path: str, arrays: dict[str, np.ndarray], split: str, size: int, channels: int) -> EncodedImages:
    """Returns the encoded images of one split."""
    content, offsets = arrays[f"jpg_{split}"], arrays[f"off_{split}"]
    count = len(arrays[f"y_{split}"])
    if content.dtype != np.uint8 or content.ndim != 1:
        raise ValueError(
            f"{printable(path)}: jpg_{split} must be uint8 with one axis, got {content.dtype} of shape {content.shape}"
        )
    if not count:
        raise ValueError(f"{printable(path)}: y_{split} must hold at least one label, got none")
    if offsets.shape != (count + 1,) or not np.issubdtype(offsets.dtype, np.integer):
        raise ValueError(
            f"{printable(path)}: off_{split} must be {count + 1} integers for {count} labels, "
            f"got {offsets.dtype} of shape {offsets.shape}"
        )
    ends = offsets[1:]
    wrong = np.flatnonzero((offsets[:-1] < 0) | (offsets[:-1] >= ends) | (ends > len(content)))
    if len(wrong):
        i = wrong[0]
        raise ValueError(
            f"{printable(path)}: off_{split} must increase from 0 to at most {len(content)}, "
            f"got bytes {offsets[i]} to {ends[i]} for image {i}"
        )
    return EncodedImages(
        count,
        lambda i: f"image {i} of jpg_{split} in {printable(path)}",
        lambda i: content[offsets[i] : ends[i]].tobytes(),
        size,
        channels,
    )
