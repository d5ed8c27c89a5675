"""Evaluators of generated examples: modes of mixtures, and metrics by a trained classifier."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxnets.generative import feature_moments, frechet_distance, mode_coverage, sample_quality
from jaxnets.learning import Evaluator
from jaxnets.tasks.gan.examples import like
from jaxnets.tasks.models import TrainedModel

MAX_POINTS = 2500  # for counting modes (Metz et al. 2016)
CONFIDENT = 0.9


def modes_evaluator(generate: Callable[[Any, jax.Array, Any], jax.Array], centers: np.ndarray, std: float) -> Evaluator:
    """Creates the evaluator of ``generative.mode_coverage`` of as many points as a split has, at most 2,500.

    Args:
        generate: ``(variables, key, batch) -> points [B, D]``.
        centers, std: As in ``generative.mode_coverage``.
    """

    def compute(splits):
        metrics: dict[str, float] = {}
        for split, batches in splits.items():
            found = mode_coverage(np.concatenate(batches)[:MAX_POINTS], centers, std)
            metrics |= {f"{split}/{name}": float(value) for name, value in found._asdict().items()}
        return metrics

    return Evaluator(
        init=lambda variables, batch: (),
        measure=lambda variables, batch, key, carry: (generate(variables, key, batch), ()),
        add=lambda accumulator, outputs: [*(accumulator or []), np.asarray(outputs)],
        compute=compute,
    )


def classifier_evaluator(
    generate: Callable[[Any, jax.Array, Any], jax.Array], classifier: TrainedModel, conditional: bool
) -> Evaluator:
    """Creates the evaluator of ``classified_metrics`` of as many images as a split has.

    Args:
        generate: ``(variables, key, batch) -> pixels [B, H, W, C]`` in [0, 1].
        classifier: A run of a task whose endpoint ``predict`` maps the images of a batch to logits.
        conditional: Whether images are generated with the labels of the batch.

    Raises:
        ValueError: The run has no such endpoint. ``measure`` raises it if the outputs are not logits ``[B, C]``.
    """
    predict = classifier.predict
    if predict is None:
        raise ValueError(f"`classifier` must be a run of image classification, got {classifier.run}")

    def logits_of(images):
        logits = predict(classifier.variables, {"inputs": images})
        if getattr(logits, "ndim", 0) != 2:
            raise ValueError(f"`classifier` must have logits [B, C] for images, got other outputs of {classifier.run}")
        return logits

    def measure(variables, batch, key, carry):
        images = batch["inputs"]
        generated = like(generate(variables, key, batch), images)
        outputs = {"real": logits_of(images), "fake": logits_of(generated), "mask": batch["mask"]}
        return ({**outputs, "labels": batch["targets"]} if conditional else outputs), ()

    def add(accumulator, outputs):
        arrays = {name: np.asarray(values) for name, values in outputs.items()}
        mask = arrays.pop("mask")
        return [*(accumulator or []), {name: values[mask] for name, values in arrays.items()}]

    def compute(splits):
        metrics: dict[str, float] = {}
        for split, parts in splits.items():
            joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            metrics |= {f"{split}/{name}": value for name, value in classified_metrics(**joined).items()}
        return metrics

    return Evaluator(lambda variables, batch: (), measure, add, compute)


def classified_metrics(real: np.ndarray, fake: np.ndarray, labels: np.ndarray | None = None) -> dict[str, float]:
    """Computes metrics of generated images from the logits of a classifier, which are their features.

    Metrics are ``logit_frechet_distance``, those of ``generative.sample_quality``, ``confident``, the fraction of
    generated images with a class of probability 0.9 or more, ``min_class_share`` and ``max_class_share``, the smallest
    and the largest fraction of generated images of one class; and ``label_accuracy`` with labels. Frechet distances of
    different classifiers, or of Inception features (FID), are not comparable.

    Args:
        real, fake: Logits of real and of generated images, ``[N, C]`` and ``[M, C]``.
        labels: The classes of which images were generated, ``[M]``.
    """
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    exponents = np.exp(fake - fake.max(axis=1, keepdims=True))
    found = fake.argmax(axis=1)
    shares = np.bincount(found, minlength=fake.shape[1]) / len(fake)
    metrics = {
        "logit_frechet_distance": frechet_distance(feature_moments(real), feature_moments(fake)),
        **sample_quality(real, fake)._asdict(),
        "confident": float(np.mean(1 / exponents.sum(axis=1) >= CONFIDENT)),
        "min_class_share": float(shares.min()),
        "max_class_share": float(shares.max()),
    }
    return metrics if labels is None else {**metrics, "label_accuracy": float(np.mean(found == labels))}
