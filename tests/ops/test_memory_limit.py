"""Memory limit of the process, and the check against it."""

import os

import pytest

from jaxnets.ops.host import memory

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    "content, expected",
    [("1000000\n", 1_000_000), ("max\n", MACHINE), (f"{2**63 - 4096}\n", MACHINE), ("", MACHINE), (None, MACHINE)],
)
def test_memory_limit_respects_the_limit_of_a_container(tmp_path, monkeypatch, content, expected):
    file = tmp_path / "memory.max"
    if content is not None:
        file.write_text(content)
    monkeypatch.setattr(memory, "CONTAINER_LIMITS", (file,))
    assert memory.memory_limit() == expected


def test_check_memory_rejects_larger_sizes(monkeypatch):
    monkeypatch.setattr(memory, "memory_limit", lambda: 2_000_000_000)
    memory.check_memory("x.npz", 2_000_000_000)
    with pytest.raises(ValueError, match=r"^x.npz must fit into memory, 2.0 GB, got 2.1 GB$"):
        memory.check_memory("x.npz", 2_100_000_000)
