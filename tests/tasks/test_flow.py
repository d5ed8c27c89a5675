"""The task of normalizing flows: likelihoods of images and rows, noise, endpoints, reports, wrong settings."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxnets import data, generative, learning, tasks
from jaxnets.reports import Arrays, ImageGrid
from jaxnets.training.compiled import evaluate_run
from jaxnets.training.state import create, make_step

MAKE = functools.partial(learning.gradient, optimizer=optax.adam(3e-3))
GLOW = generative.Glow((4, 4, 1), levels=1, steps=1, width=4)
ROWS = generative.SplineFlow(2, num_layers=2, hidden_sizes=(8,))
CLASSES = data.Classes(("a", "b"))


def images(count=8, dtype=np.uint8):
    values = np.random.default_rng(0).integers(0, 256, (count, 4, 4)).astype(np.uint8)
    inputs = values if dtype == np.uint8 else (values / 255).astype(dtype)
    return {"inputs": inputs, "targets": np.arange(count, dtype=np.int32) % 2, "mask": np.ones(count, bool)}


@functools.cache
def variables_of(task_name, dtype=np.uint8):
    model, batch = (GLOW, images(dtype=dtype)) if task_name == "images" else (ROWS, rows())
    task = tasks.flow(model, CLASSES, MAKE)
    return task, task.learner.variables(create(task.learner, batch, 0).learner), batch


def rows(count=64):
    inputs = np.random.default_rng(1).normal(size=(count, 2)).astype(np.float32)
    return {"inputs": inputs, "targets": np.zeros(count, np.int32), "mask": np.arange(count) < count - 3}


def test_a_flow_learns_rows_and_their_entropy_is_the_limit():
    ring = data.gaussian_ring(modes=4, std=0.1, batch_size=256)
    task = tasks.flow(ROWS, ring.spec, MAKE)
    state = create(task.learner, ring.train[0], 0)
    step = jax.jit(make_step(task.learner, 0))
    evaluate = lambda state: evaluate_run(task, task.learner.variables(state.learner), ring, "validation", 0)
    before = evaluate(state)
    for i in range(250):
        state, _ = step(state, ring.train[i])
    after = evaluate(state)
    entropy = 2 * stats.norm(0, 0.1).entropy() + math.log(4)  # of separate modes
    assert set(after) == {"validation/loss"}
    assert entropy - 0.2 < after["validation/loss"] < before["validation/loss"] - 0.8


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_likelihood_of_images_is_that_of_their_intensities(dtype):
    task, variables, batch = variables_of("images", dtype)
    found = task.endpoints["predict"].function(variables, {"inputs": batch["inputs"]})["log_likelihood"]
    intensities = images()["inputs"].astype(np.float32)
    centers = ((intensities + 0.5) / 256 - 0.5)[..., None]
    expected = GLOW.apply(variables, jnp.asarray(centers)) - 16 * math.log(256)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    alone = task.endpoints["predict"].function(variables, {"inputs": batch["inputs"][3:4]})["log_likelihood"]
    np.testing.assert_allclose(alone[0], found[3], rtol=1e-5)


def test_evaluation_repeats_its_noise_and_ignores_padding():
    task, variables, batch = variables_of("images")
    measure = jax.jit(task.evaluators["metrics"].evaluator.measure)
    batch = {**batch, "mask": np.arange(8) < 6}
    one, two, other = (measure(variables, batch, jax.random.key(seed), ())[0] for seed in (0, 0, 1))
    assert float(one["loss"].total) == float(two["loss"].total) != float(other["loss"].total)
    assert float(one["loss"].count) == 6
    np.testing.assert_allclose(one["bits_per_dim"].total, one["loss"].total / 16 / math.log(2), rtol=1e-5)
    task, variables, batch = variables_of("rows")
    broken = {**batch, "inputs": np.where(batch["mask"][:, None], batch["inputs"], np.nan)}
    values = [
        task.evaluators["metrics"].evaluator.measure(variables, each, jax.random.key(0), ())[0]
        for each in (batch, broken)
    ]
    assert float(values[0]["loss"].total) == float(values[1]["loss"].total)


def test_codes_are_decoded_to_their_examples_and_samples_are_independent():
    task, variables, batch = variables_of("rows")
    codes = task.endpoints["encode"].function(variables, batch)
    decoded = ROWS.apply(variables, codes, method="decode")
    np.testing.assert_allclose(decoded[:-3], batch["inputs"][:-3], atol=1e-4)
    generate = task.endpoints["generate"]
    keys = jax.random.split(jax.random.key(3), 4)
    many = generate.function(variables, {"key": keys})
    np.testing.assert_allclose(generate.function(variables, {"key": keys[2:3]})[0], many[2], rtol=1e-4, atol=1e-5)
    ends = {"key": keys, "end_key": keys[::-1], "weight": jnp.asarray([0.0, 1.0, 0.0, 1.0])}
    np.testing.assert_allclose(generate.function(variables, ends)[:2], many[jnp.asarray([0, 2])], rtol=1e-3, atol=1e-4)
    assert isinstance(generate.present(many)["samples"], Arrays)


def test_reports_show_samples_interpolations_and_changes_of_class():
    task, variables, batch = variables_of("images")
    found = task.reports["samples"](variables, {"validation": [batch]}, jax.random.key(0))
    assert set(found) == {"samples", "interpolations", "class_changes"}
    assert all(isinstance(each, ImageGrid) for each in found.values())
    assert found["class_changes"].images.shape == (2 * 11, 4, 4, 1)
    first = (batch["inputs"][:2].astype(np.float32) + 0.5) / 256
    np.testing.assert_allclose(found["class_changes"].images[::11, ..., 0], first, atol=1e-3)


@pytest.mark.parametrize(
    "model, batch, message",
    [
        (GLOW, {"inputs": np.zeros((2, 5, 5), np.uint8)}, r"those of the data, \(5, 5\), got 4 x 4 x 1"),
        (GLOW, {"inputs": np.full((2, 4, 4), 3, np.float32)}, "must be uint8, or from 0 to 1"),
        (ROWS, {"inputs": np.zeros((2, 3), np.float32)}, r"those of the data, \(3,\), got 2"),
        (generative.VAE(4), {}, "tasks.flow"),
    ],
)
def test_wrong_examples_and_models_are_rejected(model, batch, message):
    with pytest.raises(ValueError, match=message):
        task = tasks.flow(model, CLASSES, MAKE)
        task.learner.init(jax.random.key(0), {**batch, "mask": np.ones(2, bool)})


def test_the_table_of_tumors_is_split_and_standardized():
    tumors = data.breast_cancer(batch_size=0)
    assert tumors.spec.names == ("malignant", "benign")
    train = tumors.train[0]["inputs"]
    test = tumors.splits["test"]
    assert train.shape == (398, 30) and sum(int(test[i]["mask"].sum()) for i in range(len(test))) == 86
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(0), 1, rtol=1e-3)
