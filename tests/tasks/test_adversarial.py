"""Adversarial networks: losses, alternating updates, mode coverage, exact resumption."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from in_process import trained

from jaxnets import data, generative, learning, tasks
from jaxnets.data.sources.problems.points import mixture_centers
from jaxnets.learning import Aux, Player
from jaxnets.training.state import create, make_step

RING = data.gaussian_ring(batch_size=20)


def task_of(steps=1):
    model = generative.GAN(hidden_sizes=(8,))
    return tasks.adversarial(model, RING.spec, learning.Gradient(optax.adam(1e-2)), discriminator_steps=steps)


def test_losses_equal_the_logarithms_of_sigmoids():
    real, fake = np.array([0.3, -2.0]), np.array([1.0, -0.5])
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    found = generative.nonsaturating_losses(jnp.asarray(real, jnp.float32), jnp.asarray(fake, jnp.float32))
    assert float(found[0]) == pytest.approx(-np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean(), rel=1e-5)
    assert float(found[1]) == pytest.approx(-np.log(sigmoid(fake)).mean(), rel=1e-5)


def test_each_player_updates_its_own_parameters_after_the_previous_player():
    variables = {"params": {"a": {"w": jnp.float32(1)}, "b": {"w": jnp.float32(2)}, "c": {"w": jnp.float32(3)}}}
    in_group = lambda name: lambda path: path.startswith(f"params/{name}/")

    def first(variables, batch, context):  # the gradient with respect to a is b times the mean of a half
        return variables["params"]["a"]["w"] * variables["params"]["b"]["w"] * jnp.mean(batch["x"]), Aux()

    def second(variables, batch, context):
        return variables["params"]["a"]["w"] * variables["params"]["b"]["w"], Aux(metrics={"a": jnp.float32(7)})

    players = {
        "a": Player(first, optax.sgd(1.0), in_group("a"), steps=2),
        "b": Player(second, optax.sgd(1.0), in_group("b")),
    }
    learner = learning.alternating(lambda key, batch: variables, players)
    batch = {"x": jnp.array([1.0, 1.0, 3.0, 3.0])}
    state = learner.init(jax.random.key(0), batch)
    state, metrics = jax.jit(learner.update)(state, batch, jax.random.key(0), jnp.int32(0))
    found = {name: float(leaf["w"]) for name, leaf in learner.variables(state)["params"].items()}
    assert found == {"a": 1 - 2 * 1 - 2 * 3, "b": 2 - (1 - 8), "c": 3}
    assert {name: float(value) for name, value in metrics.items()} == {
        "a_loss": ((1 * 2 * 1) + (-1 * 2 * 3)) / 2,
        "b_loss": -14.0,
        "b_a": 7.0,
        "finite": 1.0,
    }


@pytest.mark.parametrize(
    "players, message",
    [
        ({}, "`players` must hold at least one player"),
        (
            {"g": Player(lambda *_: (0.0, Aux()), optax.sgd(1.0), lambda path: False)},
            "at least one parameter, .* for g",
        ),
        ({"g": Player(lambda *_: (0.0, Aux()), optax.sgd(1.0), lambda path: True, 3)}, "divisible by the 3 steps of g"),
        (
            {name: Player(lambda *_: (0.0, Aux()), optax.sgd(1.0), lambda path: True) for name in "gd"},
            "must not share parameters",
        ),
    ],
)
def test_invalid_players_are_rejected(players, message):
    with pytest.raises(ValueError, match=message):
        learning.alternating(lambda key, batch: {"params": {"w": jnp.zeros(2)}}, players).init(
            jax.random.key(0), {"x": jnp.zeros(4)}
        )


def test_one_update_has_five_discriminator_steps_and_one_generator_step():
    task = task_of(steps=5)
    state = create(task.learner, RING.train[0], 0)
    state, metrics = jax.jit(make_step(task.learner, 0))(state, RING.train[0])
    counts = {name: int(optimizer[0].count) for name, optimizer in state.learner.optimizers.items()}
    assert counts == {"discriminator": 5, "generator": 1}
    assert set(metrics) == {"discriminator_loss", "generator_loss", "finite"}
    chex.assert_tree_all_finite(task.learner.variables(state.learner))


def test_coverage_counts_modes_and_high_quality_samples():
    evaluator = task_of().evaluators["coverage"].evaluator
    angles = 2 * np.pi * np.arange(8) / 8
    centers = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    samples = np.concatenate([centers[:3], centers[:1] + np.array([0.029, 0]), centers[4:5] + np.array([0.031, 0])])
    found = evaluator.compute({"test": [samples[:2], samples[2:]]})
    divergence = 0.4 * np.log(0.4 * 8) + 3 * 0.2 * np.log(0.2 * 8)
    assert found == {"test/modes": 3, "test/high_quality": 0.8, "test/reverse_kl": pytest.approx(divergence)}


def test_the_modes_of_a_grid_are_those_of_its_data():
    grid = data.gaussian_grid(modes=9, radius=4.0, std=0.05, batch_size=200)
    points = grid.train[0]["inputs"]
    centers = mixture_centers("grid", 9, 4.0)
    assert {tuple(center) for center in centers.tolist()} == {(x, y) for x in (-4, 0, 4) for y in (-4, 0, 4)}
    found = generative.mode_coverage(points, centers, 0.05)
    assert found.modes == 9 and found.high_quality > 0.95
    for modes in (1, 8):
        with pytest.raises(ValueError, match=f"must be a square number from 4, got {modes}"):
            data.gaussian_grid(modes=modes)
    with pytest.raises(ValueError, match="`layout` must be"):
        tasks.adversarial(generative.GAN(), RING.spec, learning.Gradient(optax.sgd(1.0)), layout="line")


def test_points_have_no_labels():
    with pytest.raises(ValueError, match="`num_classes` of the model must be 0 for this data, got 2"):
        tasks.adversarial(generative.GAN(num_classes=2), RING.spec, learning.Gradient(optax.sgd(1.0)))


@pytest.mark.parametrize(
    "name, flags",
    [
        ("gan", ("data.batch_size=40", "model.hidden_sizes=(8,)", "optimizer.ema_decay=0.9")),
        pytest.param("gan:conditional", ("data.batch_size=8", "model.width=2"), marks=pytest.mark.slow(10)),
    ],
)
def test_an_interrupted_run_resumes_exactly(tmp_path, name, flags):
    flags = [f"--config.{flag}" for flag in (*flags, "train.evaluate_every=4", "optimizer.end_lr_factor=1.0")]
    whole = trained(tmp_path / "whole", *flags, "--config.train.steps=8", name=name)
    trained(tmp_path / "parts", *flags, "--config.train.steps=5", name=name)
    resumed = trained(tmp_path / "parts", *flags, "--config.train.steps=8", name=name)
    chex.assert_trees_all_equal(whole, resumed)
