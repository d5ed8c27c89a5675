"""Autoregressive models of images, trained by maximum likelihood."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnets.data.targets import Classes, Unlabeled
from jaxnets.generative import bits_per_dim
from jaxnets.generative.autoregressive.levels import from_levels
from jaxnets.learning import Aux, MakeLearner, ScheduledEvaluator, mean_over, means
from jaxnets.ops.checks import check_choice, check_integer, check_probability
from jaxnets.ops.masks import masked_mean
from jaxnets.tasks.generative import pictures
from jaxnets.tasks.generative.labels import check_num_classes
from jaxnets.tasks.generative.pixels import (
    BINARIZATIONS,
    check_model_inputs,
    check_pixels,
    flat_pixels,
    levels_of,
    targets_of,
)
from jaxnets.tasks.generative.sampled_images import generate_endpoint, likelihoods_by_class, sample_reports
from jaxnets.tasks.models import Model, call_factory, check_members, check_spec
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

EXTREMES = 16


def autoregressive_images(
    model: Model,
    spec: Classes | Unlabeled,
    make_learner: MakeLearner,
    *,
    binarization: str = "static",
    mutation: float = 0.0,
) -> Task:
    r"""Returns the task of a ``generative.PixelCNN``, ``GatedPixelCNN`` or ``PixelCNNPlusPlus`` on images.

    The loss is the mean negative log-likelihood of an image in nats, which is exact:

    .. math:: -\sum_i \log p(x_i | x_1, \dots, x_{i-1})

    The metric ``bits_per_dim`` is this divided by the numbers of an image and by log 2. Images are uint8 or in [0, 1].
    With ``num_levels=2`` they are sampled as bits; with L levels, intensities are divided into L equal intervals.

    The endpoint ``predict`` returns ``log_likelihood`` of each image, in nats. For a model of classes, it is that of
    equally frequent classes, beside ``class_log_likelihoods``, ``[B, K]``.

    Args:
        model: A model such as ``generative.PixelCNN``: pixels in [-1, 1], ``[B, H, W, C]``, to the outputs of each
            pixel, with the methods ``log_prob`` and ``sample`` and the attributes ``image_shape``, ``num_levels`` and
            ``num_classes``.
        spec: ``Classes`` for a model of classes, else any labels, which are not used.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        binarization: For two levels: ``"static"``: each image has the same bits in all steps and runs. ``"dynamic"``:
            bits are sampled in each step. ``"none"`` for more levels.
        mutation: Probability of each number of an image to be replaced by a random level in training, for the
            background model of ``tasks.likelihood_detection`` (Ren et al. 2019, arXiv:1906.02845).

    Raises:
        ValueError: An argument is out of range, the model lacks a method, or ``Learner.init`` gets other images.
    """
    check_spec("tasks.autoregressive_images", spec, Classes, Unlabeled)
    check_choice("binarization", binarization, BINARIZATIONS)
    check_probability("mutation", mutation)
    module: Any = model if isinstance(model, nn.Module) else call_factory(model, {})
    kind = "an autoregressive model of images, such as generative.PixelCNN"
    check_members("tasks.autoregressive_images", module, kind, "log_prob", "sample", "image_shape", "num_levels")
    levels: int = module.num_levels
    check_integer("num_levels", levels, minimum=2)
    if (levels == 2) != (binarization != "none"):
        allowed = "static or dynamic" if levels == 2 else "none"
        raise ValueError(f"`binarization` must be {allowed} for a model of {levels} levels, got {binarization}")
    check_num_classes(module, spec)
    num_classes: int = module.num_classes
    numbers = math.prod(module.image_shape)

    def quantized(batch: Any, key: jax.Array) -> jax.Array:
        """Returns the levels of images as pixels of the model, in [-1, 1]."""
        pixels = flat_pixels(batch["inputs"])
        if "mask" in batch:
            pixels = jnp.where(batch["mask"][:, None], pixels, 0)
        found = targets_of(binarization, key, pixels) if levels == 2 else levels_of(pixels, levels).astype(jnp.float32)
        return from_levels(found, levels).reshape(-1, *module.image_shape)

    def labels_of(batch: Any) -> jax.Array | None:
        return batch["targets"] if num_classes else None

    def mutated(xs: jax.Array, key: jax.Array) -> jax.Array:
        first, second = jax.random.split(key)
        drawn = jax.random.randint(first, xs.shape, 0, levels, jnp.int32).astype(xs.dtype)
        return jnp.where(jax.random.bernoulli(second, mutation, xs.shape), from_levels(drawn, levels), xs)

    def nats(variables: Any, batch: Any, key: jax.Array, train: bool = False, **options: Any) -> jax.Array:
        """Returns the negative log-likelihood of each image, ``[B]``."""
        xs = quantized(batch, key)
        if train:
            options["train"] = True
            xs = mutated(xs, jax.random.fold_in(key, 1)) if mutation else xs
        return -module.log_prob(module.apply(variables, xs, labels_of(batch), **options), xs)

    def init(key, batch):
        check_pixels("tasks.autoregressive_images", batch["inputs"])
        check_model_inputs(module, batch["inputs"])
        return module.init(key, quantized(batch, key), labels_of(batch))

    def loss(variables, batch, context):
        first, second = jax.random.split(context.key)
        values = nats(variables, batch, first, train=True, rngs={"dropout": second})
        value = masked_mean(values, batch["mask"])
        return value, Aux(metrics={"bits_per_dim": bits_per_dim(-value, numbers, 1)})

    def measure(variables, batch, key, carry):
        values = nats(variables, batch, key)
        metrics = {"loss": values, "bits_per_dim": bits_per_dim(-values, numbers, 1)}
        return {name: mean_over(each, batch["mask"]) for name, each in metrics.items()}, ()

    @jax.jit
    def sample(variables, keys, labels):
        return (module.sample(variables, keys, labels) + 1) / 2

    # Scores are those of the most likely bits: intensities above one half.
    def score(variables, batch):
        inputs, key = batch["inputs"], jax.random.key(0)
        if levels == 2:
            inputs = (flat_pixels(inputs) > 0.5).astype(jnp.float32)
        if not num_classes:
            return {"log_likelihood": -nats(variables, {"inputs": inputs}, key)}
        of_class = lambda label: -nats(variables, {"inputs": inputs, "targets": jnp.full(len(inputs), label)}, key)
        total, by_class = likelihoods_by_class(of_class, num_classes)
        return {"log_likelihood": total, "class_log_likelihoods": by_class}

    def draw(variables, splits, key):
        batch = splits["validation"][0]
        order = np.argsort(np.asarray(score_all(variables, batch)))
        order = order[np.asarray(batch["mask"])[order]]
        ends = np.concatenate([order[:EXTREMES], order[-EXTREMES:]])
        images = np.asarray(flat_pixels(batch["inputs"]))[ends]
        return {
            **sample_reports(sample, variables, key, num_classes),
            "least_and_most_likely": pictures.image_grid(images, batch["inputs"].shape[1:], 8),
        }

    score_all = jax.jit(lambda variables, batch: score(variables, batch)["log_likelihood"])
    unit = f"nats per image, {levels} levels" if levels > 2 else f"nats per image, {binarization} binarization"
    return Task(
        learner=make_learner(init, loss),
        evaluators={"metrics": ScheduledEvaluator(means(measure))},
        objective=("validation/loss", "min"),
        reports={"samples": draw},
        endpoints={
            "predict": Endpoint(score, {"inputs": ("batch",)}),
            "generate": generate_endpoint(sample, num_classes),
        },
        items=Items(lambda batch: len(batch["inputs"]), "image"),
        units={"loss": unit, "bits_per_dim": "bits per pixel and channel"},
        partition_rules=partition_rules_of(module),
    )
