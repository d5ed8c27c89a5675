"""The memory of this machine: what is larger is refused before the system ends the process for it."""

import os


def check_memory(source: object, needed: int) -> None:
    """Raises a ``ValueError`` where something needs more bytes than this machine has."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ValueError(f"{source} must fit into memory, {there / 1e9:,.1f} GB, got {needed / 1e9:,.1f} GB")
