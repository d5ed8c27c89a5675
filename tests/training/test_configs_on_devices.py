"""Every shipped config runs unchanged on several devices, with the losses of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from jaxnets.training import config

TOLERANCES = {"images": 1e-3}  # BatchNorm of eight images of noise: rounding grows


@pytest.mark.long
def test_the_losses_of_every_shipped_config_do_not_depend_on_the_devices(environment, small_text, tmp_path):
    found = {}
    (tmp_path / "data").mkdir()
    for devices in (1, 8):
        own = {"JAX_NUM_CPU_DEVICES": str(devices), "NPROC": "32", "XLA_FLAGS": os.environ["XLA_FLAGS"]}
        own["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        out = tmp_path / f"{devices}.json"
        checks = Path(__file__).with_name("checks_of_configs.py")
        command = [sys.executable, checks, tmp_path / "data", small_text, out]
        done = subprocess.run(command, env={**environment, **own}, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        found[devices] = json.loads(out.read_text())
    assert found[1].keys() == config.shipped().keys()
    for name, losses in found[1].items():
        np.testing.assert_allclose(found[8][name], losses, rtol=TOLERANCES.get(name, 1e-4), err_msg=name)
