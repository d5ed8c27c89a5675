"""Numbers that are not finite: the run stops, leaves the update out, or goes back; nothing is poisoned."""

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

# A tilde in a batch gives NaN, in its logits and in the carry.
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
LENGTH = 8  # of SMALL; the first row of the data is streams that begin at a byte between 1 and 8
FLAGS = (*SMALL, "--config.model.name=spoiled.Net", "--config.train.steps=20", "--config.train.log_every=1")


@pytest.fixture
def spoiled(tmp_path, monkeypatch):
    """``spoiled(7, 8)`` gives the flags of a run whose steps 7 and 8 get NaN."""
    (tmp_path / "spoiled.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))

    def make(*steps):
        text = bytearray(b"How much wood would a woodchuck chuck? " * 50)
        for step in steps:
            text[LENGTH * step] = ord("~")
        (tmp_path / "text.txt").write_bytes(text)
        return (*FLAGS, f"--config.data.path={tmp_path / 'text.txt'}")

    return make


BACK = "rolled back"


def by_hand(flags, batches):
    """The variables after the updates of these batches; None: a step without one, BACK: the carry is at zero again."""
    _, dataset, task, compiled = ready(*flags)
    state = compiled.create(None)
    for batch in batches:
        if batch is None:
            state = state._replace(step=state.step + 1)
        elif batch is BACK:
            anew = jax.tree.map(jnp.zeros_like, state.learner.carry)
            state = state._replace(learner=state.learner._replace(carry=anew))
        else:
            state, _ = compiled.step(state, compiled.train.put(dataset.train[batch]))
    return jax.device_get(task.learner.variables(state.learner))


def events(workdir):
    rows = [json.loads(line, parse_constant=pytest.fail) for line in (workdir / "metrics.jsonl").open()]
    return [(row["step"], row["event"], row["because"]) for row in rows if "event" in row]


def test_an_update_that_is_skipped_changes_nothing_but_the_step():
    model, classes = convolution.SeriesCNN(2, (4, 4), (3, 3)), data.Classes(("a", "b"))
    inputs = np.random.default_rng(0).normal(size=(4, 12, 1)).astype(np.float32)
    batch = {"inputs": inputs, "targets": np.arange(4) % 2, "mask": np.ones(4, bool)}
    bad = {**batch, "inputs": np.where(np.arange(48).reshape(4, 12, 1) == 40, np.inf, inputs)}
    for accumulate in (1, 2):
        learn = functools.partial(gradient, optimizer=adamw(10, 0.1), grad_accum_steps=accumulate)
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


def test_skipped_steps_leave_a_run_as_if_they_had_not_been(spoiled, tmp_path, capsys):
    flags = (*spoiled(7, 8, 15), "--config.train.nan_policy=skip", "--config.train.nan_limit=2")
    found = trained(tmp_path / "run", *flags)
    because = "train/loss is nan"
    assert events(tmp_path / "run") == [(step, "update skipped", because) for step in (7, 8, 15)]
    assert "step 7: train/loss is nan; this update is left out\n" in capsys.readouterr().err
    logged = [row["step"] for row in read_metrics(tmp_path / "run") if "train/loss" in row]
    assert logged == [step for step in range(1, 21) if step not in (7, 8, 15)]
    expected = by_hand(flags, [None if i in (6, 7, 14) else i for i in range(20)])
    chex.assert_trees_all_equal(found, expected)


def test_more_than_the_limit_in_a_row_stops_a_run_also_over_a_restart(spoiled, tmp_path):
    flags = (*spoiled(4, 5, 6), "--config.train.nan_policy=skip", "--config.train.nan_limit=2")
    told = "train/loss is nan at step 6; stopped, the checkpoint of step 5 is kept"
    for _ in range(2):  # the second goes on from step 5, with two in a row behind it
        with pytest.raises(RunError, match=told):
            trained(tmp_path / "run", *flags)
    assert [step for step, *_ in events(tmp_path / "run")] == [4, 5]
    trained(tmp_path / "run", *flags, "--config.train.nan_limit=3")
    assert [step for step, *_ in events(tmp_path / "run")] == [4, 5, 6]


def test_a_run_rolled_back_goes_on_with_the_data_after_the_bad_batch(spoiled, tmp_path, capsys):
    flags = (*spoiled(3, 9, 12), "--config.train.nan_policy=roll_back")
    found = trained(tmp_path / "run", *flags)
    # Batch 3 comes at step 3, batch 9 at step 6 (5 has read batch 8), and batch 12 at step 8 (6 and 7 read 10 and 11).
    back = [(0, 3), (5, 6), (5, 8)]
    assert events(tmp_path / "run") == [(to, "rolled back", f"train/loss is nan at step {at}") for to, at in back]
    assert "train/loss is nan at step 3; back to step 0, and on with the data after it\n" in capsys.readouterr().err
    logged = [row["step"] for row in read_metrics(tmp_path / "run") if "train/loss" in row]
    assert logged == list(range(1, 21))
    chex.assert_trees_all_equal(found, by_hand(flags, [3, 4, 5, 6, 7, BACK, *range(12, 27)]))
    with pytest.raises(RunError, match="at step 8; stopped, the checkpoint of step 5 is kept"):
        trained(tmp_path / "limited", *flags, "--config.train.nan_limit=1")


def test_a_validation_that_is_not_finite_rolls_back_too(spoiled, tmp_path):
    text = spoiled()[-1].partition("=")[2]
    Path(text).write_bytes(Path(text).read_bytes()[:-3] + b"~~~")
    for policy in ("skip", "roll_back"):
        with pytest.raises(RunError, match="validation/loss is nan at step 5; stopped, no checkpoint was made before"):
            trained(tmp_path / policy, *FLAGS, f"--config.data.path={text}", f"--config.train.nan_policy={policy}")
    assert events(tmp_path / "skip") == []
    assert events(tmp_path / "roll_back") == [(0, "rolled back", "validation/loss is nan at step 5")] * 10


@pytest.mark.parametrize("policy", ["skip", "roll_back"])
@pytest.mark.parametrize(
    "devices, accumulate", [pytest.param(1, 2, marks=pytest.mark.slow), pytest.param(4, 1, marks=pytest.mark.long)]
)
def test_a_kill_after_an_event_changes_nothing(
    spoiled, tmp_path, monkeypatch, environment, policy, devices, accumulate
):
    own = ("--config.train.steps=400", "--config.train.evaluate_every=20", f"--config.train.nan_policy={policy}")
    flags = (*spoiled(55, 56), f"--config.train.grad_accum_steps={accumulate}", *own)

    def run(folder, **more):
        path = os.environ["PYTHONPATH"]
        variables = {**environment, "PYTHONPATH": path, "JAX_NUM_CPU_DEVICES": str(devices), **more}
        command = [sys.executable, "-m", "jaxnets.train", f"--workdir={tmp_path / folder}", *flags]
        return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=200)

    done = run("whole")
    assert done.returncode == 0, done.stderr
    assert run("killed", KILLED_IN=str(tmp_path / "killed")).returncode == -signal.SIGKILL
    assert events(tmp_path / "killed")
    done = run("killed")
    assert done.returncode == 0, done.stderr
    one, other = (restore.open_run(tmp_path / folder, "last", ("spoiled",)) for folder in ("whole", "killed"))
    assert one.step == other.step == 400
    chex.assert_trees_all_equal(one.variables, other.variables)
    assert set(events(tmp_path / "killed")) == set(events(tmp_path / "whole"))


@pytest.mark.slow
def test_several_processes_roll_back_together(spoiled, tmp_path, start_processes):
    flags = (*spoiled(3, 9), "--config.train.nan_policy=roll_back")
    started = start_processes(2, 1, f"--workdir={tmp_path / 'two'}", *flags)
    told = [process.communicate(timeout=200)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    alone = trained(tmp_path / "one", *flags)
    assert events(tmp_path / "two") == events(tmp_path / "one")
    assert [to for to, *_ in events(tmp_path / "two")] == [0, 5]
    together = restore.open_run(tmp_path / "two", "last", ("spoiled",))
    chex.assert_trees_all_close(together.variables, alone, rtol=1e-4, atol=1e-5)
