"""Training on flat, padded graphs with a model of two inputs, on one device and on eight devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import ROOT


def test_training_on_graphs_does_not_depend_on_the_number_of_devices(tmp_path, environment):
    losses = {}
    for devices in (1, 8):
        settings = {"JAX_NUM_CPU_DEVICES": str(devices), "NPROC": "32", "PYTHONPATH": os.pathsep.join([str(ROOT)])}
        out = tmp_path / f"{devices}.json"
        command = [sys.executable, Path(__file__).with_name("checks_of_graphs.py"), out]
        done = subprocess.run(command, env={**environment, **settings}, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        losses[devices] = json.loads(out.read_text())
    np.testing.assert_allclose(losses[8], losses[1], rtol=1e-5)
    assert np.isfinite(losses[1]).all()
    assert losses[1][4] < losses[1][0]
