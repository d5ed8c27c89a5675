"""Image classification: standardization, augmentation, label smoothing, figures and invalid options."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from task_parts import LearnerParts, loss_of, means, measured
from task_parts import figures as drawn

from jaxnets import tasks
from jaxnets.convolution import BatchNorm
from jaxnets.data import Classes
from jaxnets.learning import gradient, with_ema
from jaxnets.learning.optimizers import sgd
from jaxnets.reports import figures
from jaxnets.training.state import create, make_step

RANDOM = np.random.default_rng(0)
CLASSES = Classes(tuple("abcdefg"))
BATCH = {
    "inputs": RANDOM.integers(0, 256, (12, 6, 6, 3), np.uint8),
    "targets": RANDOM.integers(0, 7, 12).astype(np.int32),
    "mask": np.arange(12) < 10,
}
AUGMENTED = {"crop": 1, "scale": 0.5, "flip": True, "rotation": 10.0, "cutout": 2, "mixup": 0.2, "label_smoothing": 0.1}


class Small(nn.Module):
    auxiliary: bool = False

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Conv(4, (3, 3))(images)
        x = BatchNorm()(x, train).mean((1, 2))
        logits, other = nn.Dense(7)(x), nn.Dense(7)(x)
        return (logits, other) if self.auxiliary and train else logits


class FirstPixels(nn.Module):
    """A model whose logits are the first pixels of an image."""

    @nn.compact
    def __call__(self, images, train=False):
        return images.reshape(len(images), -1)[:, :7] + self.param("zero", nn.initializers.zeros, ())


def nats(logits, targets):
    return -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), targets[:, None], 1)[:, 0]


def test_metrics_are_those_of_standardized_images():
    task = tasks.image_classification(
        FirstPixels(), CLASSES, make_learner=LearnerParts, mean=(0.1, 0.2, 0.3), std=(0.5,)
    )
    found = means(task, task.learner.init(jax.random.key(0), BATCH), BATCH)
    logits = ((BATCH["inputs"] / 255 - [0.1, 0.2, 0.3]) / 0.5).reshape(12, -1)[:, :7]
    mask = BATCH["mask"]
    ranks = (logits > np.take_along_axis(logits, BATCH["targets"][:, None], 1)).sum(1)
    expected = {
        "loss": nats(logits, BATCH["targets"])[mask].mean(),
        "accuracy": (ranks == 0)[mask].mean(),
        "top_5_accuracy": (ranks < 5)[mask].mean(),
    }
    assert found == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_equals_its_formula():
    task = tasks.image_classification(FirstPixels(), CLASSES, make_learner=LearnerParts, label_smoothing=0.3)
    loss, _ = loss_of(task, task.learner.init(jax.random.key(0), BATCH), BATCH)
    logits = ((BATCH["inputs"] / 255 - 0.5) / 0.25).reshape(12, -1)[:, :7]
    losses = 0.7 * nats(logits, BATCH["targets"]) + 0.3 * np.mean([nats(logits, np.full(12, c)) for c in range(7)], 0)
    assert float(loss) == pytest.approx(losses[BATCH["mask"]].mean(), rel=1e-5)


def test_augmentation_depends_on_the_key_and_is_off_in_evaluation():
    task = tasks.image_classification(Small(), CLASSES, make_learner=LearnerParts, **AUGMENTED)
    variables = task.learner.init(jax.random.key(0), BATCH)
    loss = jax.jit(lambda key: loss_of(task, variables, BATCH, key)[0])
    losses = [float(loss(jax.random.key(seed))) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    plain = tasks.image_classification(Small(), CLASSES, make_learner=LearnerParts)
    assert measured(task, variables, BATCH) == measured(plain, variables, BATCH)


def test_training_updates_batch_statistics_and_the_average_of_parameters():
    task = tasks.image_classification(Small(), CLASSES, make_learner=LearnerParts)
    learner = with_ema(gradient(*task.learner, sgd(10, 0.5, momentum=0.9, nesterov=True)), 0.99)
    state = create(learner, BATCH, 0)
    step = jax.jit(make_step(learner, 0))
    means_seen, biases = [], []
    for _ in range(3):
        state, _ = step(state, BATCH)
        means_seen.append(np.asarray(state.learner.variables["batch_stats"]["BatchNorm_0"]["mean"]))
        biases.append(np.asarray(state.learner.variables["params"]["Dense_0"]["bias"]))
    assert not np.allclose(means_seen[0], means_seen[1])
    expected = np.zeros(7)
    for decay, bias in zip((1 / 10, 2 / 11, 3 / 12), biases, strict=True):
        expected = decay * expected + (1 - decay) * bias
    used = learner.variables(state.learner)
    assert set(used) == {"params", "batch_stats"}
    np.testing.assert_allclose(used["params"]["Dense_0"]["bias"], expected, atol=1e-7)


def test_batch_statistics_are_updated_in_every_accumulation_step():
    task = tasks.image_classification(Small(), CLASSES, make_learner=LearnerParts)
    learner = gradient(*task.learner, sgd(10, 0.1), grad_accum_steps=2)
    batch = {**BATCH, "mask": np.ones(12, bool)}
    state = create(learner, batch, 0)
    accumulated, _ = jax.jit(make_step(learner, 0))(state, batch)
    variables = state.learner.variables
    for rows in (slice(0, 6), slice(6, 12)):
        half = jax.tree.map(lambda a, rows=rows: a[rows], batch)
        variables = {**variables, **loss_of(task, variables, half)[1].updated}
    expected = variables["batch_stats"]["BatchNorm_0"]["mean"]
    found = accumulated.learner.variables["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_auxiliary_heads_have_a_weight_of_three_tenths():
    task = tasks.image_classification(Small(auxiliary=True), CLASSES, make_learner=LearnerParts)
    variables = task.learner.init(jax.random.key(0), BATCH)
    loss, _ = loss_of(task, variables, BATCH)
    images = (BATCH["inputs"] / np.float32(255) - 0.5) / 0.25
    outputs, _ = Small(auxiliary=True).apply(variables, images, train=True, mutable=["batch_stats"])
    main, auxiliary = (nats(logits, BATCH["targets"])[BATCH["mask"]].mean() for logits in outputs)
    assert float(loss) == pytest.approx(main + 0.3 * auxiliary, rel=1e-4)


def test_figures_are_drawn():
    task = tasks.image_classification(Small(), CLASSES, make_learner=LearnerParts)
    found = drawn(task, task.learner.init(jax.random.key(0), BATCH), [BATCH, BATCH])
    assert set(found) == {"confusion", "mistakes", "filters"}
    assert len(found["filters"].axes) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": -1}, "`crop` must be a number of at least 0, got -1"),
        ({"scale": 0.0}, "`scale` must be above 0 and at most 1, got 0.0"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be a number in \[0, 1\), got 1.0"),
        ({"std": (0.0,)}, r"`std` must be positive, got \(0.0,\)"),
        ({"std": ()}, "`std` must have 1 number or one for each of 3 channels, got 0"),
        ({"mean": (0.1, 0.2)}, "`mean` must have 1 number or one for each of 3 channels, got 2"),
    ],
)
def test_invalid_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        tasks.image_classification(Small(), CLASSES, make_learner=LearnerParts, **options).learner.init(
            jax.random.key(0), BATCH
        )


def test_data_without_images_is_rejected():
    task = tasks.image_classification(Small(), CLASSES, make_learner=LearnerParts)
    with pytest.raises(ValueError, match=r"must be uint8 \[B, H, W, channels\], got float32 of shape"):
        task.learner.init(jax.random.key(0), {**BATCH, "inputs": jnp.zeros((2, 5, 5))})


NAMES = ("$a$", "caf\udce9", "\ud83d", "line\nend\0", "", "a" * 255, r"\$\frac{$")


def test_class_names_are_drawn_literally():
    count = len(NAMES)
    batch = {"inputs": np.zeros((count, 2, 2, 3), np.uint8), "mask": np.ones(count, bool), "targets": np.arange(count)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # about missing glyphs; a figure measures its text for its layout
        figure = figures.confusion_matrix(batch["targets"], batch["targets"][::-1], batch["mask"], NAMES)
        figures.mistakes(np.eye(count)[::-1], batch, NAMES, count)
        figures.predicted_vs_true(np.zeros((3, 2)), np.ones((3, 2)), NAMES[:2])
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in labels[:4]] == [r"\$a\$", r"caf\xe9", r"\ud83d", r"line\nend\x00"]
    assert labels[0]._preprocess_math(labels[0].get_text()) == ("$a$", False)  # not a formula
    assert max(len(label.get_text()) for label in labels) < 40


def test_figures_without_examples_are_drawn():
    batch = {"inputs": np.zeros((2, 2, 2, 3), np.uint8), "mask": np.zeros(2, bool), "targets": np.arange(2)}
    figures.mistakes(np.eye(2), batch, "ab")
    figures.confusion_matrix(batch["targets"], batch["targets"], batch["mask"], "ab")
