"""Normalizing flows: initialization by a batch, gradients, and training."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets.generative import (
    Glow,
    MaskedAutoregressiveFlow,
    SplineFlow,
    dequantize,
    squeeze,
    standard_normal_log_prob,
)


def initialized(model):
    """Compiles the initialization by a batch; returns the variables, and the codes and likelihoods of the batch."""

    @jax.jit
    def run(xs):
        variables = model.init(jax.random.key(0), xs)
        return variables, model.apply(variables, xs, method="encode")[0], model.apply(variables, xs)

    return run


def test_initial_spline_flow_normalizes_its_batch():
    """Initially, splines are the identity: the codes are a rotation of the normalized batch."""
    model = SplineFlow(3, 2, (4,), 2, scan_layers=True)
    xs = (np.random.default_rng(1).normal(size=(500, 3)) * np.array([1, 30, 0.1]) + np.array([5, -100, 0])).astype(
        np.float32
    ) / 100
    run = initialized(model)
    variables, codes, _ = run(xs)
    np.testing.assert_allclose(np.mean(codes, 0), np.zeros(3), atol=1e-4)
    np.testing.assert_allclose(np.mean(np.square(codes)), 1, rtol=0.01)
    np.testing.assert_allclose(variables["params"]["layers"]["actnorm"]["bias"][0], -xs.mean(0), rtol=1e-5)
    check_constant_batch(run, np.full_like(xs, 0.5))


def check_constant_batch(run, xs):
    """All normalized values are zero, and keep their scale."""
    variables, codes, log_likelihood = run(xs)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))
    np.testing.assert_allclose(codes, np.zeros_like(codes), atol=1e-5)
    assert np.isfinite(log_likelihood).all() and np.abs(log_likelihood).max() < 2 * codes.shape[1]


@pytest.mark.slow(seconds=5)
def test_initial_glow_normalizes_its_batch_in_each_step():
    model = Glow((4, 4, 1), 1, 2, 4)
    images = dequantize(jax.random.key(0), np.random.default_rng(0).integers(0, 9, (8, 4, 4, 1)))
    run = initialized(model)
    variables, codes, log_likelihood = run(images)
    codes = np.asarray(codes).reshape(8, 2, 2, 4)
    np.testing.assert_allclose(codes.mean((0, 1, 2)), np.zeros(4), atol=1e-5)
    # A step keeps the sum of variances, and scales two of the four channels by sigmoid(2).
    gain = 1 / (1 + math.exp(-2))
    rows = codes.reshape(-1, 4) / np.array([1, 1, gain, gain])
    np.testing.assert_allclose(np.square(rows).mean(), 1, rtol=1e-4)
    first, log_scales = variables["params"]["steps_1"]["actnorm"], 0
    channels = np.asarray(squeeze(images)).reshape(-1, 4)
    np.testing.assert_allclose(first["bias"][0], -channels.mean(0), rtol=1e-4)
    np.testing.assert_allclose(np.exp(3 * first["log_scale"][0]), 1 / channels.std(0), rtol=1e-3)
    log_scales = 3 * np.sum(first["log_scale"]) + 2 * 2 * math.log(gain)  # two steps, two channels each
    expected = standard_normal_log_prob(codes) + 4 * log_scales  # four pixels
    np.testing.assert_allclose(log_likelihood, expected, rtol=1e-4)
    check_constant_batch(run, np.full(images.shape, 0.5, np.float32))


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize(
    "model, count",
    [(Glow((2, 2, 1), 1, 1, 2), 1), (SplineFlow(3, 1, (2,), 2), 1), (MaskedAutoregressiveFlow(1, 2, (2,)), 1)],
    ids=lambda value: type(value).__name__,
)
def test_gradients_of_a_flow_initialized_by_one_example(model, count):
    xs = np.random.default_rng(1).normal(size=(count, *model.example_shape)).astype(np.float32)

    def run(xs):
        variables = model.init(jax.random.key(0), xs)
        loss = lambda params: -jnp.mean(model.apply({**variables, "params": params}, xs))
        return jax.value_and_grad(loss)(variables["params"])

    loss, slopes = jax.jit(run)(xs)
    assert float(loss) < 2 * model.latent
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


@pytest.mark.slow(seconds=60)
def test_initialization_and_likelihood_on_eight_devices(run_on_devices):
    run_on_devices(Path(__file__).with_name("flow_device_checks.py"), "flows_are_those_of_one_device")


# ---- learning


@pytest.mark.parametrize(
    "model",
    [
        MaskedAutoregressiveFlow(2, 2, (16,), scan_layers=True),
        pytest.param(SplineFlow(2, 3, (32,), 6), marks=pytest.mark.slow(seconds=10)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_flow_learns_a_curve(model):
    """Points near a parabola, whose density has a known entropy."""
    std = 0.1
    rng = np.random.default_rng(0)
    first = rng.normal(size=(512, 1))
    xs = np.concatenate([first, first**2 - 1 + std * rng.normal(size=(512, 1))], 1).astype(np.float32)
    optimizer = optax.adam(1e-2)

    @jax.jit
    def train():
        variables = model.init(jax.random.key(0), xs)

        def step(carry, _):
            params, state = carry
            loss = lambda params: -jnp.mean(model.apply({**variables, "params": params}, xs))
            value, slopes = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(slopes, state)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (variables["params"], optimizer.init(variables["params"])), length=200)[1]

    with jax.numpy_dtype_promotion("standard"):
        losses = train()
    entropy = math.log(2 * math.pi * math.e) + math.log(std)
    gaussian = math.log(2 * math.pi * math.e) + 0.5 * math.log(2)
    assert losses[0] > gaussian - 0.2
    assert losses[-1] < entropy + 0.4
