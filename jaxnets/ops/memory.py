"""The memory of this machine: what is larger is refused before the system ends the process for it."""

import contextlib
import os
from pathlib import Path

# The limit of a container, which the system's own figures do not show; of control groups of both versions.
GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_size() -> int:
    """Bytes of memory that this process may have: those of the machine, or of its container where that has less."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in GROUPS:
        with contextlib.suppress(OSError, ValueError):  # there is none, or it is "max"
            size = min(size, int(file.read_text()))
    return size


def check_memory(source: object, needed: int) -> None:
    """Raises a ``ValueError`` where something needs more bytes than this process may have."""
    if needed > (there := memory_size()):
        raise ValueError(f"{source} must fit into memory, {there / 1e9:,.1f} GB, got {needed / 1e9:,.1f} GB")
