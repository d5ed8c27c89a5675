"""NaN policies: a run stops, skips the update or rolls back, and its state stays finite."""

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, SMALL
from in_process import ready, trained

from jaxnets import convolution, data, tasks
from jaxnets.learning import gradient, skip_nonfinite, with_ema
from jaxnets.learning.optimizers import adamw
from jaxnets.training import restore
from jaxnets.training.errors import RunError
from jaxnets.training.reporting.metrics import read_metrics
from jaxnets.training.state import create, make_step

# A tilde in a batch makes the logits and the carry NaN.
MODEL = """
import os, signal, threading, time
from pathlib import Path

import jax
from jax import numpy as jnp
from jaxnets import recurrent

def kill_after_an_event(path):
    while not (path.exists() and "event" in path.read_text()):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)

if folder := os.environ.get("KILLED_IN"):
    threading.Thread(target=kill_after_an_event, args=[Path(folder, "metrics.jsonl")], daemon=True).start()

class Net(recurrent.CharRNN):
    def __call__(self, tokens, carry=None, **options):
        spoil = jnp.where((tokens == ord("~")).any(), jnp.nan, 0.0)
        return jax.tree.map(lambda a: a + spoil, super().__call__(tokens, carry, **options))
"""
SEQ_LEN = 8  # in SMALL; the first stream of the data starts at a byte between 1 and 8
FLAGS = (*SMALL, "--config.model.name=with_nan.Net", "--config.train.steps=20", "--config.train.log_every=1")


@pytest.fixture
def with_nan(tmp_path, monkeypatch):
    """``with_nan(7, 8)`` returns the flags of a run in which batches 7 and 8 give NaN."""
    (tmp_path / "with_nan.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))

    def make(*steps):
        text = bytearray(b"How much wood would a woodchuck chuck? " * 50)
        for step in steps:
            text[SEQ_LEN * step] = ord("~")
        (tmp_path / "text.txt").write_bytes(text)
        return (*FLAGS, f"--config.data.path={tmp_path / 'text.txt'}")

    return make


RESET_CARRY = "rolled back"


def reference_run(flags, batches):
    """Returns the variables after updates on these batches. None: a skipped update, RESET_CARRY: the carry is reset."""
    _, dataset, task, compiled = ready(*flags)
    state = compiled.create(None)
    for batch in batches:
        if batch is None:
            state = state._replace(step=state.step + 1)
        elif batch is RESET_CARRY:
            carry = jax.tree.map(jnp.zeros_like, state.learner.carry)
            state = state._replace(learner=state.learner._replace(carry=carry))
        else:
            state, _ = compiled.step(state, compiled.train.put(dataset.train[batch]))
    return jax.device_get(task.learner.variables(state.learner))


def events(workdir):
    rows = [json.loads(line, parse_constant=pytest.fail) for line in (workdir / "metrics.jsonl").open()]
    return [(row["step"], row["event"], row["because"]) for row in rows if "event" in row]


def test_a_skipped_update_changes_only_the_step():
    model, classes = convolution.SeriesCNN(2, (4, 4), (3, 3)), data.Classes(("a", "b"))
    inputs = np.random.default_rng(0).normal(size=(4, 12, 1)).astype(np.float32)
    batch = {"inputs": inputs, "targets": np.arange(4) % 2, "mask": np.ones(4, bool)}
    bad = {**batch, "inputs": np.where(np.arange(48).reshape(4, 12, 1) == 40, np.inf, inputs)}
    for grad_accum_steps in (1, 2):
        learn = functools.partial(gradient, optimizer=adamw(10, 0.1), grad_accum_steps=grad_accum_steps)
        plain = with_ema(tasks.classification(model, classes, learn).learner, 0.9)
        learner = skip_nonfinite(plain)
        step = jax.jit(make_step(learner, 0))
        good, _ = step(create(learner, batch, 0), batch)
        skipped, metrics = step(good, bad)
        assert not np.isfinite(metrics["gradient_norm"])
        assert metrics["skipped"] == 1 and not metrics["finite"]
        chex.assert_trees_all_equal(skipped.learner.state, good.learner.state)
        assert (skipped.step, skipped.learner.skipped, good.learner.skipped) == (2, 1, 0)
        expected, _ = jax.jit(make_step(plain, 0))(create(plain, batch, 0), batch)
        chex.assert_trees_all_close(good.learner.state, expected.learner, atol=1e-6)


def test_skipped_updates_do_not_affect_a_run(with_nan, tmp_path, capsys):
    flags = (*with_nan(7, 8, 15), "--config.train.nan_policy=skip", "--config.train.nan_limit=2")
    variables = trained(tmp_path / "run", *flags)
    reason = "train/loss is nan"
    assert events(tmp_path / "run") == [(step, "update skipped", reason) for step in (7, 8, 15)]
    assert "step 7: train/loss is nan; the update is skipped\n" in capsys.readouterr().err
    logged = [row["step"] for row in read_metrics(tmp_path / "run") if "train/loss" in row]
    assert logged == [step for step in range(1, 21) if step not in (7, 8, 15)]
    expected = reference_run(flags, [None if i in (6, 7, 14) else i for i in range(20)])
    chex.assert_trees_all_equal(variables, expected)


def test_more_skipped_updates_than_the_limit_stop_a_run_also_after_a_restart(with_nan, tmp_path):
    flags = (*with_nan(4, 5, 6), "--config.train.nan_policy=skip", "--config.train.nan_limit=2")
    message = "train/loss is nan at step 6: training stopped; the last checkpoint is that of step 5"
    for _ in range(2):  # the second run resumes at step 5, after two skipped updates
        with pytest.raises(RunError, match=message):
            trained(tmp_path / "run", *flags)
    assert [step for step, *_ in events(tmp_path / "run")] == [4, 5]
    trained(tmp_path / "run", *flags, "--config.train.nan_limit=3")
    assert [step for step, *_ in events(tmp_path / "run")] == [4, 5, 6]


def test_a_rolled_back_run_continues_with_the_data_after_the_bad_batch(with_nan, tmp_path, capsys):
    flags = (*with_nan(3, 9, 12), "--config.train.nan_policy=roll_back")
    variables = trained(tmp_path / "run", *flags)
    # Batch 3 is used at step 3, batch 9 at step 6 (after batch 8 at step 5), and batch 12 at step 8.
    roll_backs = [(0, 3), (5, 6), (5, 8)]
    assert events(tmp_path / "run") == [(to, "rolled back", f"train/loss is nan at step {at}") for to, at in roll_backs]
    assert "train/loss is nan at step 3; rolled back to step 0, continuing with later data\n" in capsys.readouterr().err
    logged = [row["step"] for row in read_metrics(tmp_path / "run") if "train/loss" in row]
    assert logged == list(range(1, 21))
    chex.assert_trees_all_equal(variables, reference_run(flags, [3, 4, 5, 6, 7, RESET_CARRY, *range(12, 27)]))
    with pytest.raises(RunError, match="at step 8: training stopped; the last checkpoint is that of step 5"):
        trained(tmp_path / "limited", *flags, "--config.train.nan_limit=1")


def test_nonfinite_validation_metrics_stop_or_roll_back(with_nan, tmp_path):
    text = with_nan()[-1].partition("=")[2]
    Path(text).write_bytes(Path(text).read_bytes()[:-3] + b"~~~")
    for policy in ("skip", "roll_back"):
        with pytest.raises(
            RunError, match="validation/loss is nan at step 5: training stopped; no checkpoint has been saved"
        ):
            trained(tmp_path / policy, *FLAGS, f"--config.data.path={text}", f"--config.train.nan_policy={policy}")
    assert events(tmp_path / "skip") == []
    assert events(tmp_path / "roll_back") == [(0, "rolled back", "validation/loss is nan at step 5")] * 10


@pytest.mark.parametrize("policy", ["skip", "roll_back"])
@pytest.mark.parametrize(
    "devices, grad_accum_steps",
    [pytest.param(1, 2, marks=pytest.mark.slow), pytest.param(4, 1, marks=pytest.mark.long)],
)
def test_a_kill_after_an_event_does_not_change_the_result(
    with_nan, tmp_path, monkeypatch, environment, policy, devices, grad_accum_steps
):
    own = ("--config.train.steps=400", "--config.train.evaluate_every=20", f"--config.train.nan_policy={policy}")
    flags = (*with_nan(55, 56), f"--config.train.grad_accum_steps={grad_accum_steps}", *own)

    def run(folder, **more):
        path = os.environ["PYTHONPATH"]
        variables = {**environment, "PYTHONPATH": path, "JAX_NUM_CPU_DEVICES": str(devices), **more}
        command = [sys.executable, "-m", "jaxnets.train", f"--workdir={tmp_path / folder}", *flags]
        return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=200)

    done = run("uninterrupted")
    assert done.returncode == 0, done.stderr
    assert run("killed", KILLED_IN=str(tmp_path / "killed")).returncode == -signal.SIGKILL
    assert events(tmp_path / "killed")
    done = run("killed")
    assert done.returncode == 0, done.stderr
    folders = ("uninterrupted", "killed")
    expected, resumed = (restore.open_run(tmp_path / folder, "last", ("with_nan",)) for folder in folders)
    assert expected.step == resumed.step == 400
    chex.assert_trees_all_equal(expected.variables, resumed.variables)
    assert set(events(tmp_path / "killed")) == set(events(tmp_path / "uninterrupted"))


@pytest.mark.slow
def test_several_processes_roll_back_together(with_nan, tmp_path, start_processes):
    flags = (*with_nan(3, 9), "--config.train.nan_policy=roll_back")
    started = start_processes(2, 1, f"--workdir={tmp_path / 'two'}", *flags)
    stderr = [process.communicate(timeout=200)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], stderr
    single = trained(tmp_path / "one", *flags)
    assert events(tmp_path / "two") == events(tmp_path / "one")
    assert [to for to, *_ in events(tmp_path / "two")] == [0, 5]
    double = restore.open_run(tmp_path / "two", "last", ("with_nan",))
    chex.assert_trees_all_close(double.variables, single, rtol=1e-4, atol=1e-5)
