"""Learners by gradient and their wrappers, against the same steps by hand."""

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
    """Squared errors of a linear map that also sees the rows of the batch before, and has statistics of its own."""
    carry = jnp.zeros_like(batch["inputs"]) if context.carry is None else context.carry
    seen = batch["inputs"] + 0.5 * carry
    errors = seen @ variables["params"]["kernel"] + variables["params"]["bias"][None] - batch["targets"]
    mean = 0.9 * variables["statistics"]["mean"] + 0.1 * jnp.mean(batch["inputs"], axis=0)
    metrics = {
        "step": context.step,
        "drawn": jax.random.uniform(context.key),
        "largest": jnp.max(batch["inputs"]),
        "absolute": Mean(jnp.sum(jnp.abs(errors)), jnp.float32(errors.size)),
    }
    return jnp.mean(errors**2), Aux(seen, {"statistics": {"mean": mean}}, metrics)


def steps(learner, batches, variables=None):
    """The states after each batch, the first one before them, and the metrics."""
    update, states, told = jax.jit(learner.update), [learner.init(jax.random.key(0), batches[0], variables)], []
    for step, batch in enumerate(batches):
        state, metrics = update(states[-1], batch, jax.random.key(step), jnp.int32(step))
        states.append(state)
        told.append(metrics)
    return states, told


def by_hand(optimizer, batches):
    """Variables, carry, losses and norms of gradients, in NumPy but for the optimizer."""
    first = init(jax.random.key(0), batches[0])
    params, mean = jax.device_get(first["params"]), np.zeros(3)
    state, carry, found = optimizer.init(params), np.zeros((4, 3)), []
    for batch in batches:
        carry = batch["inputs"] + 0.5 * carry
        errors = carry @ params["kernel"] + params["bias"] - batch["targets"]
        gradients = {"kernel": carry.T @ errors / 4, "bias": errors.sum(0) / 4}
        gradients = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), gradients)
        updates, state = optimizer.update(gradients, state, params)
        params = jax.device_get(optax.apply_updates(params, updates))
        mean = 0.9 * mean + 0.1 * batch["inputs"].mean(0)
        found.append((np.mean(errors**2), np.sqrt(sum(np.sum(leaf**2) for leaf in gradients.values()))))
    return {"params": params, "statistics": {"mean": mean.astype(np.float32)}}, carry, found


@pytest.mark.parametrize("grad_accum_steps", [1, 2])
@pytest.mark.parametrize(
    "optimizer", [adamw(10, 0.1, weight_decay=0.1, clip_norm=1.0), sgd(10, 0.1)], ids=["adamw", "sgd"]
)
def test_updates_are_those_of_optax_by_hand(optimizer, grad_accum_steps):
    learner = gradient(init, loss, optimizer, grad_accum_steps=grad_accum_steps)
    states, told = steps(learner, BATCHES)
    variables, carry, found = by_hand(optimizer, BATCHES)
    if grad_accum_steps == 2:  # statistics see the halves of each batch one after the other
        mean = np.zeros(3)
        for half in np.concatenate([batch["inputs"].reshape(2, 2, 3) for batch in BATCHES]):
            mean = 0.9 * mean + 0.1 * half.mean(0)
        variables["statistics"] = {"mean": mean.astype(np.float32)}
    chex.assert_trees_all_close(states[-1].variables, variables, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(states[-1].carry, carry, rtol=1e-5)
    np.testing.assert_allclose([(row["loss"], row["gradient_norm"]) for row in told], found, rtol=1e-4)
    assert all(row["finite"] for row in told)
    assert learner.variables(states[-1]) is states[-1].variables


def test_a_loss_is_given_the_step_and_the_key_and_its_metrics_are_written():
    _, told = steps(gradient(init, loss, sgd(10, 0.1)), BATCHES)
    assert [int(row["step"]) for row in told] == [0, 1, 2, 3]
    expected = [jax.random.uniform(jax.random.key(step)) for step in range(4)]
    np.testing.assert_array_equal([row["drawn"] for row in told], expected)


def test_metrics_of_an_accumulated_batch_are_the_means_of_its_parts():
    """The rows of the carry stay in their order."""
    whole, parts = (steps(gradient(init, loss, sgd(10, 0.0), grad_accum_steps=n), BATCHES[:2]) for n in (1, 2))
    for one, other, batch in zip(whole[1], parts[1], BATCHES, strict=False):
        np.testing.assert_allclose(other["loss"], one["loss"], rtol=1e-5)
        mean = lambda metric: metric.total / metric.number
        np.testing.assert_allclose(mean(other["absolute"]), mean(one["absolute"]), rtol=1e-5)
        np.testing.assert_allclose(other["largest"], batch["inputs"].reshape(2, -1).max(1).mean(), rtol=1e-6)
    np.testing.assert_allclose(parts[0][-1].carry, whole[0][-1].carry, rtol=1e-6)


def test_a_learner_begins_with_the_variables_it_is_given():
    given = jax.tree.map(lambda leaf: leaf + 3, init(jax.random.key(7), BATCHES[0]))
    learner = gradient(init, loss, sgd(10, 0.1))
    chex.assert_trees_all_equal(learner.init(jax.random.key(0), BATCHES[0], given).variables, given)
    averaged = with_ema(learner, 0.9).init(jax.random.key(0), BATCHES[0], given).variables
    chex.assert_trees_all_equal(averaged, {**given, "ema": given})


def test_what_is_not_trained_has_no_optimizer_state():
    learner = gradient(init, loss, sgd(10, 0.1), trainable=lambda path: path != "params/bias")
    states, told = steps(learner, BATCHES)
    assert {leaf.shape for leaf in jax.tree.leaves(states[0].optimizer)} == {(), (3, 2)}
    assert not states[-1].variables["params"]["bias"].any()
    assert not np.array_equal(states[-1].variables["params"]["kernel"], states[0].variables["params"]["kernel"])
    both = steps(gradient(init, loss, sgd(10, 0.1)), BATCHES)[1]
    assert told[0]["loss"] == both[0]["loss"] and told[0]["gradient_norm"] < both[0]["gradient_norm"]


def averages(states, decay):
    """The formula in float64: parameters and statistics alike."""
    wanted = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), states[0].variables["ema"])
    for t, state in enumerate(states[1:], 1):
        kept = min(decay, t / (t + 9))
        new = {name: leaf for name, leaf in state.variables.items() if name != "ema"}
        wanted = jax.tree.map(lambda a, b, kept=kept: kept * a + (1 - kept) * np.asarray(b, np.float64), wanted, new)
        yield wanted


@pytest.mark.parametrize("decay", [0.0, 0.15, 0.999])
def test_an_average_follows_its_formula(decay):
    learner = with_ema(gradient(init, loss, sgd(10, 0.5)), decay)
    states, _ = steps(learner, BATCHES)
    for state, wanted in zip(states[1:], averages(states, decay), strict=True):
        chex.assert_trees_all_close(learner.variables(state), jax.tree.map(np.float32, wanted), rtol=1e-5, atol=1e-6)
    plain, _ = steps(gradient(init, loss, sgd(10, 0.5)), BATCHES)
    chex.assert_trees_all_equal({**states[-1].variables, "ema": None}, {**plain[-1].variables, "ema": None})


@pytest.mark.parametrize("grad_accum_steps", [1, 2])
def test_a_loss_sees_the_average_as_a_teacher(grad_accum_steps):
    def with_teacher(variables, batch, context):
        teacher = variables["ema"]["params"]["kernel"]
        away = jnp.mean((batch["inputs"] @ (variables["params"]["kernel"] - teacher)) ** 2)
        value, aux = loss(variables, batch, context)
        return value + away, aux._replace(metrics={"teacher": jnp.sum(teacher)})

    learner = with_ema(gradient(init, with_teacher, sgd(10, 0.5), grad_accum_steps=grad_accum_steps), 0.9)
    states, told = steps(skip_nonfinite(learner), BATCHES)
    for state, row in zip(states, told, strict=False):
        np.testing.assert_allclose(row["teacher"], state.state.variables["ema"]["params"]["kernel"].sum(), rtol=1e-6)
    assert states[-1].state.variables.keys() == {"params", "statistics", "ema"}


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=f"`decay` must be from 0 to below 1, got {decay}"):
        with_ema(gradient(init, loss, sgd(10, 0.1)), decay)


def test_a_skipped_update_keeps_the_whole_state_and_is_counted():
    learner = skip_nonfinite(with_ema(gradient(init, loss, adamw(10, 0.1)), 0.9))
    states, told = steps(learner, [BATCHES[0], BAD, BAD, BATCHES[1], BAD])
    for before, after in ((1, 2), (2, 3), (4, 5)):
        chex.assert_trees_all_equal(states[after].state, states[before].state)
    assert [int(row["skipped"]) for row in told] == [0, 1, 2, 0, 1]
    assert [int(state.skipped) for state in states] == [0, 0, 1, 2, 0, 1]
    assert [bool(row["finite"]) for row in told] == [True, False, False, True, False]
    good, _ = jax.jit(learner.update)(states[1], BATCHES[1], jax.random.key(3), jnp.int32(3))  # at its own step
    chex.assert_trees_all_equal(states[4], good)
    assert learner.variables(states[4]) is states[4].state.variables["ema"]


def test_layouts_are_prefixes_of_states():
    learner = skip_nonfinite(with_ema(gradient(init, loss, adamw(10, 0.1)), 0.9))
    state = learner.init(jax.random.key(0), BATCHES[0])
    placed = jax.tree.map(lambda name, part: jax.tree.map(lambda _: name, part), learner.layout(state), state)
    assert set(jax.tree.leaves(placed.state.variables)) == {"parameters"}
    assert (placed.state.carry, placed.skipped) == ("rows", "replicated")


def test_a_rate_is_reduced_on_a_plateau_through_all_wrappers():
    optimizer, observe = reduce_on_plateau(sgd(10**9, 0.5, momentum=0.0), 0.5, 2, "validation/loss")
    learner = skip_nonfinite(with_ema(gradient(init, loss, optimizer, observe=observe), 0.9))
    state, scales = learner.init(jax.random.key(0), BATCHES[0]), []
    for value in (3.0, 2.0, 2.0, 2.5, 2.0, 1.0):
        state, told = jax.jit(learner.observe)(state, {"validation/loss": jnp.float32(value)})
        scales.append(float(told["learning_rate_scale"]))
    assert scales == [1, 1, 1, 0.5, 0.5, 0.5]
    after, metrics = learner.update(state, BATCHES[0], jax.random.key(0), jnp.int32(0))
    params = (after.state.variables["params"], state.state.variables["params"])
    moved = optax.tree.norm(jax.tree.map(jnp.subtract, *params))
    np.testing.assert_allclose(moved, 0.5 * 0.5 * metrics["gradient_norm"], rtol=1e-5)
    assert with_ema(gradient(init, loss, optimizer), 0.9).observe is None
    assert skip_nonfinite(gradient(init, loss, optimizer)).observe is None
