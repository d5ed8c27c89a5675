"""Checks of arguments and paths for data readers."""

import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

from jaxnets.ops.checks import check_fraction, check_integer
from jaxnets.ops.host.files import open_regular
from jaxnets.ops.host.printable import MAX_MESSAGE_LENGTH, printable

P = ParamSpec("P")
R = TypeVar("R")


def one_line_errors(reader: Callable[P, R]) -> Callable[P, R]:
    """Wraps a reader so that its errors have one line of at most ``MAX_MESSAGE_LENGTH`` characters.

    Error messages quote the content of files, such as names and labels, and must be escaped and shortened. A
    ``MemoryError`` becomes a ``ValueError``.
    """

    @functools.wraps(reader)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return reader(*args, **kwargs)
        except ValueError as error:
            message = printable(error, MAX_MESSAGE_LENGTH - 1)  # leaves room for the ellipsis
            if message == str(error):
                raise
            raise ValueError(message) from error
        except MemoryError as error:
            path = args[0] if args else kwargs.get("path", "the data")
            raise ValueError(f"{printable(path)} must fit into memory, got a file that is too large") from error

    return wrapper


def check_arguments(seed: int, validation_fraction: float = 0.5, **sizes: int) -> None:
    """Checks common arguments of readers.

    Args:
        seed: An integer of at least 0.
        validation_fraction: A number strictly between 0 and 1.
        **sizes: Integers of at least 1, such as ``batch_size``.

    Raises:
        ValueError: An argument is out of range.
    """
    check_integer("seed", seed, minimum=0)
    for name, size in sizes.items():
        check_integer(name, size)
    check_fraction("validation_fraction", validation_fraction)


def check_range(min_size: int, max_size: int) -> None:
    """Checks that the range of sizes from ``min_size`` to ``max_size`` is not empty.

    Raises:
        ValueError: If ``max_size`` is not an integer, or is less than ``min_size``.
    """
    check_integer("max_size", max_size)
    if max_size < min_size:
        raise ValueError(f"`max_size` must be at least `min_size`, {min_size}, got {max_size}")


def path_of(path: str | os.PathLike) -> Path:
    """Converts an argument to a path and expands ``~``.

    Raises:
        ValueError: The argument is not a path or is empty, or its home folder does not exist.
    """
    given: Any = path
    if not isinstance(given, str | os.PathLike) or not os.fspath(given):
        raise ValueError(f"`path` must be the name of a file or folder, got {path!r}")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} must be in a home folder that exists: {error}") from error


def open_data(path: str | os.PathLike) -> IO[bytes]:
    """Opens a regular file, or the target of a link to one, for reading.

    Raises:
        ValueError: The file does not exist, is not regular (such as a pipe or a device), or cannot be read.
    """
    file = path_of(path)
    try:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return open_regular(file)
    except OSError as error:
        raise ValueError(f"cannot read {printable(path)}: {error.strerror or error}") from error


def size_of(file: IO[bytes]) -> int:
    """Returns the size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size
