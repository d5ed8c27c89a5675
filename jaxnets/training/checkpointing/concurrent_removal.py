"""Removal of checkpoints by a concurrent run while this program reads them."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jaxnets.training.checkpointing.file_digests import count_files, is_complete

T = TypeVar("T")

ATTEMPTS, SECONDS_BETWEEN_ATTEMPTS = 5, 0.1


def list_names(folder: Path) -> set[str]:
    """Returns the names in a folder; an empty set if the folder does not exist."""
    return set(os.listdir(folder)) if folder.is_dir() else set()


def is_being_removed(step: Path) -> bool:
    """Returns whether a step has been removed or is losing files."""
    if is_complete(step):
        return False
    count = count_files(step)
    for _ in range(ATTEMPTS):
        if not step.exists() or count_files(step) != count:
            return True
        time.sleep(SECONDS_BETWEEN_ATTEMPTS)
    return False


def retry(read: Callable[[], T]) -> T:
    """Calls ``read`` again if a file was removed between listing and opening it."""
    for _ in range(ATTEMPTS):
        try:
            return read()
        except FileNotFoundError:
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)
    return read()
