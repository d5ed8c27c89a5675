"""Losses of all shipped configs on one device and on eight devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from jaxnets.training import config

TOLERANCES = {"images": 1e-3}  # batch norm of eight noise images amplifies rounding errors


@pytest.mark.long
def test_losses_of_shipped_configs_do_not_depend_on_the_number_of_devices(environment, small_text, tmp_path):
    losses_by_devices = {}
    (tmp_path / "data").mkdir()
    for devices in (1, 8):
        variables = {"JAX_NUM_CPU_DEVICES": str(devices), "NPROC": "32", "XLA_FLAGS": os.environ["XLA_FLAGS"]}
        variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        out = tmp_path / f"{devices}.json"
        checks = Path(__file__).with_name("checks_of_configs.py")
        command = [sys.executable, checks, tmp_path / "data", small_text, out]
        done = subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        losses_by_devices[devices] = json.loads(out.read_text())
    assert losses_by_devices[1].keys() == config.shipped().keys()
    for name, losses in losses_by_devices[1].items():
        np.testing.assert_allclose(losses_by_devices[8][name], losses, rtol=TOLERANCES.get(name, 1e-4), err_msg=name)
