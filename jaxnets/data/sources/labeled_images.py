"""Labeled images, as uint8 ``[B, H, W, C]``, from a folder of files for each class."""

import hashlib
import os
from pathlib import Path

import numpy as np

from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.image_files import Decoded, EncodedImages, check_classes, check_headers, read_file, skipped_images
from jaxnets.data.sources.class_folders import LabeledFiles, folder_at, scan
from jaxnets.data.sources.examples import from_examples
from jaxnets.data.sources.parts import split_off
from jaxnets.ops.checks import check_fraction, check_integer, check_number
from jaxnets.ops.host.printable import printable


def images(
    path: str,
    size: int = 224,
    channels: int = 3,
    batch_size: int = 64,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    on_corrupt: str = "refuse",
    memory_limit: float = 4.0,
    seed: int = 0,
) -> Dataset:
    """Images from folders: ``train/<class>/*.jpg`` and ``test/<class>/*.jpg``, or ``<class>/*.jpg``.

    A folder ``validation/`` (or ``val/``) is optional. Missing splits are sampled from the training images, stratified
    by class, except that there is no test split if the root has a validation folder but no test folder.

    Files with the suffix of a raster format are read if the installed Pillow decodes the format within this process
    (``image_decoding.FORMATS``). The description counts all skipped entries: other files, hidden files, files next to
    the class folders, linked folders within a class, FIFOs and devices. A folder that cannot be read is an error.

    Args:
        path: The root folder.
        size: H = W. The shorter side is resized to this length with antialiasing, and the longer side is cropped at its
            center.
        channels: 3 (gray images become RGB) or 1 (gray).
        batch_size: B, images of a batch; 0: all training images.
        validation_fraction: Fraction of the images that are not in the test split to hold out, if there is no
            validation folder.
        test_fraction: Fraction of all images for the test split, if the root holds class folders only.
        on_corrupt: ``"refuse"``: a file that cannot be read or decoded is an error that names it. ``"skip"``: such a
            file is left out and counted in the description.
        memory_limit: Limit on the decoded images, in gigabytes. If all images are within it, they are decoded once, at
            the start. Otherwise only their headers are read at the start, and each batch decodes its images; a corrupt
            body is then an error when its batch is read. With ``"skip"`` all images are decoded at the start as well,
            to find the corrupt ones.
        seed: Seed of the order and of the sampled splits.

    Raises:
        ValueError: If the folder has another layout, a file is corrupt, or an argument is out of range.
    """
    check_arguments(seed, validation_fraction, size=size)
    check_integer("batch_size", batch_size, minimum=0)
    check_fraction("test_fraction", test_fraction)
    check_number("memory_limit", memory_limit)
    root = folder_at(path)
    names, splits, skipped = scan(path)
    random = np.random.default_rng(seed)
    if len(splits) == 1:
        _sample(splits, "test", test_fraction, random)
    if "validation" not in splits:
        _sample(splits, "validation", validation_fraction, random)
    pixels = sum(len(split.files) for split in splits.values()) * size**2 * channels
    lazy = pixels > memory_limit * 1e9
    read = _headers if lazy else _decoded
    digest, examples, labels, failures = hashlib.sha256(), {}, {}, []
    for name, split in splits.items():
        decoded = read(split.files, size, channels, on_corrupt)
        labels[name] = split.labels[decoded.kept]
        examples[name] = Examples(decoded.images, labels[name])
        failures += decoded.failures
        for file in split.files:
            digest.update(os.fsencode(file.relative_to(root)) + b"\0")
        digest.update(decoded.digest)
    check_classes(path, splits["train"].labels, labels["train"], names, failures)
    result = from_examples(
        examples["train"],
        examples.get("test"),
        batch_size=batch_size,
        validation=examples["validation"],
        seed=seed,
        source=printable(path),
        names=names,
        fingerprint=digest.hexdigest(),
    )
    note = "; decoded on demand" if lazy else ""
    return result._replace(description=result.description + note + skipped_images(failures) + skipped)


def _sample(splits: dict[str, LabeledFiles], name: str, fraction: float, random: np.random.Generator) -> None:
    """Adds a split with a fraction of the training images of each class."""
    files = splits["train"]
    rest, sampled = split_off(files.labels, fraction, random, name, "images")
    splits["train"], splits[name] = files.take(rest), files.take(sampled)


def encoded_files(files: list[Path], size: int, channels: int) -> EncodedImages:
    """Images in files, decoded on demand."""
    return EncodedImages(len(files), lambda i: printable(files[i]), lambda i: read_file(files[i]), size, channels)


def _decoded(files: list[Path], size: int, channels: int, on_corrupt: str) -> Decoded:
    return encoded_files(files, size, channels).all(on_corrupt)


def _headers(files: list[Path], size: int, channels: int, on_corrupt: str) -> Decoded:
    """Like ``_decoded``, but images are decoded on demand, and the digest covers the file sizes only."""
    kept, failures, digest = check_headers(files, size, channels, on_corrupt)
    return Decoded(encoded_files([files[i] for i in kept], size, channels), kept, failures, digest)
