"""Learning rate reduction on a plateau of the validation loss, also across restarts."""

import re

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SMALL
from in_process import ready, trained

from jaxnets.learning.optimizers import reduce_on_plateau, sgd
from jaxnets.training.errors import UsageError
from jaxnets.training.reporting.metrics import read_metrics
from jaxnets.training.restore import open_run

# The learning rate is large, so that the validation loss fluctuates.
FLAGS = (
    *SMALL,
    "--config.optimizer.learning_rate=2.0",
    "--config.optimizer.warmup_steps=0",
    "--config.optimizer.end_lr_factor=1.0",
)
PLATEAU = ("--config.optimizer.plateau_factor=0.5", "--config.optimizer.plateau_patience=2")


def scales_of(losses, factor, patience):
    """Computes the scale after each loss in plain Python."""
    scale, best, since, scales = 1.0, np.inf, 0, []
    for loss in losses:
        since = 0 if loss < best else since + 1
        best = min(loss, best)
        if since == patience:
            scale, since = scale * factor, 0
        scales.append(scale)
    return scales


@pytest.mark.parametrize("shift", [0, -10])
def test_the_scale_is_reduced_after_patience_losses_without_improvement(shift):
    losses = [x + shift for x in (5, 4, 4, 4, 3, 3, 3.5, 3.2, 3.1, 2.9, 2.9, 2.9)]
    optimizer, observe = reduce_on_plateau(sgd(10**9, 0.1, momentum=0.0), 0.5, 2, "validation/loss")
    params, gradients = {"a": jnp.ones(3)}, {"a": jnp.full(3, 2.0)}
    state, scales = optimizer.init(params), []
    for loss in losses:
        state, logged = observe(state, {"validation/loss": jnp.float32(loss), "validation/accuracy": jnp.float32(0)})
        scale = logged["learning_rate_scale"]
        updates, state = optimizer.update(gradients, state, params)
        np.testing.assert_allclose(updates["a"], -0.1 * 2 * scale, rtol=1e-6)
        scales.append(float(scale))
    assert scales == scales_of(losses, 0.5, 2)
    assert scales[-1] == 0.0625


def test_a_run_reduces_its_learning_rate_on_a_plateau(small_text, tmp_path):
    flags = (*FLAGS, *PLATEAU, f"--config.data.path={small_text}", "--config.train.steps=60")
    trained(tmp_path / "run", *flags)
    rows = [row for row in read_metrics(tmp_path / "run") if "validation/loss" in row]
    scales = [row["learning_rate_scale"] for row in rows]
    assert scales == scales_of([row["validation/loss"] for row in rows], 0.5, 2)
    assert scales[-1] < 1


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.long)])
def test_a_stop_between_evaluations_does_not_change_the_result(small_text, tmp_path, run_program, devices):
    flags = (*FLAGS, *PLATEAU, "--config.optimizer.plateau_patience=1", f"--config.data.path={small_text}")
    for name, stops in (("uninterrupted", (40,)), ("stopped", (17, 29, 40))):
        for steps in stops:
            own = (f"--workdir={tmp_path / name}", f"--config.train.steps={steps}")
            done = run_program("train", *flags, *own, devices=devices)
            assert done.returncode == 0, done.stderr
    names = ("uninterrupted", "stopped")
    expected, resumed = (open_run(tmp_path / name, "last").variables for name in names)
    chex.assert_trees_all_equal(expected, resumed)
    scales = [
        {
            row["step"]: row["learning_rate_scale"]
            for row in read_metrics(tmp_path / name)
            if "learning_rate_scale" in row
        }
        for name in names
    ]
    assert scales[0] == scales[1]
    assert min(scales[0].values()) < 1


WRONG = {
    "plateau_factor=1.0": "`plateau_factor` must be in [0, 1), got 1.0",
    "plateau_factor=-0.5": "`plateau_factor` must be in [0, 1), got -0.5",
    "plateau_patience=0": "`plateau_patience` must be at least 1, got 0",
}


@pytest.mark.parametrize("flag, sentence", WRONG.items(), ids=WRONG)
def test_values_out_of_range_are_rejected(small_text, flag, sentence):
    with pytest.raises(UsageError, match=re.escape(sentence)):
        ready(*FLAGS, *PLATEAU, f"--config.optimizer.{flag}", f"--config.data.path={small_text}")
