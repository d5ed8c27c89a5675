"""The task of autoregressive models of images: likelihoods, levels, endpoints, reports, wrong settings."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets import data, generative, learning, tasks
from jaxnets.reports import ImageGrid
from jaxnets.tasks.generative.pixels import static_bits
from jaxnets.training.compiled import evaluate_run
from jaxnets.training.state import create, make_step

SHAPE = (8, 8, 1)
SMALL = generative.PixelCNN(image_shape=SHAPE, hidden=4, num_blocks=1, head=4)
CLASSES = data.Classes(tuple("abc"))
MAKE = functools.partial(learning.gradient, optimizer=optax.adam(1e-2))


def images(count=4, dtype=np.uint8):
    values = np.random.default_rng(0).integers(0, 256, (count, 8, 8)).astype(np.uint8)
    inputs = values if dtype == np.uint8 else (values / 255).astype(dtype)
    return {"inputs": inputs, "targets": np.arange(count, dtype=np.int32) % 3, "mask": np.arange(count) < count - 1}


@pytest.fixture(scope="module")
def digits():
    return data.digits(read_as="images", batch_size=64)


def test_training_lowers_the_likelihood_of_digits_and_samples_have_their_shape(digits):
    task = tasks.autoregressive_images(SMALL.clone(num_classes=10), digits.spec, MAKE)
    state = create(task.learner, digits.train[0], 0)
    evaluate = lambda state: evaluate_run(task, task.learner.variables(state.learner), digits, "validation", 0)
    step = jax.jit(make_step(task.learner, 0))
    for i in range(60):
        state, metrics = step(state, digits.train[i])
    after = evaluate(state)
    assert after == evaluate(state) and set(after) == {"validation/loss", "validation/bits_per_dim"}
    assert after["validation/loss"] < 28  # 44.4 for equal probabilities
    assert after["validation/bits_per_dim"] == pytest.approx(after["validation/loss"] / 64 / math.log(2), rel=1e-5)
    assert float(metrics["bits_per_dim"]) == pytest.approx(float(metrics["loss"]) / 64 / math.log(2), rel=1e-5)
    variables = task.learner.variables(state.learner)
    reports = task.reports["samples"](variables, {"validation": digits.splits["validation"]}, jax.random.key(1))
    assert {name: type(each) for name, each in reports.items()}["samples"] is ImageGrid
    assert reports["samples"].images.shape == (32, *SHAPE) and set(reports) == {
        "samples",
        "strip",
        "least_and_most_likely",
    }
    endpoint = task.endpoints["generate"]
    keys = jax.random.split(jax.random.key(2), 3)
    found = endpoint.function(variables, {"key": keys, "labels": jnp.asarray([4, 4, 7], jnp.int32)})
    np.testing.assert_array_equal(np.unique(found), [0, 1])
    alone = endpoint.function(variables, {"key": keys[1:2], "labels": jnp.asarray([4], jnp.int32)})
    np.testing.assert_array_equal(alone[0], found[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_static_bits_do_not_depend_on_the_key_and_padding_does_not_count(dtype):
    task = tasks.autoregressive_images(SMALL, CLASSES, MAKE)
    batch = images(dtype=dtype)
    state = create(task.learner, batch, 0)
    variables = task.learner.variables(state.learner)
    measure = jax.jit(task.evaluators["metrics"].evaluator.measure)
    values = [measure(variables, batch, jax.random.key(seed), ())[0]["loss"] for seed in (0, 1)]
    padded = {**batch, "inputs": batch["inputs"].copy()}
    padded["inputs"][-1] = 0 if dtype == np.uint8 else np.nan
    values.append(measure(variables, padded, jax.random.key(2), ())[0]["loss"])
    assert len({float(each.total) for each in values}) == 1 and float(values[0].count) == 3
    bits = (
        2 * static_bits(jnp.asarray(batch["inputs"], jnp.float32).reshape(4, 64) / (255 if dtype == np.uint8 else 1))
        - 1
    )
    xs = bits.reshape(4, *SHAPE)
    expected = -SMALL.log_prob(SMALL.apply(variables, xs), xs)[:3].sum()
    assert float(values[0].total) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("levels", [4, 16, 256])
def test_bytes_are_divided_into_equal_intervals(levels):
    class Recorded(generative.PixelCNN):
        def log_prob(self, outputs, xs):
            return jnp.sum(jnp.round((xs + 1) * ((self.num_levels - 1) / 2)).reshape(len(xs), -1), axis=1)

    model = Recorded(image_shape=(1, 1, 1), num_levels=levels, hidden=2, num_blocks=0, head=2)
    task = tasks.autoregressive_images(model, CLASSES, MAKE, binarization="none")
    batch = {"inputs": np.arange(256, dtype=np.uint8).reshape(-1, 1, 1), "mask": np.ones(256, bool)}
    variables = task.learner.variables(create(task.learner, batch, 0).learner)
    for inputs in (batch["inputs"], (batch["inputs"] / 255).astype(np.float32)):
        found = task.endpoints["predict"].function(variables, {"inputs": inputs})["log_likelihood"]
        np.testing.assert_array_equal(found, np.arange(256) * levels // 256)


def test_predict_returns_the_likelihood_of_each_image():
    task = tasks.autoregressive_images(SMALL, CLASSES, MAKE)
    batch = images()
    variables = task.learner.variables(create(task.learner, batch, 0).learner)
    found = task.endpoints["predict"].function(variables, {"inputs": batch["inputs"]})["log_likelihood"]
    xs = 2 * (batch["inputs"] > 127).astype(np.float32).reshape(4, *SHAPE) - 1
    np.testing.assert_allclose(found, SMALL.log_prob(SMALL.apply(variables, xs), xs), rtol=1e-5)


@pytest.mark.parametrize(
    "model, options, inputs, message",
    [
        (SMALL, {"binarization": "none"}, None, "must be static or dynamic for a model of 2 levels, got none"),
        (SMALL.clone(num_levels=4), {}, None, "`binarization` must be none for a model of 4 levels, got static"),
        (SMALL, {"binarization": "random"}, None, "`binarization` must be one of dynamic, static, none"),
        (SMALL.clone(num_classes=4), {}, None, "`num_classes` of the model must be 0 or 3 for this data, got 4"),
        (generative.VAE(64), {}, None, "tasks.autoregressive_images"),
        (SMALL, {}, np.zeros((2, 9, 9), np.uint8), r"`image_shape` of the model must have 81 pixels"),
        (SMALL, {}, np.full((2, 8, 8), 2, np.float32), "must be uint8, or from 0 to 1"),
    ],
)
def test_wrong_settings_are_rejected(model, options, inputs, message):
    with pytest.raises(ValueError, match=message):
        task = tasks.autoregressive_images(model, CLASSES, MAKE, **options)
        task.learner.init(jax.random.key(0), {"inputs": inputs, "mask": np.ones(2, bool)})


def test_a_model_of_classes_predicts_the_likelihood_of_each_class():
    model = SMALL.clone(num_classes=3)
    task = tasks.autoregressive_images(model, CLASSES, MAKE)
    batch = images()
    variables = task.learner.variables(create(task.learner, batch, 0).learner)
    found = task.endpoints["predict"].function(variables, {"inputs": batch["inputs"]})
    xs = 2 * (batch["inputs"] > 127).astype(np.float32).reshape(4, *SHAPE) - 1
    expected = [model.log_prob(model.apply(variables, xs, jnp.full(4, label, jnp.int32)), xs) for label in range(3)]
    np.testing.assert_allclose(found["class_log_likelihoods"], np.stack(expected, 1), rtol=1e-5)
    mean = np.log(np.mean(np.exp(np.stack(expected, 1, dtype=np.float64)), axis=1))
    np.testing.assert_allclose(found["log_likelihood"], mean, rtol=1e-5)
