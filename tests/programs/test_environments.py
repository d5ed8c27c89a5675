"""Programs in hostile environments: early signals, closed or full streams, clocks that are set back."""

import os
import signal
import subprocess
import sys
import threading
import time

import in_process
import jax
import pytest
from conftest import ROOT

from jaxnets.training import interruption, loop, restore, rundir
from jaxnets.training.interruption import Interrupted, Interruption
from jaxnets.training.reporting import metrics
from jaxnets.training.reporting.metrics import MetricWriter, read_metrics

PROGRAMS = ["train", "evaluate", "generate", "export", "summary"]

# Sends signals to the process when it starts to import JAX.
HOOK = """
import os, sys
class Finder:
    def find_spec(self, name, *others):
        if name == "jax":
            sys.meta_path.remove(self)
            for signal_number in map(int, os.environ["SIGNALS"].split()):
                os.kill(os.getpid(), signal_number)
sys.meta_path.insert(0, Finder())
"""


def run_with_signals(folder, environment, program, signals, **options):
    (folder / "sitecustomize.py").write_text(HOOK)
    own = {**environment, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "SIGNALS": " ".join(map(str, map(int, signals)))}
    command = [sys.executable, "-m", f"jaxnets.{program}"]
    return subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_during_imports_prints_one_line(tmp_path, environment, program):
    done = run_with_signals(tmp_path, environment, program, [signal.SIGINT])
    assert (done.returncode, done.stderr) == (130, f"{program}: stopped by SIGINT\n")


@pytest.mark.parametrize("sent, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_other_signals_during_imports_print_one_line(tmp_path, environment, sent, code):
    done = run_with_signals(tmp_path, environment, "train", [sent])
    assert (done.returncode, done.stderr) == (code, f"train: stopped by {sent.name}\n")


def test_nohup_ignores_sighup_during_imports(tmp_path, environment):
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    done = run_with_signals(tmp_path, environment, "train", [signal.SIGHUP, signal.SIGTERM], preexec_fn=ignore)
    assert (done.returncode, done.stderr) == (143, "train: stopped by SIGTERM\n")


def test_nohup_ignores_sighup_during_training():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
        assert interruption.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_within_a_second_count_as_one(monkeypatch):
    with Interruption() as noted:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert noted.signal == signal.SIGTERM
        monkeypatch.setattr(interruption, "SAME_SIGNAL", 0.0)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)


SMALL = (
    "--config.data.batch_size=2",
    "--config.data.size=5",
    "--config.train.evaluate_every=4",
    "--config.train.log_every=1",
)


@pytest.fixture(scope="module")
def ready():
    """The config, dataset, task and compiled functions of a small run."""
    return in_process.ready(*SMALL, "--config.train.steps=12", name="set_statistics")


def test_three_sigterms_at_once_save_a_checkpoint(tmp_path, ready, monkeypatch):
    settings, dataset, task, compiled = ready
    write = MetricWriter.write

    def write_and_stop(self, step, numbers):
        write(self, step, numbers)
        if step == 5:
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(MetricWriter, "write", write_and_stop)
    outcome = loop.train(settings, tmp_path, dataset, task, compiled)
    assert outcome.signal == signal.SIGTERM
    assert 5 < outcome.step < 8
    assert str(outcome.step) in os.listdir(tmp_path / "checkpoints")


def test_clock_that_is_set_back_does_not_change_training(tmp_path, ready, monkeypatch):
    settings, dataset, task, compiled = ready
    whole = loop.train(settings, tmp_path / "whole", dataset, task, compiled)
    now, calls = time.time(), iter(range(10**6))
    for module in (time, metrics.time):
        monkeypatch.setattr(module, "time", lambda: now - 3600.0 * next(calls))
    back = loop.train(settings, tmp_path / "back", dataset, task, compiled)
    assert next(calls) > 5
    assert back.step == whole.step == 12
    for a, b in zip(jax.tree.leaves(whole.variables), jax.tree.leaves(back.variables), strict=True):
        assert (a == b).all()
    losses = lambda folder: [row["validation/loss"] for row in read_metrics(folder) if "validation/loss" in row]
    assert losses(tmp_path / "back") == losses(tmp_path / "whole")
    assert sorted(os.listdir(tmp_path / "back" / "checkpoints")) == sorted(
        os.listdir(tmp_path / "whole" / "checkpoints")
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # warnings of orbax about files that are removed while it reads them
def test_run_can_be_read_during_training(tmp_path, ready, capfd):
    """Checkpoints that are incomplete, or removed while they are read, are not reported as damaged."""
    settings, dataset, task, compiled = ready
    settings = settings.copy_and_resolve_references()
    settings.train.steps, settings.train.evaluate_every, settings.train.max_to_keep = 80, 2, 1
    workdir = tmp_path / "run"
    rundir.claim(workdir, settings, dataset)
    failures, read = [], []
    ended = threading.Event()

    def read_repeatedly():
        while not ended.is_set():
            try:
                read.append(restore.open_run(workdir, "last").step)
            except Exception as error:
                if "train there first" not in str(error):  # before the first checkpoint
                    failures.append(error)

    watcher = threading.Thread(target=read_repeatedly)
    watcher.start()
    try:
        loop.train(settings, workdir, dataset, task, compiled)
    finally:
        ended.set()
        watcher.join()
    assert not failures
    assert len(set(read)) > 1
    assert read == sorted(read)
    assert "cannot be read" not in capfd.readouterr().err


MODEL = "--model=sets.HistNetQ --config.model.num_outputs=2 --input=1,4,2"
STREAMS = {
    "closed output": (MODEL, ">&-", 0, ""),
    "closed errors": (MODEL, "2>&-", 0, ""),
    "all closed": (MODEL, "<&- >&- 2>&-", 0, ""),
    "full output": (
        MODEL,
        ">/dev/full",
        1,
        "summary: OSError: [Errno 28] No space left on device (--debug shows the traceback)\n",
    ),
    "full errors": (MODEL, "2>/dev/full", 0, ""),
    "broken pipe": (MODEL, "| true; exit ${PIPESTATUS[0]}", 141, ""),
    "error, closed errors": ("--model=nope.X", "2>&-", 2, ""),
    "error, full errors": ("--model=nope.X", "2>/dev/full", 2, ""),
    "error, broken pipe": ("--model=nope.X", "2>&1 | true; exit ${PIPESTATUS[0]}", 2, ""),
    "help, full output": ("--help", ">/dev/full", 1, "summary: OSError: [Errno 28] No space left on device"),
    "help, broken pipe": ("--help", "| true; exit ${PIPESTATUS[0]}", 141, ""),
}
SLOW = {"all closed", "full errors", "error, full errors", "help, broken pipe", "closed errors"}


@pytest.mark.parametrize(
    "flags, streams, code, message",
    [pytest.param(*case, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, case in STREAMS.items()],
)
def test_closed_full_or_broken_streams(environment, flags, streams, code, message):
    command = f"{sys.executable} -m jaxnets.summary {flags} {streams}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == bool(message)


@pytest.mark.slow
@pytest.mark.parametrize(
    "signals, code", [([signal.SIGHUP], 129), ([signal.SIGTERM] * 3, 143)], ids=["SIGHUP", "three SIGTERM"]
)
def test_signals_save_a_checkpoint_and_set_the_exit_code(tmp_path, environment, small_flags, signals, code):
    workdir = tmp_path / "run"
    flags = [f"--workdir={workdir}", *small_flags, "--config.train.steps=1000000", "--config.train.evaluate_every=50"]
    command = [sys.executable, "-m", "jaxnets.train", *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as program:
        deadline = time.monotonic() + 120
        while len(read_metrics(workdir)) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        for sent in signals:
            program.send_signal(sent)
            time.sleep(0.02)
        message = program.communicate(timeout=60)[1].splitlines()[-1]
    assert program.returncode == code
    assert message.startswith("saved step ")
    assert message.split()[2] in os.listdir(workdir / "checkpoints")


@pytest.mark.slow
def test_run_continues_when_standard_error_is_closed(tmp_path, environment, small_flags):
    flags = [f"--workdir={tmp_path / 'run'}", *small_flags, "--config.train.steps=10"]
    command = [sys.executable, "-m", "jaxnets.train", *flags]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as program:
        program.stderr.close()
        assert program.wait(timeout=120) == 0
    assert "10" in os.listdir(tmp_path / "run" / "checkpoints")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "set_statistics"])
def test_training_works_with_64_bit_types(tmp_path, environment, name):
    command = [
        sys.executable,
        "-m",
        "jaxnets.train",
        f"--config={name}",
        f"--workdir={tmp_path}",
        "--config.data.batch_size=8",
    ]
    own = {**environment, "JAX_ENABLE_X64": "1"}
    done = subprocess.run(
        [*command, "--config.train.steps=2"], cwd=ROOT, env=own, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "at step 2" in done.stdout
