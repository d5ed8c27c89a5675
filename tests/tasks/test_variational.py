"""Variational autoencoders: bounds, likelihoods, binarization, deterministic evaluation, reports."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from matplotlib.figure import Figure
from scipy import integrate, stats
from task_parts import LearnerParts, loss_of

from jaxnets import data, generative, learning, tasks
from jaxnets.tasks.generative.likelihood import estimate_log_likelihood
from jaxnets.tasks.generative.pixels import static_bits
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
    task = tasks.variational(generative.VAE(64, 8, (64,)), digits.spec, make_learner, nll_samples=20)
    state = create(task.learner, digits.train[0], 0)
    evaluate = lambda state: evaluate_run(task, task.learner.variables(state.learner), digits, "validation", 0)
    before = evaluate(state)
    step = jax.jit(make_step(task.learner, 0))
    for i in range(150):
        state, metrics = step(state, digits.train[i])
    after = evaluate(state)
    assert after == evaluate(state)
    names = ("loss", "elbo", "reconstruction", "kl", "nll", "active_units")
    assert set(after) == {f"validation/{name}" for name in names}
    assert after["validation/nll"] < after["validation/loss"]
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
    drawn = task.reports["samples"](variables, digits.held_out, jax.random.key(0))
    assert isinstance(drawn.pop("codes"), Figure)
    counts = {"samples": 64, "reconstructions": 64, "interpolations": 8 * 11, "traversal": 8 * 11}
    assert {name: grid.images.shape for name, grid in drawn.items()} == {
        name: (count, 8, 8, 1) for name, count in counts.items()
    }
    originals = drawn["reconstructions"].images[::2]
    np.testing.assert_allclose(originals, digits.splits["validation"][0]["inputs"][:32, ..., None], atol=1e-6)
    reconstructed = task.endpoints["reconstruct"].function(variables, digits.splits["validation"][0])
    np.testing.assert_allclose(drawn["reconstructions"].images[1::2].reshape(32, 64), reconstructed[:32], atol=1e-6)


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


SPEC = data.Unlabeled(6)


def small(model=None, **options):
    """A task with ``LearnerParts``, variables, and a batch of four images of six pixels, the last one padding."""
    task = tasks.variational(model or generative.VAE(6, 2, (3,)), SPEC, LearnerParts, **options)
    inputs = np.random.default_rng(0).uniform(size=(4, 6)).astype(np.float32)
    batch = {"inputs": inputs, "mask": np.array([True, True, True, False])}
    return task, jax.jit(lambda key: task.learner.init(key, batch))(jax.random.key(1)), batch


def expected_terms(model, variables, bits, noise):
    """Log-likelihoods, log weights and divergences, in float64 by scipy."""
    apply = lambda *args, method: jax.tree.map(np.float64, model.apply(variables, *args, method=method))
    mean, log_variance = apply(bits, method="encode")
    std = np.exp(log_variance / 2)
    codes = mean + std * np.asarray(noise, np.float64)
    logits = apply(jnp.asarray(codes, jnp.float32), method="decode")
    log_likelihood = stats.bernoulli.logpmf(np.asarray(bits), 1 / (1 + np.exp(-logits))).sum(-1)
    log_weights = log_likelihood + (stats.norm.logpdf(codes) - stats.norm.logpdf(codes, mean, std)).sum(-1)
    kl = 0.5 * (mean**2 + std**2 - 1 - log_variance).sum(-1)
    return log_likelihood, log_weights, kl


@pytest.mark.parametrize("samples, dreg, beta", [(1, False, 1.0), (1, False, 4.0), (3, False, 1.0), (3, True, 1.0)])
def test_the_loss_equals_the_bound_of_scipy_and_padding_does_not_count(samples, dreg, beta):
    model = generative.VAE(6, 2, (3,))
    options = dict(num_samples=samples, doubly_reparameterized=dreg, beta=beta)
    task, variables, batch = small(model, **options)
    key = jax.random.key(3)
    loss_and_gradient = jax.jit(
        jax.value_and_grad(lambda variables, batch: loss_of(task, variables, batch, key), has_aux=True)
    )
    (loss, aux), gradient = loss_and_gradient(variables, batch)
    first, second = jax.random.split(key)
    bits = jax.random.bernoulli(first, batch["inputs"] * batch["mask"][:, None]).astype(jnp.float32)
    noise = jax.random.normal(second, (samples, 4, 2), jnp.float32)
    log_likelihood, log_weights, kl = (a[..., :3] for a in expected_terms(model, variables, bits, noise))
    bound = log_likelihood[0] - beta * kl if samples == 1 else np.log(np.mean(np.exp(log_weights), axis=0))
    assert float(loss) == pytest.approx(-bound.mean(), rel=1e-5)
    assert float(aux.metrics["kl"]) == pytest.approx(kl.mean(), rel=1e-5)
    assert float(aux.metrics["elbo"]) == pytest.approx((log_likelihood.mean(0) - kl).mean(), rel=1e-5)
    corrupted = {**batch, "inputs": np.where(batch["mask"][:, None], batch["inputs"], np.float32(np.nan))}
    chex.assert_trees_all_equal(loss_and_gradient(variables, corrupted), ((loss, aux), gradient))
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(jnp.all(jnp.isfinite(leaf))), gradient))


def test_the_likelihood_of_importance_samples_equals_quadrature():
    task, variables, batch = small(generative.VAE(6, 1, (3,)), binarization="static", nll_samples=100_000)
    bits = static_bits(jnp.asarray(batch["inputs"][:3]))
    model = generative.VAE(6, 1, (3,))
    grid = np.linspace(-9, 9, 2001, dtype=np.float32)
    logits = np.float64(model.apply(variables, grid[:, None], method="decode"))
    log_joint = stats.bernoulli.logpmf(np.asarray(bits)[:, None], 1 / (1 + np.exp(-logits))).sum(-1)
    expected = np.log(integrate.simpson(np.exp(log_joint) * stats.norm.pdf(grid), grid))
    measure = jax.jit(task.evaluators["nll"].evaluator.measure)
    total, count = measure(variables, batch, jax.random.key(0), ())[0]["nll"]
    assert int(count) == 3
    assert float(total) == pytest.approx(-expected.sum(), abs=0.01)


@pytest.mark.parametrize("samples, chunk", [(1, 1), (7, 3), (7, 7), (6, 100)])
def test_likelihoods_in_chunks_use_each_sample_once(samples, chunk):
    # The weight of every sample is the same if the encoder is the exact posterior, here the prior.
    decode = lambda codes: jnp.zeros((*codes.shape[:-1], 3)) + 0 * codes[..., :1]
    zeros = jnp.zeros((2, 1))
    found = estimate_log_likelihood(decode, jnp.ones((2, 3)), zeros, zeros, jax.random.key(0), samples, chunk)
    np.testing.assert_allclose(found, 3 * np.log(0.5), rtol=1e-5)


def test_static_bits_depend_on_the_pixels_only():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 16), np.uint8)
    images = jnp.asarray(pixels, jnp.float32) / 255
    bits = np.asarray(static_bits(images))
    order = np.random.default_rng(1).permutation(300)
    np.testing.assert_array_equal(np.asarray(static_bits(images[order])), bits[order])
    np.testing.assert_array_equal(static_bits(images[:1]), bits[:1])
    assert set(np.unique(bits)) == {0, 1}
    assert np.any(np.asarray(static_bits(images, seed=1)) != bits)
    assert abs(bits.mean() - images.mean()) < 0.02
    nearly = images.at[0, 3].add(1 / 255)
    assert np.any(np.asarray(static_bits(nearly))[0] != bits[0])
    repeated = np.asarray(static_bits(jnp.full((1000, 16), 0.5) + jnp.arange(1000)[:, None] / 4000))
    assert len(np.unique(repeated, axis=0)) > 50  # images of other gray levels have other random numbers


def test_units_name_the_binarization_and_gray_levels_have_no_likelihood():
    for binarization in ("dynamic", "static"):
        task = small(binarization=binarization)[0]
        assert task.units["nll"] == f"nats per image, {binarization} binarization"
    task, variables, batch = small(binarization="none")
    assert "not a likelihood" in task.units["loss"] and "nll" not in task.evaluators
    assert np.isfinite(float(jax.jit(lambda: loss_of(task, variables, batch)[0])()))


def test_wrong_images_models_and_arguments_are_errors():
    task, variables, batch = small()
    init = lambda inputs: task.learner.init(jax.random.key(0), {**batch, "inputs": inputs})
    with pytest.raises(ValueError, match=r"must be uint8, or from 0 to 1, got float32 .* from 0.* to 1.5"):
        init(np.where(np.arange(6) == 2, np.float32(1.5), batch["inputs"]))
    with pytest.raises(ValueError, match="from 0 to 1"):
        init(np.full((4, 6), np.float32(np.nan)))
    with pytest.raises(ValueError, match="must be uint8, or floating point"):
        init(np.zeros((4, 6), np.int32))
    with pytest.raises(ValueError, match="`features` of the model must be 5, the pixels of an image, got 6"):
        init(batch["inputs"][:, :5])
    later = {**batch, "inputs": batch["inputs"] - 1}  # a batch after the first one
    assert np.isnan(float(jax.jit(lambda: loss_of(task, variables, later)[0])()))
    conv = generative.ConvVAE((8, 8, 1), 2, (2,), (3,))
    with pytest.raises(ValueError, match="`image_shape` of the model must have 6 pixels"):
        small(conv)
    with pytest.raises(ValueError, match="must be a variational autoencoder.* got Dense without encode, decode"):
        small(nn.Dense(3))
    for options in ({"num_samples": 0}, {"nll_samples": 0}, {"beta": -1}, {"binarization": "fixed"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            small(**options)
    with pytest.raises(ValueError, match="`beta` must be 1"):
        small(num_samples=2, beta=2.0)


def test_active_units_are_those_of_all_rows_without_padding():
    task, variables, batch = small()
    evaluator = task.evaluators["active_units"].evaluator
    parts = evaluator.add(None, evaluator.measure(variables, batch, jax.random.key(0), ())[0])
    parts = evaluator.add(parts, evaluator.measure(variables, batch, jax.random.key(1), ())[0])
    assert sum(map(len, parts)) == 6
    expected = generative.active_units(np.concatenate(parts)).sum()
    assert evaluator.compute({"test": parts}) == {"test/active_units": expected}


@pytest.mark.slow(seconds=5)
def test_convolutional_model_has_equal_losses_for_vectors_and_images():
    model = generative.ConvVAE((4, 4, 1), 2, (2,), (3,))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), np.uint8)
    task = tasks.variational(model, SPEC, LearnerParts, num_samples=2, doubly_reparameterized=True)
    batch = {"inputs": pixels, "mask": np.ones(3, bool)}
    variables = task.learner.init(jax.random.key(0), batch)
    flat = {**batch, "inputs": (pixels / np.float32(255)).reshape(3, 16)}
    loss = jax.jit(lambda batch: loss_of(task, variables, batch)[0])
    assert float(loss(batch)) == pytest.approx(float(loss(flat)))
    images = task.endpoints["reconstruct"].function(variables, batch)
    assert images.shape == (3, 16)


def test_codes_of_two_units_are_drawn_on_a_grid_of_the_plane():
    task, variables, batch = small()
    drawn = task.reports["samples"](variables, {"validation": [batch]}, jax.random.key(0))
    assert drawn["traversal"].arrays["samples"].shape == (256, 6)  # six pixels are no square
    assert drawn["codes"].axes[0].get_xlabel() == "unit 1"
