"""Steps of a run that trains beside this program: it adds and removes them, file by file, while they are read."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jaxnets.training.checkpointing.file_digests import count_files, is_complete

T = TypeVar("T")

# How often, and after how many seconds each time, what lacks a file is looked at again.
LOOKS, BETWEEN_LOOKS = 5, 0.1


def names_in(folder: Path) -> set[str]:
    """What is in a folder now; nothing where there is none."""
    return set(os.listdir(folder)) if folder.is_dir() else set()


def is_being_removed(step: Path) -> bool:
    """Whether a step is being removed, or has been: its files become fewer."""
    if is_complete(step):
        return False
    before = count_files(step)
    for _ in range(LOOKS):
        if not step.exists() or count_files(step) != before:
            return True
        time.sleep(BETWEEN_LOOKS)
    return False


def read_again(read: Callable[[], T]) -> T:
    """What a function reads, called again where a file has gone between its being listed and opened."""
    for _ in range(LOOKS):
        try:
            return read()
        except FileNotFoundError:
            time.sleep(BETWEEN_LOOKS)
    return read()
