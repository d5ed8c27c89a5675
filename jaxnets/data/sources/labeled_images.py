"""Images of one class each, as bytes ``[B, H, W, C]``, from folders of files."""

import hashlib
import os
from pathlib import Path

import numpy as np

from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.image_files import Decoded, EncodedImages, check_classes, check_headers, read_file, told
from jaxnets.data.sources import image_folder
from jaxnets.data.sources.examples import dataset
from jaxnets.ops.names import printable


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
    """Images in a folder for each class: ``train/<class>/*.jpg`` and ``test/<class>/*.jpg``, or ``<class>/*.jpg``.

    ``validation/`` (or ``val/``) is read too where it is there; what is not there is drawn from the rest, class by
    class, but no test part where there is one to validate on.

    Every raster format is read that the installed Pillow decodes within this process (``image_decoding.FORMATS``), in
    files with a suffix of such a format. What is skipped is counted in the description: other files, hidden ones, files
    beside the folders of classes, linked folders within a class, FIFOs and devices. A folder that cannot be read is an
    error.

    Args:
        path: The folder.
        size: H = W: the shorter side becomes that long, antialiased, and the middle of the longer one is taken.
        channels: 3 (gray images become RGB) or 1 (gray).
        batch_size: B.
        validation_fraction: The part held out of what is not for testing, where no folder is for validation.
        test_fraction: The part of all for testing, where folders are of classes only.
        on_corrupt: ``"refuse"``: a file that cannot be read or decoded is an error that names it; ``"skip"``: it is
            left out and counted in the description.
        memory_limit: In gigabytes. If all images fit, they are decoded once, at the start. Else every batch decodes
            its own: at the start only headers are read, and a body that is corrupt is an error when it is met; with
            ``"skip"`` all are decoded at the start too, to find those.
        seed: Of the order and of what is held out.

    Raises:
        ValueError: The folder is not as above, a file is corrupt, or an argument is out of range.
    """
    check_arguments(seed, validation_fraction, batch_size=batch_size, size=size)
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction: a part between 0 and 1; given {test_fraction}")
    if memory_limit < 0:
        raise ValueError(f"memory_limit: gigabytes, not below 0; given {memory_limit}")
    root = image_folder.folder_at(path)
    names, parts, skipped = image_folder.find(path)
    random = np.random.default_rng(seed)
    if len(parts) == 1:
        parts["train"], parts["test"] = image_folder.split(parts["train"], test_fraction, random, "testing")
    if "validation" not in parts:
        parts["train"], parts["validation"] = image_folder.split(
            parts["train"], validation_fraction, random, "validation"
        )
    pixels = sum(len(part.files) for part in parts.values()) * size**2 * channels
    lazy = pixels > memory_limit * 1e9
    read = _headers if lazy else _decoded
    digest, found, left, failures = hashlib.sha256(), {}, {}, []
    for name, part in parts.items():
        decoded = read(part.files, size, channels, on_corrupt)
        left[name] = part.labels[decoded.kept]
        found[name] = Examples(decoded.images, left[name])
        failures += decoded.failures
        for file in part.files:
            digest.update(os.fsencode(file.relative_to(root)) + b"\0")
        digest.update(decoded.digest)
    check_classes(path, parts["train"].labels, left["train"], names, failures)
    made = dataset(
        found["train"],
        found.get("test"),
        batch_size=batch_size,
        validation_fraction=found["validation"],
        seed=seed,
        source=printable(path),
        names=names,
        fingerprint=digest.hexdigest(),
    )
    note = "; decoded as they are needed" if lazy else ""
    return made._replace(description=made.description + note + told(failures) + skipped)


def encoded(files: list[Path], size: int, channels: int) -> EncodedImages:
    """Files of images, decoded when they are asked for."""
    return EncodedImages(len(files), lambda i: printable(files[i]), lambda i: read_file(files[i]), size, channels)


def _decoded(files: list[Path], size: int, channels: int, corrupt: str) -> Decoded:
    return encoded(files, size, channels).all(corrupt)


def _headers(files: list[Path], size: int, channels: int, corrupt: str) -> Decoded:
    """As ``_decoded``, but the images are decoded later; the digest is of the sizes of the files."""
    kept, failures, digest = check_headers(files, size, channels, corrupt)
    return Decoded(encoded([files[i] for i in kept], size, channels), kept, failures, digest)
