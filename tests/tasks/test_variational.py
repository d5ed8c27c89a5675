"""Variational autoencoders: terms of the bound, deterministic evaluation, samples."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import integrate, stats

from jaxnets import data, generative, learning, tasks
from jaxnets.training.compiled import evaluate_run
from jaxnets.training.state import create, make_step


def test_the_kl_divergence_equals_quadrature():
    mean, log_variance = 0.7, -0.4
    q, p = stats.norm(mean, np.exp(log_variance / 2)), stats.norm()
    expected, _ = integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -10, 10)
    found = generative.standard_normal_kl(jnp.array([mean, 0.0]), jnp.array([log_variance, 0.0]))
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(generative.standard_normal_kl(jnp.zeros(3), jnp.zeros(3))) == 0


def test_the_bernoulli_likelihood_equals_that_of_scipy():
    logits, bits = np.array([-3.0, 0.5, 80.0, -80.0]), np.array([0.0, 1.0, 1.0, 0.0])
    expected = stats.bernoulli.logpmf(bits, 1 / (1 + np.exp(-logits))).sum()
    found = generative.bernoulli_log_prob(jnp.asarray(logits, jnp.float32), jnp.asarray(bits, jnp.float32))
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("hidden, latent, count", [((400,), 20, 652_824), ((500,), 20, 815_824), ((200,), 50, 344_884)])
def test_parameter_counts_equal_those_of_the_published_networks(hidden, latent, count):
    model = generative.VAE(784, latent, hidden)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 784)), jnp.zeros((1, latent)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


@pytest.fixture(scope="module")
def digits():
    return data.digits(batch_size=100)


def test_training_raises_the_bound_and_evaluation_is_deterministic(digits):
    make_learner = functools.partial(learning.gradient, optimizer=optax.adam(3e-3))
    task = tasks.variational(generative.VAE(64, 8, (64,)), digits.spec, make_learner)
    state = create(task.learner, digits.train[0], 0)
    evaluate = lambda state: evaluate_run(task, task.learner.variables(state.learner), digits, "validation", 0)
    before = evaluate(state)
    step = jax.jit(make_step(task.learner, 0))
    for i in range(150):
        state, metrics = step(state, digits.train[i])
    after = evaluate(state)
    assert after == evaluate(state)
    assert set(after) == {f"validation/{name}" for name in ("loss", "elbo", "reconstruction", "kl")}
    assert after["validation/loss"] < before["validation/loss"] - 12
    assert after["validation/elbo"] == pytest.approx(
        after["validation/reconstruction"] - after["validation/kl"], rel=1e-4
    )
    assert float(metrics["elbo"]) == pytest.approx(float(metrics["reconstruction"] - metrics["kl"]), rel=1e-4)
    variables = task.learner.variables(state.learner)
    keys = jax.random.split(jax.random.key(1), 5)
    samples = task.endpoints["generate"].function(variables, {"key": keys})
    chex.assert_shape(samples, (5, 64))
    assert float(samples.min()) >= 0
    assert float(samples.max()) <= 1
    alone = task.endpoints["generate"].function(variables, {"key": keys[2:3]})
    np.testing.assert_allclose(alone[0], samples[2], atol=1e-6)  # rows are independent
    report = task.reports["samples"](variables, digits.held_out, jax.random.key(0))["samples"]
    assert report.images.shape == (64, 8, 8, 1)


def test_uint8_images_equal_images_from_0_to_1(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=pixels, x_test=pixels[:5])
    dataset = data.image_arrays(str(tmp_path / "a.npz"), batch_size=8, target_type="none")
    make_learner = functools.partial(learning.gradient, optimizer=optax.adam(3e-3))
    task = tasks.variational(generative.VAE(16, 2, (4,)), dataset.spec, make_learner)
    batch = dataset.train[0]
    state = create(task.learner, batch, 0)
    found = [
        jax.jit(make_step(task.learner, 0))(state, {**batch, "inputs": inputs})[1]["loss"]
        for inputs in (batch["inputs"], batch["inputs"].astype(np.float32) / np.float32(255))
    ]
    assert found[0] == found[1]
