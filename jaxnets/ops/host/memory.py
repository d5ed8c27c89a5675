"""Memory limits: a check that refuses an allocation before the operating system kills the process."""

import contextlib
import os
from pathlib import Path

# Memory limits of a container in cgroups v2 and v1. sysconf reports the memory of the machine instead.
CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_limit() -> int:
    """Returns the memory of the machine or the limit of its container, the smaller of the two, in bytes."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # the file is missing or contains "max"
            size = min(size, int(file.read_text()))
    return size


def check_memory(source: object, num_bytes: int) -> None:
    """Raises a ``ValueError`` if ``source`` needs more bytes than ``memory_limit()``."""
    if num_bytes > (limit := memory_limit()):
        raise ValueError(f"{source} must fit into memory, {limit / 1e9:,.1f} GB, got {num_bytes / 1e9:,.1f} GB")
