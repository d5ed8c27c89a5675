"""Closed-form learning: ridge regression against NumPy, and non-finite statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import learning

RANDOM = np.random.default_rng(0)
X, TRUE = RANDOM.normal(size=(40, 3)).astype(np.float32), np.float32([1.0, -2.0, 0.5])
Y = X @ TRUE + 0.1 * RANDOM.normal(size=40).astype(np.float32)
PENALTY = 0.3


def ridge():
    statistics = lambda batch: {"xx": batch["x"].T @ batch["x"], "xy": batch["x"].T @ batch["y"]}
    solve = lambda sums: {"params": {"w": jnp.linalg.solve(sums["xx"] + PENALTY * jnp.eye(3), sums["xy"])}}
    return learning.closed_form(statistics, solve)


def test_ridge_regression_uses_all_previous_batches():
    learner = ridge()
    batches = [{"x": X[i : i + 10], "y": Y[i : i + 10]} for i in range(0, 40, 10)]
    state = learner.init(jax.random.key(0), batches[0])
    np.testing.assert_array_equal(learner.variables(state)["params"]["w"], np.zeros(3))
    for index, batch in enumerate(batches):
        state, metrics = jax.jit(learner.update)(state, batch, jax.random.key(0), jnp.int32(index))
        rows = slice(10 * (index + 1))
        x = X[rows].astype(np.float64)
        expected = np.linalg.solve(x.T @ x + PENALTY * np.eye(3), x.T @ Y[rows])
        np.testing.assert_allclose(learner.variables(state)["params"]["w"], expected, rtol=1e-4)
        assert bool(metrics["finite"])


def test_nonfinite_batches_are_reported_and_can_be_skipped():
    learner = learning.skip_nonfinite(ridge())
    good = {"x": X, "y": Y}
    state = learner.init(jax.random.key(0), good)
    state, _ = learner.update(state, good, jax.random.key(0), jnp.int32(0))
    after, metrics = learner.update(state, {"x": np.full_like(X, np.nan), "y": Y}, jax.random.key(0), jnp.int32(1))
    assert not bool(metrics["finite"])
    assert int(metrics["skipped"]) == 1
    jax.tree.map(np.testing.assert_array_equal, after.state, state.state)


def test_moving_averages_are_refused_and_flags_survive_wrappers():
    learner = ridge()
    fitted = learning.fitted(lambda key, batch: {"w": jnp.zeros(3)}, lambda variables, batch: variables)
    for each, full in ((learner, False), (fitted, True)):
        wrapped = learning.skip_nonfinite(each)
        assert (wrapped.closed_form, wrapped.full_batch) == (True, full)
        with pytest.raises(ValueError, match="`learner` must not be a solution in closed form"):
            learning.with_ema(each, 0.9)
