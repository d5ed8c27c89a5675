"""Repeated kills: the final checkpoint equals that of an uninterrupted run, bit for bit."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ROOT

from jaxnets.training import restore
from jaxnets.training.reporting.metrics import read_metrics

KILLS = 10
STEPS = 300
FLAGS = (
    f"--config.train.steps={STEPS}",
    "--config.train.evaluate_every=6",
    "--config.model.dropout=0.3",
    "--config.model.num_layers=2",
)


def saving(workdir: Path) -> bool:
    return any((workdir / "checkpoints").glob("*tmp*"))


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(("streams", 1), id="streams", marks=pytest.mark.slow),
        pytest.param(("windows", 2), id="accumulated windows", marks=pytest.mark.long),
    ],
)
def test_ten_kills_do_not_change_the_result(tmp_path, environment, run_program, small_flags, extra):
    read_as, grad_accum_steps = extra
    flags = (*small_flags, *FLAGS, f"--config.data.read_as={read_as}")
    flags += (f"--config.train.grad_accum_steps={grad_accum_steps}",)
    whole = run_program("train", f"--workdir={tmp_path / 'whole'}", *flags)
    assert whole.returncode == 0, whole.stderr

    workdir = tmp_path / "killed"
    rng = random.Random(0)
    killed_while_saving = 0
    for kill in range(KILLS):
        command = [sys.executable, "-m", "jaxnets.train", f"--workdir={workdir}", *flags]
        program = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        if kill % 5 == 4:  # at any time, including the start
            time.sleep(rng.uniform(0.5, 6))
        else:
            before = len(read_metrics(workdir))
            deadline = time.monotonic() + 120
            while len(read_metrics(workdir)) <= before + 2 and program.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            if kill % 2:  # during a save
                while not saving(workdir) and program.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.0005)
            else:
                time.sleep(rng.uniform(0, 0.3))
        assert program.poll() is None, f"ended before it was killed: {program.stderr.read().decode()}"
        program.send_signal(signal.SIGKILL)
        program.communicate()
        killed_while_saving += saving(workdir)
    assert killed_while_saving > 0

    end = run_program("train", f"--workdir={workdir}", *flags)
    assert end.returncode == 0, end.stderr
    for step in ("last", "best"):
        expected, found = (restore.open_run(folder, step) for folder in (tmp_path / "whole", workdir))
        assert found.step == expected.step
        for a, b in zip(jax.tree.leaves(found.variables), jax.tree.leaves(expected.variables), strict=True):
            np.testing.assert_array_equal(np.asarray(a).view(np.uint32), np.asarray(b).view(np.uint32))
    name = "validation/loss"
    validation = lambda folder: [(row["step"], row[name]) for row in read_metrics(folder) if name in row]
    assert validation(workdir) == validation(tmp_path / "whole")
    assert restore.open_run(workdir, "last").step == STEPS
