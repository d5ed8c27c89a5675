"""Encoded images (JPEG, PNG, ...) and what decodes them: at once, or when a batch asks for them."""

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
from jaxnets.ops.printable import printable

THREADS = os.cpu_count() or 1
BLOCK = 16  # images that a thread takes at a time


class EncodedImages:
    """Images that are decoded when they are asked for: indexed by numbers like an array uint8 ``[N, H, W, C]``.

    Args:
        count: N.
        name: ``i -> text``, what an error calls one.
        content: ``i -> bytes``, what its file holds.
        size: H and W; 0: of the first that can be decoded, and the others must be like it.
        channels: C, 1 or 3.

    Raises:
        ValueError: ``channels`` is out of range, or ``size`` is 0 and there is none that can be decoded.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, count: int, name: Callable[[int], str], content: Callable[[int], bytes], size: int, channels: int
    ):
        if channels not in MODES:
            raise ValueError(f"channels: 1 or 3; given {channels}")
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
        raise ValueError(f"none of {len(self)} images can be decoded; {failure}")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        with ThreadPoolExecutor(THREADS) as pool:
            images = list(pool.map(lambda i: self.decoded(i, self._content(i)), rows))
        return np.stack(images) if images else np.empty((0, *self.shape[1:]), np.uint8)

    def decoded(self, i: int, content: bytes) -> np.ndarray:
        """Image ``i``; a ``ValueError`` that names it where that cannot be."""
        try:
            return decode(content, self._size, self.shape[3])
        except ValueError as error:
            raise ValueError(f"cannot decode {self._name(i)}: {error}") from error

    def all(self, corrupt: str) -> "Decoded":
        """All of them.

        Args:
            corrupt: What to do with one that cannot be decoded: ``"refuse"`` or ``"skip"`` it.

        Raises:
            ValueError: One cannot be decoded and is not skipped (it is named), none can, ``size`` is 0 and one is of
                another size, or ``corrupt`` is neither.
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
                raise ValueError(f"{self._name(i)} is of {own}, others of {others}; size= makes them equal")
            images[i] = image
            return hashlib.sha256(content).digest(), ""

        digest, failures = hashlib.sha256(), {}
        for i, (digested, failure) in enumerate(_each(work, len(self), "decoding")):
            digest.update(digested)
            if failure:
                failures[i] = failure
        kept = _kept(failures, len(self))
        if failures:
            for new, old in enumerate(kept):  # in place: there may be no room for a copy
                images[new] = images[old]
        return Decoded(images[: len(kept)], kept, list(failures.values()), digest.digest())

    def _empty(self) -> np.ndarray:
        needed, there = math.prod(self.shape), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        try:
            if needed > there:  # the system would give it, and end the process when it is filled
                raise MemoryError
            return np.empty(self.shape, np.uint8)
        except MemoryError as error:
            shape = " x ".join(map(str, self.shape))
            raise ValueError(
                f"{shape} bytes of decoded images: {needed / 1e9:,.1f} GB; must fit into memory, {there / 1e9:,.1f} GB"
            ) from error


class Decoded(NamedTuple):
    """Attributes:
    images: uint8 ``[K, H, W, C]``.
    kept: Their numbers among all.
    failures: What is wrong with the others.
    digest: SHA-256 of all of them as they were encoded.
    """

    images: Any
    kept: np.ndarray
    failures: list[str]
    digest: bytes


def told(failures: list[str]) -> str:
    """What a description says of images that were skipped."""
    if not failures:
        return ""
    count = "1 corrupt image" if len(failures) == 1 else f"{len(failures):,} corrupt images"
    return f"; {count} skipped, the first: {failures[0]}"


def check_classes(source: str, labels: np.ndarray, left: np.ndarray, names: Sequence[str], failures: list[str]) -> None:
    """Raises a ``ValueError`` if, without what is corrupt, a class of ``labels`` has nothing left to learn from."""
    lost = np.setdiff1d(labels, left)
    if len(lost):
        called = printable(names[lost[0]] if names else lost[0])
        raise ValueError(f"{printable(source)}: no image of class {called} to learn from can be decoded; {failures[0]}")


def read_file(path: Path) -> bytes:
    """The bytes of an image's file; a ``ValueError`` that names it where it cannot be read."""
    try:
        with open_file(path) as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {printable(path)}: {reason(error)}") from error


def check_headers(files: list[Path], size: int, channels: int, corrupt: str) -> tuple[np.ndarray, list[str], bytes]:
    """The numbers of the files that begin as images do, what is wrong with the others, and a digest of all sizes.

    Where corrupt ones are to be skipped, all are decoded once to find them, for later would be too late.

    Raises:
        ValueError: One does not and ``corrupt`` is not ``"skip"``, or none does.
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

    found = list(_each(work, len(files), "looking at"))
    failures = {i: failure for i, (_, failure) in enumerate(found) if failure}
    digest = hashlib.sha256(np.array([length for length, _ in found], np.int64).tobytes()).digest()
    return _kept(failures, len(files)), list(failures.values()), digest


def _check_choice(corrupt: str) -> None:
    if corrupt not in ("refuse", "skip"):
        raise ValueError(f"corrupt: refuse or skip; given {corrupt!r}")


def _kept(failures: dict[int, str], count: int) -> np.ndarray:
    if len(failures) == count:
        raise ValueError(f"none of {count} images can be decoded; {failures.get(0, 'no images')}")
    return np.setdiff1d(np.arange(count), list(failures))


def _each(work: Callable[[int], Any], count: int, doing: str) -> Iterator[Any]:
    """``work(i)`` for each ``i`` in order, done in threads; shown on a terminal where it takes long."""

    def block(begin: int) -> list[Any]:
        return [work(i) for i in range(begin, min(begin + BLOCK, count))]

    hidden = not sys.stderr.isatty()
    with (
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=count, desc=f"{doing} images", unit="image", delay=1, leave=False, disable=hidden) as bar,
    ):
        for results in pool.map(block, range(0, count, BLOCK)):
            bar.update(len(results))
            yield from results
