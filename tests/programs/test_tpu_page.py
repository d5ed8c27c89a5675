"""Commands of the page on cloud TPUs, and its script with local processes instead of hosts."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from absl import flags
from conftest import ROOT, free_port

import jaxnets.train  # noqa: F401  defines the flags
from jaxnets.training import config
from jaxnets.training.reporting.metrics import read_metrics

PAGE = (ROOT / "docs" / "guides" / "tpu.md").read_text()
SCRIPT = ROOT / "docs" / "on_every_host.sh"
SETUP = ROOT / "docs" / "set_up_host.sh"
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


def test_commands_are_valid_shell():
    assert len(BLOCKS) >= 5
    for text in (*BLOCKS, SCRIPT.read_text(), SETUP.read_text()):
        done = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_commands_use_existing_flags_and_configs():
    calls = re.findall(r"(?:jaxnets\.train|on_every_host\.sh) (--[^\"\n;`]*)", PAGE + SCRIPT.read_text())
    assert len(calls) >= 4
    for call in calls:
        for name, value in re.findall(r"--([\w.]+)=?(\S*)", call):
            assert name in flags.FLAGS, name
            assert name != "config" or value in config.shipped(), value


def test_linked_files_exist():
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert target.startswith("https://") or (ROOT / "docs" / "guides" / target).exists(), target
    for path in re.findall(r"docs/\w+\.\w+", PAGE):
        assert (ROOT / path).exists(), path


# A Python that records its arguments and makes an environment with itself. Its version is too old if OLD is 1.
FAKE_PYTHON = """#!/bin/sh
echo "$0 $*" >> calls.txt
case "$1 $2" in
    "-c import sys; sys.exit"*) exit "$OLD" ;;
    "-m venv" | "-m uv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
"""


@pytest.mark.parametrize("old", [False, True])
def test_setup_script_installs_a_newer_python_if_needed(old, tmp_path):
    fake = tmp_path / "fake_python"
    fake.write_text(FAKE_PYTHON)
    fake.chmod(0o755)
    own = {**os.environ, "PYTHON": str(fake), "OLD": str(int(old))}
    done = subprocess.run(["sh", SETUP], cwd=tmp_path, env=own, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    calls = [line.removeprefix(str(fake)).strip() for line in (tmp_path / "calls.txt").read_text().splitlines()]
    made = ["-m pip install --quiet --user uv", "-m uv venv --seed --python 3.12 .venv"] if old else ["-m venv .venv"]
    assert [call for call in calls if call in made] == made
    assert ".venv/bin/python -m pip install --quiet .[train,tpu]" in calls
    assert ("older than 3.11" in done.stderr) == old


def test_setup_script_accepts_this_python():
    check = re.search(r"-c '(import sys; sys.exit.*?)'", SETUP.read_text()).group(1)
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


@pytest.fixture
def hosts(environment, small_flags, tmp_path):
    """Two "hosts" that run the script and end with the test."""
    together = (f"--coordinator_address=localhost:{free_port()}", "--num_processes=2", f"--workdir={tmp_path / 'run'}")
    own = {**environment, "PYTHON": sys.executable, "PAUSE": "1", "TRIES": "8", "JAX_NUM_CPU_DEVICES": "2"}
    started = []

    def start(*more):
        for index in range(2):
            command = ["sh", SCRIPT, *together, f"--process_id={index}", *small_flags, *more]
            with (tmp_path / f"host{index}").open("w") as log:
                started.append(
                    subprocess.Popen(command, cwd=ROOT, env=own, stdout=log, stderr=log, start_new_session=True)
                )
        return started

    yield start
    for host in started:
        try:
            os.killpg(host.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        host.wait()


def training_process(host):
    """Returns the process ID of the Python process that a host's shell has started."""
    ids = subprocess.run(["ps", "-o", "pid=", "--ppid", str(host.pid)], capture_output=True, text=True).stdout.split()
    return int(ids[0])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_script_restarts_after_the_death_of_a_process(hosts, tmp_path):
    started = hosts("--config.train.steps=400", "--config.train.log_every=1")
    deadline = time.monotonic() + 200
    while not (rows := read_metrics(tmp_path / "run")) or rows[-1]["step"] < 12:
        assert time.monotonic() < deadline, (tmp_path / "host0").read_text()
        time.sleep(0.1)
    os.kill(training_process(started[1]), signal.SIGKILL)
    logs = lambda: [(tmp_path / f"host{index}").read_text() for index in range(2)]
    assert [host.wait(timeout=300) for host in started] == [0, 0], logs()
    assert all("start 2 in 1 s" in text for text in logs())
    steps = [row["step"] for row in read_metrics(tmp_path / "run") if "train/loss" in row]
    assert steps == list(range(1, 401))


def test_script_does_not_retry_wrong_usage(hosts, tmp_path):
    started = hosts("--nosuchflag")
    assert [host.wait(timeout=60) for host in started] == [2, 2]
    assert "Unknown command line flag 'nosuchflag'" in (tmp_path / "host0").read_text()
