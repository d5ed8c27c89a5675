"""The task of diffusion: training, guidance, captions, endpoints, evaluators, reports and wrong settings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets import data, generative, learning, tasks
from jaxnets.reports import ImageGrid, ImageStrip
from jaxnets.tasks.denoising.conditions import conditions_of, dropped, guided
from jaxnets.tasks.denoising.reports import denoising_grid
from jaxnets.training.state import create, make_step

SHAPE = (4, 4, 1)
UNET = generative.UNet(SHAPE, width=4, multipliers=(1,), num_blocks=1, attention_levels=(), num_groups=2)
CLASSES = data.Classes(("a", "b", "c"))
MAKE = functools.partial(learning.gradient, optimizer=optax.adam(3e-3))
OPTIONS = {"sampling_steps": 3, "process": generative.GaussianDiffusion(num_steps=50, last_beta=0.25, num_levels=2)}


class Constant:
    """A run of classification that knows only the mean intensity."""

    run = "runs/mean"
    variables = ()

    @staticmethod
    def predict(variables, inputs):
        means = jnp.mean(jnp.asarray(inputs["inputs"], jnp.float32).reshape(len(inputs["inputs"]), -1), axis=1)
        return jnp.stack([means, 255 - means, 0 * means], axis=1)


def images(count=16):
    """Dark images of class 0, bright ones of class 2."""
    labels = np.arange(count, dtype=np.int32) % 3
    inputs = np.where(labels == 0, 0, 255)[:, None, None] * np.ones((count, 4, 4), np.uint8)
    return {"inputs": inputs.astype(np.uint8), "targets": labels, "mask": np.arange(count) < count - 1}


@functools.cache
def trained(num_classes=3, flow=False):
    process = generative.RectifiedFlow(num_levels=2) if flow else OPTIONS["process"]
    classifier = Constant() if num_classes else None
    task = tasks.diffusion(
        UNET.clone(num_classes=num_classes, dropout=0.0),
        CLASSES,
        MAKE,
        **{**OPTIONS, "process": process},
        classifier=classifier,
    )
    batch = images()
    state = create(task.learner, batch, 0)
    step, losses = jax.jit(make_step(task.learner, 0)), []
    for _ in range(300):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    return task, task.learner.variables(state.learner), losses


FLOW = pytest.param(True, marks=pytest.mark.slow(seconds=15))


@pytest.mark.parametrize("flow", [False, FLOW])
def test_training_and_generation_of_classes(flow):
    task, variables, losses = trained(flow=flow)
    assert np.mean(losses[:3]) > 0.8 and np.mean(losses[-20:]) < 0.6 * np.mean(losses[:3])
    endpoint = task.endpoints["generate"]
    keys = jax.random.split(jax.random.key(1), 8)
    labels = jnp.asarray([0, 0, 0, 0, 2, 2, 2, 2])
    found = endpoint.function(variables, {"key": keys, "labels": labels}, guidance=1.0, steps=10)
    assert found.shape == (8, *SHAPE) and 0 <= found.min() <= found.max() <= 1
    assert np.mean(found[:4]) < 0.4 < 0.6 < np.mean(found[4:])
    same = endpoint.function(variables, {"key": keys[4:6], "labels": labels[4:6]}, guidance=1.0, steps=10)
    np.testing.assert_allclose(same, found[4:6], atol=1e-5)
    in_turn = endpoint.function(variables, {"key": keys})
    given = endpoint.function(variables, {"key": keys, "labels": jnp.arange(8) % 3})
    np.testing.assert_array_equal(in_turn, given)
    assert isinstance(endpoint.present(found)["samples"], ImageGrid)


@pytest.mark.parametrize("flow", [False, FLOW])
def test_evaluators(flow):
    task, variables, _ = trained(flow=flow)
    batch, key = images(), jax.random.key(0)
    measure = lambda name, batch: task.evaluators[name].evaluator.measure(variables, batch, key, ())[0]
    nll = jax.jit(functools.partial(measure, "nll"))(batch)
    assert float(nll["nll"].count) == 15
    bits = float(nll["bits_per_dim"].total) / 15
    assert 0 < bits < (1.2 if flow else 4)  # few steps of diffusion make a loose bound
    assert float(nll["nll"].total) / 15 == pytest.approx(bits * 16 * np.log(2), rel=1e-5)
    broken = {**batch, "inputs": np.where(batch["mask"][:, None, None], batch["inputs"], 77).astype(np.uint8)}
    for each in (batch, broken):
        assert float(measure("metrics", each)["loss"].total) == float(measure("metrics", batch)["loss"].total)
    evaluator = task.evaluators["classifier"].evaluator
    found = evaluator.compute({"test": evaluator.add(None, measure("classifier", batch))})
    assert found["test/label_accuracy"] == pytest.approx(1 / 3, abs=0.45) and "test/logit_frechet_distance" in found


@pytest.mark.slow(seconds=15)
def test_reports():
    task, variables, _ = trained()
    splits = {"validation": [images()]}
    found = task.reports["samples"](variables, splits, jax.random.key(0))
    assert {name: type(each) for name, each in found.items()} == {
        "samples": ImageGrid,
        "strip": ImageStrip,
        "denoising": ImageGrid,
    }
    assert found["denoising"].images.shape == (6 * 4, *SHAPE) and found["denoising"].columns == 4
    assert set(task.reports["guidance"](variables, splits, jax.random.key(0))) == {"guidance"}


def test_a_row_of_the_denoising_grid_ends_with_the_image():
    ends, path = np.linspace(0, 1, 3).reshape(3, 1, 1, 1), np.arange(40.0).reshape(20, 2 + 0, 1, 1, 1)[:, :1]
    grid = denoising_grid(ends[:1], path)
    assert grid.images.shape == (11, 1, 1, 1) and grid.images[-1] == ends[0]


def test_guidance_extrapolates_from_no_condition():
    conditions = conditions_of("task", UNET.clone(num_classes=3), CLASSES)
    apply = lambda xs, times, condition: xs * condition["labels"][:, None] + times[:, None]
    xs, times = jnp.arange(6.0).reshape(3, 2), jnp.array([1.0, 2.0, 3.0])
    condition = {"labels": jnp.array([0.0, 1.0, 2.0])}
    found = guided(apply, conditions, condition, 0.5)(xs, times)
    expected = 1.5 * apply(xs, times, condition) - 0.5 * apply(xs, times, {"labels": jnp.full(3, 3.0)})
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(guided(apply, conditions, condition, 0)(xs, times), apply(xs, times, condition))


def test_a_fraction_of_the_conditions_is_dropped():
    conditions = conditions_of("task", UNET.clone(num_classes=3), CLASSES)
    labels = {"labels": jnp.ones(4000, jnp.int32)}
    found = dropped(conditions, labels, jax.random.key(0), 0.25)["labels"]
    assert set(np.unique(found)) == {1, 3} and abs(np.mean(found == 3) - 0.25) < 0.03
    assert dropped(conditions, labels, jax.random.key(0), 0.0) is labels
    captions = conditions_of("task", UNET, data.Captions(("red", "square"), 4))
    given = {"tokens": jnp.ones((4000, 4), jnp.int32), "lengths": jnp.full(4000, 2)}
    found = dropped(captions, given, jax.random.key(0), 0.25)
    assert abs(np.mean(found["lengths"] == 0) - 0.25) < 0.03
    np.testing.assert_array_equal(found["tokens"], given["tokens"])


@pytest.mark.slow(seconds=20)
def test_captions():
    scenes = data.shape_scenes(batch_size=3)
    unet = generative.UNet((16, 16, 3), 4, (1, 2), 1, (), num_groups=2, context_dim=8)
    model = functools.partial(generative.TextUNet, unet, num_layers=1, num_heads=2)
    task = tasks.diffusion(model, scenes.spec, MAKE, process=generative.RectifiedFlow(), sampling_steps=2)
    batch = scenes.train[0]
    state = jax.jit(lambda batch: create(task.learner, batch, 0))(batch)
    state, metrics = jax.jit(make_step(task.learner, 0))(state, batch)
    assert np.isfinite(metrics["loss"])
    endpoint, variables = task.endpoints["generate"], task.learner.variables(state.learner)
    assert set(endpoint.inputs) == {"key", "tokens", "lengths"}
    row = endpoint.read("a red circle above a blue square")
    assert scenes.spec.decode(row["tokens"][0]) == "a red circle above a blue square" and row["lengths"] == [7]
    found = task.reports["samples"](variables, {"validation": [batch]}, jax.random.key(0))
    assert set(found) == {"captions", "samples", "strip", "denoising"}
    with pytest.raises(ValueError, match="unknown word 'pruple'; nearest: 'purple'"):
        endpoint.read("a pruple circle")
    truth = lambda variables, inputs: jnp.asarray(batch["inputs"], jnp.float32) / 255
    evaluator = tasks.scene_accuracy(scenes.spec, truth)
    outputs, _ = evaluator.measure((), {**batch, "mask": np.array([True, True, False])}, jax.random.key(0), ())
    metrics = evaluator.compute({"test": evaluator.add(None, outputs)})
    assert metrics == {"test/objects": 1, "test/relation": 1, "test/exact": 1}
    swapped = {**outputs, "tokens": outputs["tokens"][::-1], "mask": np.ones(3, bool)}
    assert evaluator.compute({"test": evaluator.add(None, swapped)})["test/objects"] < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "euler"}, "`sampler` must be one of ddim, dpm_solver, ancestral, got 'euler'"),
        ({"sampling_steps": 51}, "`steps` must be at most the 50 steps of training, got 51"),
        ({"guidance": -1}, "guidance"),
        ({"drop_condition": 1.5}, "drop_condition"),
        ({"process": generative.GaussianDiffusion(variance="learned")}, "`learned_variance` of the model must be True"),
        ({"model": UNET.clone(num_classes=2)}, "`num_classes` of the model must be 0 or 3"),
        ({"model": generative.VAE(16, 2)}, "`model` of tasks.diffusion must be a U-Net"),
        ({"spec": data.Quantities(("x",))}, "must have classes or captions or unlabeled"),
    ],
)
def test_wrong_settings(options, message):
    given = {"model": UNET, "spec": CLASSES, "make_learner": MAKE, **OPTIONS, **options}
    with pytest.raises(ValueError, match=message):
        tasks.diffusion(**given)


def test_wrong_images_and_options():
    task, variables, _ = trained()
    with pytest.raises(ValueError, match="pixels"):
        task.learner.init(jax.random.key(0), {**images(), "inputs": np.zeros((16, 5, 5), np.uint8)})
    with pytest.raises(ValueError, match="standardized"):
        task.learner.init(jax.random.key(0), {**images(), "inputs": np.full((16, 4, 4), -1.0)})
    with pytest.raises(ValueError, match="`sampler` must be one of"):
        task.endpoints["generate"].function(variables, {"key": jax.random.split(jax.random.key(0), 1)}, sampler="dmp")
