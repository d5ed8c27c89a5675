"""Runs on a disk that becomes full or read-only: an immediate error, and intact checkpoints."""

import shutil
import subprocess
import sys
import time

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path):
    """``disk(folder)`` mounts a file system of 2 MB and returns a function that remounts it with other options."""
    mounted = []

    def mount(folder):
        folder.mkdir(parents=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
        if done.returncode:
            pytest.skip("mounting a file system needs root")
        mounted.append(folder)
        return lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder]).returncode == 0

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_run_resumes_after_a_full_disk(disk, run_program, small_flags, tmp_path):
    disk(tmp_path / "disk")
    workdir, filler = tmp_path / "disk" / "run", tmp_path / "disk" / "filler"
    flags = (f"--workdir={workdir}", *small_flags)
    assert run_program("train", *flags, "--config.train.steps=5").returncode == 0
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(1000))
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - 40_000)  # space for metrics and a part of a checkpoint
    failed = run_program("train", *flags, "--config.train.steps=30")
    assert failed.returncode == 1
    message = failed.stderr.splitlines()[-1]
    assert message.startswith("train: a checkpoint could not be written") and "No space left on device" in message
    assert "the checkpoint of step 5 is intact" in message
    assert "Traceback" not in failed.stderr
    assert run_program("evaluate", f"--workdir={workdir}", "--step=5").returncode == 0
    filler.unlink()
    again = run_program("train", *flags, "--config.train.steps=30")
    assert again.returncode == 0, again.stderr
    assert "at step 30" in again.stdout


def test_read_only_folder_gives_one_sentence(disk, run_program, environment, small_flags, tmp_path):
    workdir, flags = tmp_path / "run", (f"--workdir={tmp_path / 'run'}", *small_flags)
    assert run_program("train", *flags, "--config.train.steps=5").returncode == 0
    (workdir / "checkpoints").rename(tmp_path / "saved")
    remount = disk(workdir / "checkpoints")
    shutil.copytree(tmp_path / "saved", workdir / "checkpoints", dirs_exist_ok=True)
    flags = (*flags, "--config.train.steps=1000000", "--config.train.evaluate_every=50")
    command = [sys.executable, "-m", "jaxnets.train", *flags]
    running = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (workdir / "checkpoints" / "50").exists() and running.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while not remount("ro"):  # fails while a file is being written
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.01)
    lines = running.communicate(timeout=120)[1].splitlines()
    assert running.returncode == 1
    assert lines[-1].startswith("train: a checkpoint could not be written"), lines
    assert "Read-only file system" in lines[-1] and "is intact" in lines[-1]
    assert not any("Traceback" in line for line in lines)
    assert remount("rw")
    step = max(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())
    assert f"the checkpoint of step {step} is intact" in lines[-1]
    assert run_program("evaluate", f"--workdir={workdir}", f"--step={step}").returncode == 0
