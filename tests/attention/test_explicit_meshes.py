"""Attention on meshes with explicit axes, on simulated devices."""

from pathlib import Path

import pytest

CHECKS = Path(__file__).parent / "checks_of_explicit_meshes.py"


@pytest.mark.slow
def test_batch_is_sharded(run_on_devices):
    run_on_devices(CHECKS, "batch_is_sharded")
