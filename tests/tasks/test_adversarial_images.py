"""Adversarial networks of images: scales, losses, batch statistics, labels, wrong sizes, metrics by a classifier."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets import data, generative, learning, tasks
from jaxnets.reports import ImageGrid, ImageStrip
from jaxnets.tasks.gan import examples
from jaxnets.tasks.gan.evaluation import classified_metrics
from jaxnets.tasks.gan.players import LOSSES, players

MAKE = learning.Gradient(optax.sgd(1e-2))
CLASSES = data.Classes(("a", "b", "c"))
SMALL = generative.MaxoutGAN(features=4, latent=2, hidden_sizes=(3,), batch_norm=True, maxout_sizes=(3,), pieces=2)
LABELED = SMALL.clone(num_classes=3, pack=2)
DEEP = generative.DCGAN(image_size=16, channels=1, latent=2, width=2)


def images(*shape, dtype=np.uint8):
    values = np.random.default_rng(0).integers(0, 256, (4, *shape)).astype(np.uint8)
    targets, mask = np.array([0, 1, 2, 1], np.int32), np.array([True, True, True, False])
    return {"inputs": values if dtype == np.uint8 else (values / 255).astype(dtype), "targets": targets, "mask": mask}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_are_scaled_to_the_range_of_the_model_and_back(dtype):
    batch = images(8, 8, dtype=dtype)
    pixels = batch["inputs"].astype(np.float32).reshape(4, 8, 8, 1) / (255 if dtype == np.uint8 else 1)
    model = generative.DCGAN(image_size=8, channels=1, latent=2, width=2)
    for module, expected in ((model, 2 * pixels - 1), (SMALL.clone(features=64), pixels.reshape(4, 64))):
        found = examples.from_images(jnp.asarray(batch["inputs"]), module)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        back = examples.to_images(found, (8, 8))
        np.testing.assert_allclose(back, pixels, atol=1e-6)
        np.testing.assert_array_equal(examples.like(examples.to_images(found), batch["inputs"]).shape, (4, 8, 8))
        if dtype == np.uint8:
            np.testing.assert_array_equal(examples.like(back, batch["inputs"]), batch["inputs"])


@pytest.mark.parametrize(
    "model, shape, message",
    [
        (DEEP, (16, 16, 3), "must be those of the images, 16 x 16 x 3, got 16 x 16 x 1"),
        (DEEP, (28, 28), "must be those of the images, 28 x 28 x 1, got 16 x 16 x 1"),
        (DEEP, (9, 9), r"4, 5, 6 or 7 times a power of two \(8, 10, 12, .*\), got 9"),
        (DEEP, (8, 16), "must be square, got 8 x 16"),
        (SMALL, (2, 3), "`features` of the model must be 6, .*, got 4"),
        (SMALL, (4,), r"must have the shape \[B, H, W\] or \[B, H, W, C\], got \(4, 4\)"),
    ],
)
def test_images_of_other_sizes_are_rejected(model, shape, message):
    task = tasks.adversarial(model, CLASSES, MAKE)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(task.learner.init, jax.random.key(0), images(*shape))


@pytest.mark.parametrize(
    "model, options, message",
    [
        (SMALL.clone(num_classes=4), {}, "`num_classes` of the model must be 0 or 3 for this data, got 4"),
        (SMALL, {"loss": "logistic"}, "`loss` must be .*nonsaturating"),
        (SMALL, {"gradient_penalty": -1.0}, "`gradient_penalty` must be"),
        (SMALL, {"discriminator_steps": 0}, "`discriminator_steps` must be"),
        (DEEP, {"gradient_penalty": 10.0}, "must be 0 for a discriminator with batch normalization"),
        (SMALL, {"classifier": tasks.TrainedModel(SMALL, {}, None, "runs/x")}, "image classification, got runs/x"),
    ],
)
def test_wrong_arguments_are_rejected(model, options, message):
    with pytest.raises(ValueError, match=message):
        tasks.adversarial(model, CLASSES, MAKE, **options)


@pytest.mark.parametrize(
    "values, message",
    [
        (jnp.zeros((1, 2, 2), jnp.int32), r"tasks.adversarial must be uint8, or floating point in \[0, 1\], got int32"),
        (np.full((1, 2, 2), 255, np.float32), "the pixels of tasks.adversarial must be uint8, or from 0 to 1, got"),
        (np.full((1, 2, 2), np.nan, np.float32), "the pixels of tasks.adversarial must be uint8, or from 0 to 1, got"),
    ],
)
def test_images_outside_the_range_are_rejected(values, message):
    task = tasks.adversarial(SMALL, CLASSES, MAKE)
    with pytest.raises(ValueError, match=message):
        task.learner.init(jax.random.key(0), {"inputs": values, "targets": np.zeros(1, np.int32)})


def changed(before, after):
    """Returns the names of the subtrees that differ, as ``collection/name``."""
    pairs = [(f"{kind}/{name}", tree, after[kind][name]) for kind in before for name, tree in before[kind].items()]
    equal = lambda one, two: all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(two)))
    return {path for path, one, two in pairs if not equal(one, two)}


def test_a_step_of_each_player_changes_its_own_parameters_and_statistics():
    batch = images(2, 2)
    inputs_of = lambda batch: (examples.from_images(batch["inputs"], LABELED), batch["targets"])
    start = lambda key, batch: LABELED.init(key, jnp.zeros((2, 2)), jnp.array([0, 1]))
    variables = jax.jit(start)(jax.random.key(0), batch)
    penalties = {"wasserstein": 10.0}

    def step(loss, name):
        both = players(LABELED, MAKE.optimizer, inputs_of, loss, penalties.get(loss, 0.0), 1)
        learner = learning.alternating(lambda key, batch: variables, {name: both[name]})
        return learner.update(learner.init(jax.random.key(0), batch), batch, jax.random.key(1), jnp.int32(0))

    pairs = [(loss, name) for loss in LOSSES for name in ("discriminator", "generator")]
    results = jax.jit(lambda: [step(*pair) for pair in pairs])()  # one compilation
    expected = {
        "discriminator": {"params/discriminator"},
        "generator": {"params/generator", "batch_stats/generator"},
    }
    for (loss, name), (state, metrics) in zip(pairs, results, strict=True):
        assert changed(variables, state.variables) == expected[name], loss
        chex.assert_tree_all_finite(metrics)
        assert bool(metrics["finite"])
        assert ("discriminator_gradient_penalty" in metrics) == (loss in penalties and name == "discriminator")


@pytest.mark.slow(8)
def test_the_discriminator_normalizes_real_and_generated_images_apart():
    task, batch = tasks.adversarial(DEEP, CLASSES, MAKE), images(16, 16)
    state = task.learner.init(jax.random.key(0), batch)
    after, _ = jax.jit(task.learner.update)(state, batch, jax.random.key(1), jnp.int32(0))
    assert changed(state.variables, after.variables) == {
        f"{kind}/{name}" for kind in ("params", "batch_stats") for name in ("generator", "discriminator")
    }
    real, fake = examples.from_images(jnp.asarray(batch["inputs"]), DEEP), None
    key = jax.random.split(jax.random.fold_in(jax.random.key(1), 0), 1)[0]
    codes = jax.random.normal(jax.random.split(key)[0], (4, 2), jnp.float32)
    apply = lambda variables, xs, method: DEEP.apply(variables, xs, train=True, method=method, mutable=["batch_stats"])
    fake = apply(state.variables, codes, "generate")[0]
    seen = apply(state.variables, real, "discriminate")[1]
    seen = apply({**state.variables, **seen}, fake, "discriminate")[1]["batch_stats"]["discriminator"]
    chex.assert_trees_all_close(after.variables["batch_stats"]["discriminator"], seen, rtol=1e-4, atol=1e-6)


def test_conditional_models_generate_given_labels_and_interpolate():
    task = tasks.adversarial(LABELED, CLASSES, MAKE)
    variables = task.learner.init(jax.random.key(0), images(2, 2)).variables
    endpoint = task.endpoints["generate"]
    keys = jax.random.split(jax.random.key(2), 4)
    generate = lambda **inputs: np.asarray(endpoint.function(variables, {"key": keys, **inputs}))
    np.testing.assert_array_equal(generate(), generate(labels=np.array([0, 1, 2, 0], np.int32)))
    assert np.abs(generate() - generate(labels=np.array([1, 1, 1, 1], np.int32))).max() > 1e-4
    weight = np.array([0, 0, 1, 1], np.float32)
    mixed = generate(end_key=keys[::-1], weight=weight)
    np.testing.assert_allclose(mixed[:2], generate()[:2], atol=1e-6)
    ends = endpoint.function(variables, {"key": keys[::-1]})
    np.testing.assert_allclose(mixed[2:], ends[2:], atol=1e-6)
    assert isinstance(endpoint.present(mixed)["samples"], ImageGrid)


def test_reports_show_a_row_per_class_and_the_same_codes():
    task = tasks.adversarial(LABELED, CLASSES, MAKE)
    variables = task.learner.init(jax.random.key(0), images(2, 2)).variables
    draw = lambda seed: task.reports["samples"](variables, {"validation": [images(2, 2)]}, jax.random.key(seed))
    one, two = draw(0), draw(1)
    assert one["samples"].images.shape == (3 * 8, 2, 2, 1) and one["samples"].columns == 8
    assert isinstance(one["strip"], ImageStrip) and one["strip"].images.shape == (12, 2, 2, 1)
    np.testing.assert_array_equal(one["strip"].images, two["strip"].images)
    assert not np.array_equal(one["samples"].images, two["samples"].images)


def test_metrics_by_a_classifier_equal_their_definitions():
    random = np.random.default_rng(0)
    real, fake = random.normal(size=(40, 3)).astype(np.float32), 4 * random.normal(size=(30, 3)).astype(np.float32)
    labels = np.arange(30) % 3
    found = classified_metrics(real, fake, labels)
    probabilities = np.asarray(jax.nn.softmax(fake, axis=-1))
    shares = [np.mean(probabilities.argmax(1) == c) for c in range(3)]
    moments = (generative.feature_moments(real), generative.feature_moments(fake))
    expected = {
        "logit_frechet_distance": generative.frechet_distance(*moments),
        **generative.sample_quality(real, fake)._asdict(),
        "confident": np.mean(probabilities.max(1) >= 0.9),
        "min_class_share": min(shares),
        "max_class_share": max(shares),
        "label_accuracy": np.mean(probabilities.argmax(1) == labels),
    }
    assert found == pytest.approx(expected)
    assert 0 < found["confident"] < 1
    assert "label_accuracy" not in classified_metrics(real, fake)


def test_the_classifier_sees_images_like_those_of_the_data_and_no_padding():
    seen = []

    def predict(variables, inputs):
        seen.append((inputs["inputs"].shape, inputs["inputs"].dtype))
        flat = inputs["inputs"].reshape(-1, 4)[:, :3].astype(jnp.float32)
        return flat * variables["scale"]

    classifier = tasks.TrainedModel(SMALL, {"scale": np.float32(0.1)}, predict, "runs/stub")
    task = tasks.adversarial(LABELED, CLASSES, MAKE, classifier=classifier)
    scheduled = task.evaluators["classifier"]
    assert scheduled.every == 0 and task.units == {"logit_frechet_distance": "on the logits of runs/stub"}
    batch = images(2, 2)
    variables = task.learner.init(jax.random.key(0), batch).variables
    outputs, _ = scheduled.evaluator.measure(variables, batch, jax.random.key(1), ())
    assert seen == [((4, 2, 2), np.uint8)] * 2
    np.testing.assert_allclose(outputs["real"], predict({"scale": np.float32(0.1)}, batch))
    parts = scheduled.evaluator.add(scheduled.evaluator.add(None, outputs), outputs)
    assert [len(part["fake"]) for part in parts] == [3, 3]
    metrics = scheduled.evaluator.compute({"test": parts})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in ("real", "fake", "labels")}
    assert metrics == {f"test/{name}": value for name, value in classified_metrics(**joined).items()}
    wrong = classifier._replace(predict=lambda variables, inputs: jnp.zeros(4))
    evaluator = tasks.adversarial(LABELED, CLASSES, MAKE, classifier=wrong).evaluators["classifier"].evaluator
    with pytest.raises(ValueError, match=r"must have logits \[B, C\] for images, got other outputs of runs/stub"):
        evaluator.measure(variables, batch, jax.random.key(1), ())
