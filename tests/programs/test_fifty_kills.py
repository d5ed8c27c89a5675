"""Fifty kills with and without asynchronous checkpointing, by ``python -m benchmarks.runs.kills``."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.long
def test_fifty_kills_do_not_change_any_bit(tmp_path, environment):
    results = tmp_path / "kills.json"
    command = [sys.executable, "-m", "benchmarks.runs.kills", f"--json={results}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr  # it fails if a bit differs
    found = json.loads(results.read_text())
    assert found["kills"] == 50
    for name, run in found["runs"].items():
        if "background" not in name:
            assert run["most_repeated"] <= run["interval"], name
