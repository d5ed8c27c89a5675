"""Encoded images (JPEG, PNG, ...), decoded all at once or batch by batch."""

import hashlib
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jaxnets.data.formats.image_decoding import MODES, check_header, decode, open_file, reason
from jaxnets.ops.host.printable import printable

THREADS = os.cpu_count() or 1
BLOCK = 16  # images per task of a thread


class EncodedImages:
    """A lazily decoded array of images, uint8 ``[N, H, W, C]``, indexed by arrays of rows.

    Args:
        count: N.
        name: ``i -> name`` of an image in error messages.
        content: ``i -> bytes`` of an encoded image.
        size: H and W; 0 for the size of the first valid image, which all others must have.
        channels: C, 1 or 3.

    Raises:
        ValueError: ``channels`` is not 1 or 3, or ``size`` is 0 and no image can be decoded.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, count: int, name: Callable[[int], str], content: Callable[[int], bytes], size: int, channels: int
    ):
        if channels not in MODES:
            raise ValueError(f"`channels` must be 1 or 3, got {channels}")
        self._name, self._content, self._size = name, content, size
        self.shape = (count, size, size, channels)
        if not size:
            self.shape = (count, *self._first().shape)

    def _first(self) -> np.ndarray:
        failure = "no images"
        for i in range(len(self)):
            try:
                return decode(self._content(i), 0, self.shape[3])
            except ValueError as error:
                failure = failure if i else f"cannot decode {self._name(i)}: {error}"
        raise ValueError(f"none of {len(self)} images can be decoded: {failure}")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        with ThreadPoolExecutor(THREADS) as pool:
            images = list(pool.map(lambda i: self.decoded(i, self._content(i)), rows))
        return np.stack(images) if images else np.empty((0, *self.shape[1:]), np.uint8)

    def decoded(self, i: int, content: bytes) -> np.ndarray:
        """Decodes the content of image ``i``; errors contain its name."""
        try:
            return decode(content, self._size, self.shape[3])
        except ValueError as error:
            raise ValueError(f"cannot decode {self._name(i)}: {error}") from error

    def all(self, corrupt: str) -> "Decoded":
        """Decodes all images.

        Args:
            corrupt: ``"refuse"`` raises an error for a corrupt image, ``"skip"`` leaves it out.

        Raises:
            ValueError: An image is corrupt and not skipped, all are corrupt, ``size`` is 0 and an image has another
                size, or ``corrupt`` is unknown.
        """
        _check_choice(corrupt)
        images = self._empty()

        def work(i: int) -> tuple[bytes, str]:
            content = b""
            try:
                content = self._content(i)
                image = self.decoded(i, content)
            except ValueError as error:
                if corrupt == "refuse":
                    raise
                return hashlib.sha256(content).digest(), str(error)
            if image.shape != images.shape[1:]:
                own, others = (" x ".join(map(str, shape[:2])) for shape in (image.shape, images.shape[1:]))
                raise ValueError(
                    f"{self._name(i)} must have the size of the first image, {others}, got {own}; "
                    "`size` resizes all images"
                )
            images[i] = image
            return hashlib.sha256(content).digest(), ""

        digest, failures = hashlib.sha256(), {}
        for i, (digested, failure) in enumerate(_in_threads(work, len(self), "decoding")):
            digest.update(digested)
            if failure:
                failures[i] = failure
        kept = _kept(failures, len(self))
        if failures:
            for new, old in enumerate(kept):  # in place: memory may not suffice for a copy
                images[new] = images[old]
        return Decoded(images[: len(kept)], kept, list(failures.values()), digest.digest())

    def _empty(self) -> np.ndarray:
        needed, available = math.prod(self.shape), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        try:
            if needed > available:  # the system would overcommit, and kill the process later
                raise MemoryError
            return np.empty(self.shape, np.uint8)
        except MemoryError as error:
            shape = " x ".join(map(str, self.shape))
            raise ValueError(
                f"decoded images must fit into memory, {available / 1e9:,.1f} GB, got {shape} bytes, "
                f"{needed / 1e9:,.1f} GB"
            ) from error


class Decoded(NamedTuple):
    """Decoded images.

    Attributes:
        images: uint8 ``[K, H, W, C]``.
        kept: Indices of the K images among all.
        failures: Error messages of the corrupt images.
        digest: SHA-256 of all encoded images.
    """

    images: Any
    kept: np.ndarray
    failures: list[str]
    digest: bytes


def skipped_images(failures: list[str]) -> str:
    """Returns a note about skipped images, for the description of a dataset."""
    if not failures:
        return ""
    count = "1 corrupt image" if len(failures) == 1 else f"{len(failures):,} corrupt images"
    return f"; {count} skipped, the first: {failures[0]}"


def check_classes(source: str, labels: np.ndarray, left: np.ndarray, names: Sequence[str], failures: list[str]) -> None:
    """Raises a ``ValueError`` if all training images of a class are corrupt."""
    lost = np.setdiff1d(labels, left)
    if len(lost):
        called = printable(names[lost[0]] if names else lost[0])
        raise ValueError(f"{printable(source)}: no training image of class {called} can be decoded: {failures[0]}")


def read_file(path: Path) -> bytes:
    """Reads the bytes of an image file; errors contain its path."""
    try:
        with open_file(path) as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {printable(path)}: {reason(error)}") from error


def check_headers(files: list[Path], size: int, channels: int, corrupt: str) -> tuple[np.ndarray, list[str], bytes]:
    """Checks the headers of image files.

    With ``corrupt="skip"`` all files are decoded once, because corrupt images must be known before training.

    Returns:
        Indices of the valid files, error messages of the others, and a digest of all file sizes.

    Raises:
        ValueError: A file is not an image and ``corrupt`` is ``"refuse"``, or no file is an image.
    """
    _check_choice(corrupt)

    def work(i: int) -> tuple[int, str]:
        length, doing = 0, "read"
        try:
            with open_file(files[i]) as file:
                length, doing = os.fstat(file.fileno()).st_size, "decode"
                if corrupt == "skip":
                    decode(file.read(), size, channels)
                else:
                    check_header(file)
        except (OSError, ValueError) as error:
            failure = f"cannot {doing} {printable(files[i])}: {reason(error)}"
            if corrupt == "refuse":
                raise ValueError(failure) from error
            return length, failure
        return length, ""

    found = list(_in_threads(work, len(files), "checking"))
    failures = {i: failure for i, (_, failure) in enumerate(found) if failure}
    digest = hashlib.sha256(np.array([length for length, _ in found], np.int64).tobytes()).digest()
    return _kept(failures, len(files)), list(failures.values()), digest


def _check_choice(corrupt: str) -> None:
    if corrupt not in ("refuse", "skip"):
        raise ValueError(f"`on_corrupt` must be refuse or skip, got {corrupt!r}")


def _kept(failures: dict[int, str], count: int) -> np.ndarray:
    if len(failures) == count:
        raise ValueError(f"none of {count} images can be decoded: {failures.get(0, 'no images')}")
    return np.setdiff1d(np.arange(count), list(failures))


def _in_threads(work: Callable[[int], Any], count: int, label: str) -> Iterator[Any]:
    """Yields ``work(i)`` in order, computed in threads, with a progress bar on a terminal."""

    def block(begin: int) -> list[Any]:
        return [work(i) for i in range(begin, min(begin + BLOCK, count))]

    hidden = not sys.stderr.isatty()
    with (
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=count, desc=f"{label} images", unit="image", delay=1, leave=False, disable=hidden) as bar,
    ):
        for results in pool.map(block, range(0, count, BLOCK)):
            bar.update(len(results))
            yield from results
