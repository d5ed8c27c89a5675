"""Checks of what a user gives to the readers of data."""

import numbers
import operator
import os
from pathlib import Path
from typing import Any


def check_arguments(seed: int, validation: float = 0.5, **sizes: int) -> None:
    """Checks arguments that many readers have.

    Args:
        seed: Must be an integer, not below 0.
        validation: Must be between 0 and 1.
        **sizes: Such as ``batch``: must be integers of at least 1.

    Raises:
        ValueError: One is not; it is named.
    """
    for name, least, size in (("seed", 0, seed), *((name, 1, size) for name, size in sizes.items())):
        try:
            operator.index(size)
        except TypeError:
            raise ValueError(f"{name} must be an integer, got {size!r}") from None
        if size < least:
            raise ValueError(f"{name}: {f'at least {least}' if least else 'not below 0'}; given {size}")
    check_part("validation", validation)


def check_part(name: str, part: float) -> None:
    """Checks a part of the examples.

    Raises:
        ValueError: It is no number between 0 and 1.
    """
    if not isinstance(part, numbers.Real):
        raise ValueError(f"{name} must be a number between 0 and 1, got {part!r}")
    if not 0 < part < 1:
        raise ValueError(f"{name}: a part between 0 and 1; given {part}")


def check_range(shortest: int, longest: int) -> None:
    """Checks that lengths from ``shortest`` to ``longest`` exist.

    Raises:
        ValueError: ``longest`` is no integer, or below ``shortest``.
    """
    check_arguments(0, longest=longest)
    if longest < shortest:
        raise ValueError(f"longest: at least shortest, {shortest}; given {longest}")


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
