"""Priors of the codes of a vector-quantized autoencoder: likelihoods, samples, labels, and wrong settings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets import data, generative, learning, tasks
from jaxnets.training.state import create, make_step

MAKE = functools.partial(learning.gradient, optimizer=optax.adam(1e-2))
CODEC = generative.VQVAE(num_codes=5, code_size=2, hidden=4, residual_hidden=2, num_residual_blocks=1)
PRIOR = generative.GatedPixelCNN((2, 2, 1), num_levels=5, hidden=8, num_layers=1, head=8, embed_dim=3)


@functools.cache
def codec():
    variables = CODEC.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    spread = jax.tree.map(lambda leaf: 20 * leaf, variables["params"]["codebook"])  # so that several codes are in use
    return tasks.TrainedModel(CODEC, {"params": {**variables["params"], "codebook": spread}}, run="runs/codes")


def images(count=16):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), np.uint8)
    return {"inputs": pixels, "targets": np.arange(count, dtype=np.int32) % 2, "mask": np.arange(count) < count - 2}


def test_likelihood_is_that_of_the_codes_of_images():
    task, batch = tasks.code_prior(PRIOR, data.Unlabeled(64), MAKE, autoencoder=codec()), images()
    state = create(task.learner, batch, 0)
    variables = task.learner.variables(state.learner)
    found = task.endpoints["predict"].function(variables, {"inputs": batch["inputs"]})["log_likelihood"]
    codes = CODEC.apply(codec().variables, batch["inputs"] / np.float32(255), method="encode")
    assert len(np.unique(codes)) > 1
    xs = codes[..., None].astype(jnp.float32) / 2 - 1
    np.testing.assert_allclose(found, PRIOR.log_prob(PRIOR.apply(variables, xs), xs), rtol=1e-5)
    hidden = batch["inputs"].copy()
    hidden[-2:] = 255  # of masked rows
    step = lambda inputs: make_step(task.learner, 0)(state, {**batch, "inputs": inputs})[1]["loss"]
    np.testing.assert_allclose(step(batch["inputs"]), -np.mean(found[:-2]), rtol=1e-5)
    np.testing.assert_allclose(step(hidden), step(batch["inputs"]), rtol=1e-6)


def test_samples_are_decoded_grids_of_codes_and_learning_makes_them_likely():
    task, batch = tasks.code_prior(PRIOR, data.Unlabeled(64), MAKE, autoencoder=codec()), images(4)
    state, step = create(task.learner, batch, 0), jax.jit(make_step(task.learner, 0))
    losses = []
    for _ in range(150):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 1 < losses[0]  # two grids: at most log 2
    variables = task.learner.variables(state.learner)
    drawn = task.endpoints["generate"].function(variables, {"key": jax.random.split(jax.random.key(0), 30)})
    codes = CODEC.apply(codec().variables, batch["inputs"][:2] / np.float32(255), method="encode")
    known = np.clip(CODEC.apply(codec().variables, codes, method="decode"), 0, 1)
    nearest = np.min(np.max(np.abs(np.asarray(drawn)[:, None] - known[None]), axis=(2, 3, 4)), axis=1)
    assert np.mean(nearest < 1e-5) > 0.8
    reports = task.reports["samples"](variables, {"validation": [batch]}, jax.random.key(0))
    assert reports["samples"].images.shape == (32, 8, 8, 1) and reports["strip"].images.shape == (8, 8, 8, 1)


@pytest.mark.slow
def test_classes():
    spec, batch = data.Classes(("a", "b")), images()
    task = tasks.code_prior(PRIOR.clone(num_classes=2), spec, MAKE, autoencoder=codec())
    state = create(task.learner, batch, 0)
    variables = task.learner.variables(state.learner)
    variables = jax.tree.map(lambda leaf: leaf + 0.1, variables)
    total = task.endpoints["predict"].function(variables, {"inputs": batch["inputs"]})["log_likelihood"]
    xs = CODEC.apply(codec().variables, batch["inputs"] / np.float32(255), method="encode")[..., None]
    xs = xs.astype(jnp.float32) / 2 - 1
    model = PRIOR.clone(num_classes=2)
    by_class = [model.log_prob(model.apply(variables, xs, jnp.full(16, k)), xs) for k in range(2)]
    np.testing.assert_allclose(total, np.logaddexp(*by_class) - np.log(2), rtol=1e-5)
    assert task.endpoints["generate"].inputs == {"key": ("batch",), "labels": ("batch",)}


def test_wrong_settings():
    make = functools.partial(tasks.code_prior, spec=data.Unlabeled(64), make_learner=MAKE)
    with pytest.raises(ValueError, match="`num_levels` must be 5, the codes of the autoencoder, got 4"):
        make(PRIOR.clone(num_levels=4), autoencoder=codec())
    with pytest.raises(ValueError, match=r"must be a run of a vector-quantized autoencoder.* VAE without num_codes"):
        make(PRIOR, autoencoder=tasks.TrainedModel(generative.VAE(64), {}))
    task = make(PRIOR.clone(image_shape=(3, 2, 1)), autoencoder=codec())
    with pytest.raises(ValueError, match=r"`image_shape` must be the grid of codes, \(2, 2, 1\), got \(3, 2, 1\)"):
        task.learner.init(jax.random.key(0), images())
