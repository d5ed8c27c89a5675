"""Images and their targets, as bytes ``[B, H, W, C]``, from npz files."""

import hashlib
import os

import numpy as np

from jaxnets.data.checks import check_arguments, one_line_errors
from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.formats.npz import names_of, read_arrays
from jaxnets.data.image_files import EncodedImages, check_classes, told
from jaxnets.data.sources.examples import dataset
from jaxnets.data.target_arrays import KINDS
from jaxnets.ops.checks import check_choice
from jaxnets.ops.printable import printable


@one_line_errors
def image_arrays(
    path: str, batch_size: int = 64, validation_fraction: float = 0.1, seed: int = 0, target_type: str = "classes"
) -> Dataset:
    """Images of an npz file: ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    Args:
        path: The file. ``x`` is uint8 ``[N, H, W]`` or ``[N, H, W, C]``; ``y`` is ``[N]``, numbers or text; ``classes``
            are the names of the numbers, if it is there.
        batch_size: B.
        validation_fraction: The part held out of what is not for testing.
        seed: Of the order and of what is held out.
        target_type: As in ``series``.

    Raises:
        ValueError: The file cannot be read or lacks something, or an argument is out of range.
    """
    check_choice("target_type", target_type, KINDS)
    keys = tuple(
        f"{letter}_{part}" for part in ("train", "test") for letter in ("x" if target_type == "none" else "xy")
    )
    named = "quantities" if target_type == "quantities" else "classes"
    arrays = _read(path, keys, named)
    names, examples = names_of(path, arrays, named), []
    for part in ("train", "test"):
        pixels = _images(path, arrays, part)
        labels = _labels(path, arrays, part) if target_type == "classes" else arrays.get(f"y_{part}")
        if labels is not None and len(pixels) != len(labels):
            raise ValueError(f"{printable(path)}: {len(pixels)} images in x_{part}, {len(labels)} in y_{part}")
        examples.append(Examples(pixels, labels))
    train, test = examples
    return dataset(
        train,
        test,
        batch_size=batch_size,
        validation_fraction=validation_fraction,
        seed=seed,
        source=printable(path),
        targets=target_type,
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
    """Images in an npz file of encoded bytes, such as JPEG; all are decoded at the start.

    Args:
        path: The file. ``jpg_train`` is uint8, one image after the other; ``off_train`` integers ``[N + 1]``, where
            each begins and the last one ends; ``y_train`` ``[N]``, numbers or text; the same with ``_test``;
            ``classes`` are the names of the numbers, if it is there.
        size: As in ``images``; 0: as they are, all of one size.
        channels, batch_size, validation_fraction, on_corrupt, seed: As in ``images``.

    Raises:
        ValueError: The file cannot be read or lacks something; an image is corrupt (its number is told); an argument
            is out of range.
    """
    check_arguments(seed, validation_fraction, batch_size=batch_size)
    if size < 0:
        raise ValueError(f"size: not below 0; given {size}")
    keys = tuple(f"{name}_{part}" for part in ("train", "test") for name in ("jpg", "off", "y"))
    arrays = _read(path, keys)
    digest, found, failures, given, left = hashlib.sha256(), [], [], {}, {}
    for part in ("train", "test"):
        labels = given[part] = _labels(path, arrays, part)
        decoded = _encoded(path, arrays, part, size, channels).all(on_corrupt)
        left[part] = labels[decoded.kept]
        found.append(Examples(decoded.images, left[part]))
        failures += decoded.failures
        digest.update(decoded.digest + np.ascontiguousarray(labels).tobytes())
    train, test = found
    check_classes(path, given["train"], left["train"], names_of(path, arrays, "classes"), failures)
    made = dataset(
        train,
        test,
        batch_size=batch_size,
        validation_fraction=validation_fraction,
        seed=seed,
        source=printable(path),
        names=names_of(path, arrays, "classes"),
        fingerprint=digest.hexdigest(),
    )
    return made._replace(description=made.description + told(failures))


def _read(path: str, keys: tuple[str, ...], names: str = "classes") -> dict[str, np.ndarray]:
    if os.path.isdir(os.path.expanduser(path)):
        raise ValueError(f"{printable(path)} must be an npz file, got a folder; data.images reads folders of images")
    return read_arrays(path, keys, (names,))


def _images(path: str, arrays: dict[str, np.ndarray], part: str) -> np.ndarray:
    x = arrays[f"x_{part}"]
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or not x.size:
        raise ValueError(
            f"{printable(path)}: x_{part} as uint8 [N, H, W] or [N, H, W, C], 0 to 255, "
            f"expected; given {x.dtype} {x.shape}"
        )
    if x.ndim == 4 and x.shape[1] in (1, 3) and x.shape[3] > 4:
        raise ValueError(
            f"{printable(path)}: x_{part} with channels last, [N, H, W, C], expected; given shape {x.shape}"
        )
    return x if x.ndim == 4 else x[..., None]


def _labels(path: str, arrays: dict[str, np.ndarray], part: str) -> np.ndarray:
    labels = arrays[f"y_{part}"]
    if labels.ndim == 2 and labels.shape[1] == 1:  # as Keras has them
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"{printable(path)}: y_{part} as [N] expected; given shape {labels.shape}")
    if "classes" in arrays:
        count = len(arrays["classes"])
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{printable(path)}: y_{part} as numbers of classes expected; given {labels.dtype}")
        wrong = np.flatnonzero((labels < 0) | (labels >= count))
        if len(wrong):
            raise ValueError(
                f"{printable(path)}: label {labels[wrong[0]]} of image {wrong[0]} in y_{part} "
                f"is out of range: {count} classes"
            )
    return labels


def _encoded(path: str, arrays: dict[str, np.ndarray], part: str, size: int, channels: int) -> EncodedImages:
    content, begins = arrays[f"jpg_{part}"], arrays[f"off_{part}"]
    count = len(arrays[f"y_{part}"])
    if content.dtype != np.uint8 or content.ndim != 1:
        raise ValueError(
            f"{printable(path)}: jpg_{part} as uint8 [bytes] expected; given {content.dtype} {content.shape}"
        )
    if not count:
        raise ValueError(f"{printable(path)}: y_{part} must hold at least one label, got none")
    if begins.shape != (count + 1,) or not np.issubdtype(begins.dtype, np.integer):
        raise ValueError(
            f"{printable(path)}: off_{part} of {count + 1} integers expected for {count} labels; "
            f"given {begins.dtype} {begins.shape}"
        )
    ends = begins[1:]
    wrong = np.flatnonzero((begins[:-1] < 0) | (begins[:-1] >= ends) | (ends > len(content)))
    if len(wrong):
        i = wrong[0]
        raise ValueError(
            f"{printable(path)}: off_{part} says that image {i} is bytes {begins[i]} to {ends[i]} of {len(content)}"
        )
    return EncodedImages(
        count,
        lambda i: f"image {i} of jpg_{part} in {printable(path)}",
        lambda i: content[begins[i] : ends[i]].tobytes(),
        size,
        channels,
    )
