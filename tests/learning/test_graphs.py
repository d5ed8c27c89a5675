"""The contract of a task holds for models of two inputs on flat, padded graphs, on one device and on eight."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import ROOT


def test_graphs_are_learned_alike_on_one_device_and_on_eight(tmp_path, environment):
    found = {}
    for devices in (1, 8):
        own = {"JAX_NUM_CPU_DEVICES": str(devices), "NPROC": "32", "PYTHONPATH": os.pathsep.join([str(ROOT)])}
        out = tmp_path / f"{devices}.json"
        command = [sys.executable, Path(__file__).with_name("checks_of_graphs.py"), out]
        done = subprocess.run(command, env={**environment, **own}, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found[devices] = json.loads(out.read_text())
    np.testing.assert_allclose(found[8], found[1], rtol=1e-5)
    assert np.isfinite(found[1]).all()
    assert found[1][4] < found[1][0]
