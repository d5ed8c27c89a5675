"""Autoencoders: losses, corruption, linear probes, vector quantization, reports."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from task_parts import LearnerParts, loss_of

from jaxnets import data, generative, learning, tasks
from jaxnets.tasks.generative.probe import linear_probe, principal_components, probe_accuracy
from jaxnets.training.compiled import evaluate_splits
from jaxnets.training.state import create, make_step

CLASSES = data.Classes(("a", "b"))
AUTOENCODER = generative.Autoencoder(16, 2, (8,))


def batch_of(*shape, seed=0):
    """Three images and a padded one, which is not finite."""
    inputs = np.random.default_rng(seed).uniform(size=(4, *shape)).astype(np.float32)
    inputs[3] = np.nan
    return {"inputs": inputs, "targets": np.array([0, 1, 0, 1], np.int32), "mask": np.array([True, True, True, False])}


def initial(task, batch):
    return jax.jit(lambda key: task.learner.init(key, {**batch, "inputs": batch["inputs"][:3]}))(jax.random.key(0))


@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_losses_are_sums_over_pixels_and_padding_does_not_count(loss):
    task, batch = tasks.autoencoding(AUTOENCODER, CLASSES, LearnerParts, loss=loss), batch_of(4, 4)
    variables = initial(task, batch)
    value, gradient = jax.jit(jax.value_and_grad(lambda variables: loss_of(task, variables, batch)[0]))(variables)
    chex.assert_tree_all_finite(gradient)
    xs = batch["inputs"][:3].reshape(3, 16)
    outputs = np.float64(AUTOENCODER.apply(variables, xs))
    intensities = outputs if loss == "squared_error" else 1 / (1 + np.exp(-outputs))
    squared_error = ((intensities - xs) ** 2).sum() / 3
    entropy = -(xs * np.log(1 / (1 + np.exp(-outputs))) + (1 - xs) * np.log(1 / (1 + np.exp(outputs)))).sum() / 3
    assert float(value) == pytest.approx(squared_error if loss == "squared_error" else entropy, rel=1e-5)
    found = task.evaluators["metrics"].evaluator.measure(variables, batch, jax.random.key(0), ())[0]
    assert float(found["squared_error"].total / found["squared_error"].count) == pytest.approx(squared_error, rel=1e-5)
    reconstructed = task.endpoints["reconstruct"].function(variables, {"inputs": batch["inputs"][:3]})
    np.testing.assert_allclose(reconstructed, intensities, atol=1e-5)


def test_corruption_adds_noise_and_masks_pixels_of_the_input_only():
    class Copy(nn.Module):
        """A module whose outputs are its inputs."""

        def setup(self):
            self.one = self.param("one", nn.initializers.ones, (), jnp.float32)

        def encode(self, xs):
            return xs * self.one

        def decode(self, codes):
            return codes

    batch = {"inputs": np.ones((50, 400), np.float32), "mask": np.ones(50, bool)}

    def per_pixel(**options):
        task = tasks.autoencoding(Copy(), CLASSES, LearnerParts, **options)
        return float(loss_of(task, initial(task, batch), batch)[0]) / 400

    assert per_pixel() == 0
    assert per_pixel(masking=0.25) == pytest.approx(0.25, abs=0.02)
    assert per_pixel(noise=0.5) == pytest.approx(0.25, abs=0.02)
    assert per_pixel(masking=0.25, noise=0.5) == pytest.approx(0.25 + 0.75 * 0.25, abs=0.02)


def test_training_learns_and_the_probe_uses_the_training_rows(tmp_path):
    random = np.random.default_rng(0)
    labels = np.arange(96) % 4
    prototypes = random.integers(0, 256, (4, 16))
    pixels = np.clip(prototypes[labels] + random.normal(scale=20, size=(96, 16)), 0, 255).astype(np.uint8)
    pixels = pixels.reshape(-1, 4, 4)
    np.savez(tmp_path / "a.npz", x_train=pixels[:64], y_train=labels[:64], x_test=pixels[64:], y_test=labels[64:])
    dataset = data.image_arrays(str(tmp_path / "a.npz"), batch_size=16)
    make_learner = learning.Gradient(optax.adam(1e-2))
    task = tasks.autoencoding(generative.Autoencoder(16, 3, (16,)), dataset.spec, make_learner, masking=0.1)
    state = create(task.learner, dataset.train[0], 0)
    step = jax.jit(make_step(task.learner, 0))
    for i in range(150):
        state, _ = step(state, dataset.train[i])
    variables = task.learner.variables(state.learner)
    found = evaluate_splits(task, variables, dataset, ["test"], list(task.evaluators), 0)["test"]
    variance = float((pixels / 255).reshape(96, 16).var(0).sum())
    assert found["test/squared_error"] < 0.3 * variance
    assert found["test/loss"] > found["test/squared_error"]  # inputs are corrupted
    assert {name for name in found if "probe" in name} == {f"test/probe_{name}" for name in ("codes", "inputs", "pca")}
    assert min(found[f"test/probe_{name}"] for name in ("codes", "inputs", "pca")) > 0.9
    drawn = task.reports["reconstructions"](variables, dataset.held_out, jax.random.key(0))
    assert isinstance(drawn["codes"], Figure)
    assert drawn["reconstructions"].images.shape == (3 * len(dataset.splits["validation"][0]["inputs"]), 4, 4, 1)


def test_principal_components_equal_those_of_sklearn():
    train, test = np.random.default_rng(0).normal(size=(2, 30, 5)).astype(np.float32)
    expected = PCA(2).fit(train.astype(np.float64))
    for found, xs in zip(principal_components(train, test, 2), (train, test), strict=True):
        np.testing.assert_allclose(np.abs(found), np.abs(expected.transform(xs)), atol=1e-6)


def test_probes_do_not_depend_on_the_scale_and_are_bounded():
    random = np.random.default_rng(0)
    targets = np.arange(60) % 3
    xs = random.normal(size=(60, 4)) + targets[:, None] * [2, 0, 0, 0]
    accuracy = probe_accuracy(xs[:40], targets[:40], xs[40:], targets[40:])
    assert 0.5 < accuracy < 1
    assert accuracy == probe_accuracy(1e4 * xs[:40] + 7, targets[:40], 1e4 * xs[40:] + 7, targets[40:])
    assert probe_accuracy(xs[:40], np.zeros(40), xs[40:], targets[40:]) == pytest.approx(np.mean(targets[40:] == 0))
    assert np.isnan(probe_accuracy(xs[:40] * np.nan, targets[:40], xs[40:], targets[40:]))
    evaluator = linear_probe(lambda variables, inputs: inputs)
    assert evaluator.compute({"file": [[xs, xs, targets]]}) == {}  # a file has no training rows


@pytest.fixture(scope="module")
def quantized():
    model = generative.VQVAE(num_codes=5, code_size=3, hidden=4, residual_hidden=2, num_residual_blocks=1)
    task, batch = tasks.vector_quantized(model, CLASSES, LearnerParts, commitment=0.5), batch_of(8, 8)
    return model, task, batch, initial(task, batch)


def test_loss_of_vector_quantization_equals_its_terms(quantized):
    model, task, batch, variables = quantized
    both = jax.jit(jax.value_and_grad(lambda variables: loss_of(task, variables, batch), has_aux=True))
    (value, aux), gradient = both(variables)
    chex.assert_tree_all_finite(gradient)
    xs = batch["inputs"][:3, ..., None]
    outputs, quantized = jax.jit(model.apply)(variables, xs)
    squared_error = ((np.float64(outputs) - xs) ** 2).sum() / 3
    distance = np.float64(quantized.codebook_loss).sum() / 3
    assert float(value) == pytest.approx(squared_error + 1.5 * distance, rel=1e-5)
    frequencies = np.bincount(np.ravel(quantized.indices), minlength=5) / quantized.indices.size
    expected = np.exp(-sum(p * np.log(p) for p in frequencies if p))
    assert float(aux.metrics["perplexity"]) == pytest.approx(expected, rel=1e-5)
    evaluator = task.evaluators["codes"].evaluator
    counts = jax.jit(evaluator.measure)(variables, batch, jax.random.key(0), ())[0]
    total = evaluator.add(evaluator.add(None, counts), counts)
    assert total.sum() == 2 * quantized.indices.size
    assert evaluator.compute({"test": total})["test/perplexity"] == pytest.approx(expected, rel=1e-5)


def test_report_of_vector_quantization_is_pairs_of_images(quantized):
    _, task, batch, variables = quantized
    batch = {**batch, "inputs": np.uint8(255 * np.nan_to_num(batch["inputs"][..., None]))}
    drawn = task.reports["reconstructions"](variables, {"validation": [batch]}, jax.random.key(0))
    assert drawn["reconstructions"].images.shape == (8, 8, 8, 1)
    np.testing.assert_allclose(drawn["reconstructions"].images[::2], batch["inputs"] / np.float32(255), atol=1e-6)


def test_wrong_models_inputs_and_arguments_are_errors():
    batch = batch_of(4, 4)
    with pytest.raises(ValueError, match="must be an autoencoder.* got Dense without encode, decode"):
        tasks.autoencoding(nn.Dense(3), CLASSES, LearnerParts)
    with pytest.raises(ValueError, match="must be a vector-quantized autoencoder.* without num_codes"):
        tasks.vector_quantized(AUTOENCODER, CLASSES, LearnerParts)
    with pytest.raises(ValueError, match="`encode` of the model of tasks.autoencoding must return one"):
        initial(tasks.autoencoding(generative.VAE(16, 2), CLASSES, LearnerParts), batch)
    with pytest.raises(ValueError, match="`features` of the model must be 9"):
        initial(tasks.autoencoding(AUTOENCODER, CLASSES, LearnerParts), batch_of(3, 3))
    outside = {**batch, "inputs": 2 * batch["inputs"]}
    with pytest.raises(ValueError, match=r"must be uint8, or from 0 to 1, got .* to 1\."):
        initial(tasks.autoencoding(AUTOENCODER, CLASSES, LearnerParts, loss="cross_entropy"), outside)
    initial(tasks.autoencoding(AUTOENCODER, CLASSES, LearnerParts), outside)  # a squared error has no range
    with pytest.raises(ValueError, match=r"must be \[B, H, W\] or \[B, H, W, C\], got shape \(3, 16\)"):
        initial(tasks.vector_quantized(generative.VQVAE(), CLASSES, LearnerParts), batch_of(16))
    for options in ({"loss": "hinge"}, {"noise": -1}, {"masking": 1.0}):
        with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be"):
            tasks.autoencoding(AUTOENCODER, CLASSES, LearnerParts, **options)
    with pytest.raises(ValueError, match="the data of tasks.vector_quantized must have classes or unlabeled"):
        tasks.vector_quantized(generative.VQVAE(), data.Quantities(("a",)), LearnerParts)
