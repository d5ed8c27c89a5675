"""Samples and likelihoods of autoregressive models of images, with or without classes."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.reports import ImageGrid, ImageStrip
from jaxnets.tasks.generative.labels import labels_in_turn
from jaxnets.tasks.task import Endpoint

NUM_SAMPLES, STRIP = 32, 8  # in a report

Sample = Callable[[Any, jax.Array, Any], jax.Array]  # (variables, keys [B], labels [B] or None) -> images in [0, 1]


def generate_endpoint(sample: Sample, num_classes: int) -> Endpoint:
    """Returns the endpoint ``generate`` of a model of images; labels default to all classes in turn."""

    def generate(variables: Any, inputs: Any) -> jax.Array:
        labels = inputs.get("labels", labels_in_turn(len(inputs["key"]), num_classes))
        return sample(variables, inputs["key"], labels)

    present = lambda images: {"samples": ImageGrid(np.asarray(images))}
    optional = {"labels": ("batch",)} if num_classes else {}
    return Endpoint(generate, {"key": ("batch",), **optional}, present=present)


def sample_reports(sample: Sample, variables: Any, key: jax.Array, num_classes: int) -> dict[str, Any]:
    """Draws ``samples``, and the images of fixed keys as a ``strip`` over training."""
    samples = sample(variables, jax.random.split(key, NUM_SAMPLES), labels_in_turn(NUM_SAMPLES, num_classes))
    fixed = jax.random.split(jax.random.key(0), STRIP)
    strip = sample(variables, fixed, labels_in_turn(STRIP, num_classes))
    return {"samples": ImageGrid(np.asarray(samples), 8), "strip": ImageStrip(np.asarray(strip))}


def likelihoods_by_class(of_class: Callable[[jax.Array], jax.Array], num_classes: int) -> tuple[jax.Array, jax.Array]:
    """Returns log-likelihoods for equally frequent classes, ``[B]``, and for each class, ``[B, K]``.

    Args:
        of_class: Maps a class, an integer scalar, to log-likelihoods ``[B]``.
        num_classes: K.
    """
    by_class = jax.lax.map(of_class, jnp.arange(num_classes, dtype=jnp.int32)).T
    return jax.nn.logsumexp(by_class, axis=1) - math.log(num_classes), by_class
