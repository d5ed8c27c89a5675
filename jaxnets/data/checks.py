"""Checks of what a user gives to the readers of data."""

import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

from jaxnets.ops.checks import check_fraction, check_integer
from jaxnets.ops.files import open_regular
from jaxnets.ops.printable import MAX_MESSAGE_LENGTH, printable

P = ParamSpec("P")
R = TypeVar("R")


def one_line_errors(reader: Callable[P, R]) -> Callable[P, R]:
    """A reader of foreign files whose errors are one line of at most ``LONGEST_MESSAGE`` characters.

    What the files hold, such as names and labels, is in its messages. Where memory is too small for a file, that is a
    ``ValueError``, too.
    """

    @functools.wraps(reader)
    def reads(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return reader(*args, **kwargs)
        except ValueError as error:
            message = printable(error, MAX_MESSAGE_LENGTH - 1)  # and one that stands for what is left out
            if message == str(error):
                raise
            raise ValueError(message) from error
        except MemoryError as error:
            path = args[0] if args else kwargs.get("path", "the data")
            raise ValueError(f"{printable(path)} must fit into memory; it does not") from error

    return reads


def check_arguments(seed: int, validation_fraction: float = 0.5, **sizes: int) -> None:
    """Checks arguments that many readers have.

    Args:
        seed: Must be an integer, not below 0.
        validation_fraction: Must be between 0 and 1.
        **sizes: Such as ``batch``: must be integers of at least 1.

    Raises:
        ValueError: One is not; it is named.
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
    """The file or folder that a user names, ``~`` expanded.

    Raises:
        ValueError: It is neither text nor a path, empty, or in the home folder of nobody.
    """
    given: Any = path
    if not isinstance(given, str | os.PathLike) or not os.fspath(given):
        raise ValueError(f"path must be the name of a file or folder, got {path!r}")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} must be in a home folder that exists: {error}") from error


def open_data(path: str | os.PathLike) -> IO[bytes]:
    """The regular file at a path, or at the end of a link, open to be read.

    Raises:
        ValueError: There is none, it is something else (a named pipe, a device, ...), or it cannot be read.
    """
    file = path_of(path)
    try:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return open_regular(file)
    except OSError as error:
        raise ValueError(f"cannot read {printable(path)}: {error.strerror or error}") from error


def size_of(file: IO[bytes]) -> int:
    """The size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size
