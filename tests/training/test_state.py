"""The training step: gradient accumulation, carry, optimizers and random keys."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from task_parts import LearnerParts, loss_of

from jaxnets import data, recurrent, tasks
from jaxnets.learning import gradient
from jaxnets.learning.optimizers import adamw, sgd
from jaxnets.training.state import create, key_for, make_step

VOCABULARY = data.Vocabulary("abcdefgh")
TOKENS = np.random.default_rng(0).integers(0, 8, 2000).astype(np.int32)


def setup(dropout=0.0, rate=0.1, grad_accum_steps=1, **model):
    """Returns a language model task, its learner, batches and the initial state."""
    network = recurrent.CharRNN(8, hidden_size=6, num_layers=2, embed_dim=4, dropout=dropout, **model)
    task = tasks.language_model(network, VOCABULARY, make_learner=LearnerParts)
    learner = gradient(*task.learner, optax.sgd(rate), grad_accum_steps=grad_accum_steps)
    batches = data.streams(TOKENS, 4, 10, 0)
    return task, learner, batches, create(learner, batches[0], seed=0)


@pytest.mark.parametrize("grad_accum_steps", [2, 4])
def test_accumulated_gradients_equal_those_of_the_full_batch(grad_accum_steps):
    _, learner, batches, state = setup()
    accumulating = setup(grad_accum_steps=grad_accum_steps)[1]
    step, accumulating_step = (jax.jit(make_step(each, 0)) for each in (learner, accumulating))
    expected, accumulated = state, state
    for i in range(3):
        expected, expected_metrics = step(expected, batches[i])
        accumulated, metrics = accumulating_step(accumulated, batches[i])
        chex.assert_trees_all_close(accumulated, expected, atol=1e-6)
        chex.assert_trees_all_close(metrics, expected_metrics, atol=1e-5)


def test_the_carry_of_a_stream_is_passed_on_and_reset_at_its_start():
    task, learner, batches, state = setup()
    state, _ = jax.jit(make_step(learner, 0))(state, batches[0])
    variables = state.learner.variables
    loss = lambda batch, carry: loss_of(task, variables, batch, carry=carry)
    carried = float(loss(batches[1], state.learner.carry)[0])
    fresh = float(loss({**batches[1], "start": np.ones(4, bool)}, state.learner.carry)[0])
    assert fresh == pytest.approx(float(loss(batches[1], None)[0]), abs=1e-6)
    assert abs(carried - fresh) > 1e-6
    # Two batches with a carry are equivalent to one long batch.
    long_batch = {k: np.concatenate([batches[0][k], batches[1][k]], 1) for k in ("inputs", "targets", "mask")}
    long_loss = float(loss({**long_batch, "start": np.ones(4, bool)}, None)[0])
    first, aux = loss(batches[0], None)
    second, _ = loss(batches[1], aux.carry)
    assert long_loss == pytest.approx(float(first + second) / 2, abs=1e-5)


def test_masked_targets_do_not_affect_the_loss():
    task, _, batches, state = setup()
    variables = state.learner.variables
    batch = dict(batches[0])
    batch["mask"] = batch["mask"].copy()
    batch["mask"][:, 6:] = False
    other = dict(batch, targets=np.where(batch["mask"], batch["targets"], (batch["targets"] + 3) % 8))
    loss = lambda batch, variables=variables: loss_of(task, variables, batch, carry=None)[0]
    assert loss(batch) == loss(other)
    empty = dict(batch, mask=np.zeros_like(batch["mask"]))
    value, gradient = jax.value_and_grad(lambda v: loss(empty, v))(variables)
    assert value == 0
    chex.assert_trees_all_equal(gradient, jax.tree.map(jnp.zeros_like, gradient))


def test_weight_decay_applies_to_matrices_only():
    transform = adamw(10, 0.1, weight_decay=0.5)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    updates, _ = transform.update(jax.tree.map(jnp.zeros_like, params), transform.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05)
    np.testing.assert_allclose(updates["bias"], 0)


def test_learning_rate_has_warmup_and_cosine_decay():
    transform = adamw(100, 1.0, warmup_steps=10, end_lr_factor=0.1, b1=0.0, b2=0.0)
    params = jnp.zeros(1)
    state = transform.init(params)
    rates = []
    for _ in range(100):
        update, state = transform.update(jnp.ones(1), state, params)
        rates.append(-float(update[0]))
    assert rates[0] == 0
    assert rates[5] == pytest.approx(0.5, rel=1e-4)
    assert max(rates) == pytest.approx(1.0, rel=1e-4)
    assert rates[55] == pytest.approx(0.55, abs=0.02)
    assert rates[99] == pytest.approx(0.1, abs=0.01)


def test_sgd_has_momentum_and_an_l2_penalty():
    transform = sgd(10**9, 0.1, momentum=0.5, weight_decay=0.2)
    params = {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}
    state, gradient = transform.init(params), jax.tree.map(jnp.ones_like, params)
    first, state = transform.update(gradient, state, params)
    second, _ = transform.update(gradient, state, params)
    updates = [float(update[name].sum()) for update in (first, second) for name in ("kernel", "bias")]
    assert updates == pytest.approx([-0.12, -0.1, -0.18, -0.15], rel=1e-5)


def test_clipping_bounds_the_global_norm():
    transform = adamw(10, 1.0, clip_norm=1.0, b1=0.0)
    small, large = {"a": jnp.array([3e-3, 4e-3])}, {"a": jnp.array([3e3, 4e3])}
    chained = lambda g: optax.clip_by_global_norm(1.0).update(g, optax.EmptyState())[0]
    np.testing.assert_allclose(chained(large)["a"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(chained(small)["a"], small["a"])
    assert len(transform.init(large)) == 2  # clipping and AdamW


def test_keys_differ_by_seed_step_and_purpose():
    keys = [key_for(seed, step, purpose) for seed in range(3) for step in range(3) for purpose in range(3)]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 27


def test_dropout_depends_on_step_and_seed_only():
    _, learner, batches, state = setup(dropout=0.5, rate=0.0)
    step = jax.jit(make_step(learner, 0))
    run = lambda s: float(step(s, batches[0])[1]["loss"])
    assert run(state) == run(state)
    assert run(state) != run(state._replace(step=jnp.int32(1)))
    assert run(state) != float(make_step(learner, 1)(state, batches[0])[1]["loss"])
