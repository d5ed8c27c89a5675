"""Gradient learners and learner wrappers against a NumPy implementation."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets.learning import Aux, Mean, gradient, skip_nonfinite, with_ema
from jaxnets.learning.optimizers import adamw, reduce_on_plateau, sgd

RANDOM = np.random.default_rng(0)
BATCHES = [
    {"inputs": RANDOM.normal(size=(4, 3)).astype(np.float32), "targets": RANDOM.normal(size=(4, 2)).astype(np.float32)}
    for _ in range(4)
]
BAD = {**BATCHES[1], "targets": np.full((4, 2), np.inf, np.float32)}


def init(key, batch):
    kernel = jax.random.normal(key, (batch["inputs"].shape[1], 2))
    return {"params": {"kernel": kernel, "bias": jnp.zeros(2)}, "statistics": {"mean": jnp.zeros(3)}}


def loss(variables, batch, context):
    """Squared error of a linear map whose inputs include the previous batch, with running statistics."""
    carry = jnp.zeros_like(batch["inputs"]) if context.carry is None else context.carry
    inputs = batch["inputs"] + 0.5 * carry
    errors = inputs @ variables["params"]["kernel"] + variables["params"]["bias"][None] - batch["targets"]
    mean = 0.9 * variables["statistics"]["mean"] + 0.1 * jnp.mean(batch["inputs"], axis=0)
    metrics = {
        "step": context.step,
        "sampled": jax.random.uniform(context.key),
        "largest": jnp.max(batch["inputs"]),
        "absolute": Mean(jnp.sum(jnp.abs(errors)), jnp.float32(errors.size)),
    }
    return jnp.mean(errors**2), Aux(inputs, {"statistics": {"mean": mean}}, metrics)


def run_steps(learner, batches, variables=None):
    """Runs one update per batch. Returns the initial state with all later states, and the metrics of each update."""
    update, states, metrics = jax.jit(learner.update), [learner.init(jax.random.key(0), batches[0], variables)], []
    for step, batch in enumerate(batches):
        state, row = update(states[-1], batch, jax.random.key(step), jnp.int32(step))
        states.append(state)
        metrics.append(row)
    return states, metrics


def reference_steps(optimizer, batches):
    """Computes variables, carry, losses and gradient norms in NumPy, except for the optimizer."""
    first = init(jax.random.key(0), batches[0])
    params, mean = jax.device_get(first["params"]), np.zeros(3)
    state, carry, loss_and_norm = optimizer.init(params), np.zeros((4, 3)), []
    for batch in batches:
        carry = batch["inputs"] + 0.5 * carry
        errors = carry @ params["kernel"] + params["bias"] - batch["targets"]
        gradients = {"kernel": carry.T @ errors / 4, "bias": errors.sum(0) / 4}
        gradients = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), gradients)
        updates, state = optimizer.update(gradients, state, params)
        params = jax.device_get(optax.apply_updates(params, updates))
        mean = 0.9 * mean + 0.1 * batch["inputs"].mean(0)
        loss_and_norm.append((np.mean(errors**2), np.sqrt(sum(np.sum(leaf**2) for leaf in gradients.values()))))
    return {"params": params, "statistics": {"mean": mean.astype(np.float32)}}, carry, loss_and_norm


@pytest.mark.parametrize("grad_accum_steps", [1, 2])
@pytest.mark.parametrize(
    "optimizer", [adamw(10, 0.1, weight_decay=0.1, clip_norm=1.0), sgd(10, 0.1)], ids=["adamw", "sgd"]
)
def test_updates_equal_a_numpy_implementation(optimizer, grad_accum_steps):
    learner = gradient(init, loss, optimizer, grad_accum_steps=grad_accum_steps)
    states, metrics = run_steps(learner, BATCHES)
    variables, carry, loss_and_norm = reference_steps(optimizer, BATCHES)
    if grad_accum_steps == 2:  # the running statistics are updated with each half of a batch
        mean = np.zeros(3)
        for half in np.concatenate([batch["inputs"].reshape(2, 2, 3) for batch in BATCHES]):
            mean = 0.9 * mean + 0.1 * half.mean(0)
        variables["statistics"] = {"mean": mean.astype(np.float32)}
    chex.assert_trees_all_close(states[-1].variables, variables, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(states[-1].carry, carry, rtol=1e-5)
    np.testing.assert_allclose([(row["loss"], row["gradient_norm"]) for row in metrics], loss_and_norm, rtol=1e-4)
    assert all(row["finite"] for row in metrics)
    assert learner.variables(states[-1]) is states[-1].variables


def test_a_loss_receives_step_and_key_and_its_metrics_are_returned():
    _, metrics = run_steps(gradient(init, loss, sgd(10, 0.1)), BATCHES)
    assert [int(row["step"]) for row in metrics] == [0, 1, 2, 3]
    expected = [jax.random.uniform(jax.random.key(step)) for step in range(4)]
    np.testing.assert_array_equal([row["sampled"] for row in metrics], expected)


def test_gradient_accumulation_averages_metrics_and_preserves_the_order_of_the_carry():
    full, accumulated = (run_steps(gradient(init, loss, sgd(10, 0.0), grad_accum_steps=n), BATCHES[:2]) for n in (1, 2))
    for row, expected, batch in zip(accumulated[1], full[1], BATCHES, strict=False):
        np.testing.assert_allclose(row["loss"], expected["loss"], rtol=1e-5)
        mean = lambda metric: metric.total / metric.count
        np.testing.assert_allclose(mean(row["absolute"]), mean(expected["absolute"]), rtol=1e-5)
        np.testing.assert_allclose(row["largest"], batch["inputs"].reshape(2, -1).max(1).mean(), rtol=1e-6)
    np.testing.assert_allclose(accumulated[0][-1].carry, full[0][-1].carry, rtol=1e-6)


def test_init_uses_the_given_variables():
    given = jax.tree.map(lambda leaf: leaf + 3, init(jax.random.key(7), BATCHES[0]))
    learner = gradient(init, loss, sgd(10, 0.1))
    chex.assert_trees_all_equal(learner.init(jax.random.key(0), BATCHES[0], given).variables, given)
    averaged = with_ema(learner, 0.9).init(jax.random.key(0), BATCHES[0], given).variables
    chex.assert_trees_all_equal(averaged, {**given, "ema": given})


def test_frozen_parameters_have_no_optimizer_state():
    learner = gradient(init, loss, sgd(10, 0.1), trainable=lambda path: path != "params/bias")
    states, metrics = run_steps(learner, BATCHES)
    assert {leaf.shape for leaf in jax.tree.leaves(states[0].optimizer)} == {(), (3, 2)}
    assert not states[-1].variables["params"]["bias"].any()
    assert not np.array_equal(states[-1].variables["params"]["kernel"], states[0].variables["params"]["kernel"])
    both = run_steps(gradient(init, loss, sgd(10, 0.1)), BATCHES)[1]
    assert metrics[0]["loss"] == both[0]["loss"] and metrics[0]["gradient_norm"] < both[0]["gradient_norm"]


def averages(states, decay):
    """Computes the moving averages of parameters and statistics in float64."""
    expected = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), states[0].variables["ema"])
    for t, state in enumerate(states[1:], 1):
        d = min(decay, t / (t + 9))
        new = {name: leaf for name, leaf in state.variables.items() if name != "ema"}
        expected = jax.tree.map(lambda a, b, d=d: d * a + (1 - d) * np.asarray(b, np.float64), expected, new)
        yield expected


@pytest.mark.parametrize("decay", [0.0, 0.15, 0.999])
def test_ema_equals_its_formula_in_float64(decay):
    learner = with_ema(gradient(init, loss, sgd(10, 0.5)), decay)
    states, _ = run_steps(learner, BATCHES)
    for state, expected in zip(states[1:], averages(states, decay), strict=True):
        chex.assert_trees_all_close(learner.variables(state), jax.tree.map(np.float32, expected), rtol=1e-5, atol=1e-6)
    plain, _ = run_steps(gradient(init, loss, sgd(10, 0.5)), BATCHES)
    chex.assert_trees_all_equal({**states[-1].variables, "ema": None}, {**plain[-1].variables, "ema": None})


def test_ema_copies_integers():
    def count(variables, batch, context):
        value, aux = loss(variables, batch, context)
        return value, aux._replace(updated={**aux.updated, "count": {"seen": variables["count"]["seen"] + 3}})

    with_count = lambda key, batch: {**init(key, batch), "count": {"seen": jnp.int32(0)}}
    learner = with_ema(gradient(with_count, count, sgd(10, 0.5)), 0.9)
    states, _ = run_steps(learner, BATCHES)
    seen = [learner.variables(state)["count"]["seen"] for state in states]
    assert seen[-1].dtype == jnp.int32 and [int(each) for each in seen] == [3 * i for i in range(len(states))]


@pytest.mark.parametrize("grad_accum_steps", [1, 2])
def test_a_loss_can_use_the_ema_as_a_teacher(grad_accum_steps):
    def with_teacher(variables, batch, context):
        teacher = variables["ema"]["params"]["kernel"]
        distance = jnp.mean((batch["inputs"] @ (variables["params"]["kernel"] - teacher)) ** 2)
        value, aux = loss(variables, batch, context)
        return value + distance, aux._replace(metrics={"teacher": jnp.sum(teacher)})

    learner = with_ema(gradient(init, with_teacher, sgd(10, 0.5), grad_accum_steps=grad_accum_steps), 0.9)
    states, metrics = run_steps(skip_nonfinite(learner), BATCHES)
    for state, row in zip(states, metrics, strict=False):
        np.testing.assert_allclose(row["teacher"], state.state.variables["ema"]["params"]["kernel"].sum(), rtol=1e-6)
    assert states[-1].state.variables.keys() == {"params", "statistics", "ema"}


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_ema_decay_out_of_range_is_rejected(decay):
    with pytest.raises(ValueError, match=f"`decay` must be in \\[0, 1\\), got {decay}"):
        with_ema(gradient(init, loss, sgd(10, 0.1)), decay)


def test_skip_nonfinite_leaves_the_whole_state_unchanged_and_counts():
    learner = skip_nonfinite(with_ema(gradient(init, loss, adamw(10, 0.1)), 0.9))
    states, metrics = run_steps(learner, [BATCHES[0], BAD, BAD, BATCHES[1], BAD])
    for before, after in ((1, 2), (2, 3), (4, 5)):
        chex.assert_trees_all_equal(states[after].state, states[before].state)
    assert [int(row["skipped"]) for row in metrics] == [0, 1, 2, 0, 1]
    assert [int(state.skipped) for state in states] == [0, 0, 1, 2, 0, 1]
    assert [bool(row["finite"]) for row in metrics] == [True, False, False, True, False]
    good, _ = jax.jit(learner.update)(states[1], BATCHES[1], jax.random.key(3), jnp.int32(3))
    chex.assert_trees_all_equal(states[4], good)
    assert learner.variables(states[4]) is states[4].state.variables["ema"]


def test_layouts_are_prefix_trees_of_states():
    learner = skip_nonfinite(with_ema(gradient(init, loss, adamw(10, 0.1)), 0.9))
    state = learner.init(jax.random.key(0), BATCHES[0])
    placed = jax.tree.map(lambda name, part: jax.tree.map(lambda _: name, part), learner.layout(state), state)
    assert set(jax.tree.leaves(placed.state.variables)) == {"parameters"}
    assert (placed.state.carry, placed.skipped) == ("rows", "replicated")


def test_reduce_on_plateau_works_through_all_wrappers():
    optimizer, observe = reduce_on_plateau(sgd(10**9, 0.5, momentum=0.0), 0.5, 2, "validation/loss")
    learner = skip_nonfinite(with_ema(gradient(init, loss, optimizer, observe=observe), 0.9))
    state, scales = learner.init(jax.random.key(0), BATCHES[0]), []
    for value in (3.0, 2.0, 2.0, 2.5, 2.0, 1.0):
        state, logged = jax.jit(learner.observe)(state, {"validation/loss": jnp.float32(value)})
        scales.append(float(logged["learning_rate_scale"]))
    assert scales == [1, 1, 1, 0.5, 0.5, 0.5]
    after, metrics = learner.update(state, BATCHES[0], jax.random.key(0), jnp.int32(0))
    params = (after.state.variables["params"], state.state.variables["params"])
    moved = optax.tree.norm(jax.tree.map(jnp.subtract, *params))
    np.testing.assert_allclose(moved, 0.5 * 0.5 * metrics["gradient_norm"], rtol=1e-5)
    assert with_ema(gradient(init, loss, optimizer), 0.9).observe is None
    assert skip_nonfinite(gradient(init, loss, optimizer)).observe is None
