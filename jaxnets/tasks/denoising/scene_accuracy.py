"""Evaluator of images that were generated from sentences about scenes of shapes."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxnets.data import Captions, scene_matches
from jaxnets.learning import Evaluator


def scene_accuracy(spec: Captions, generate: Callable[..., Any]) -> Evaluator:
    """Creates the evaluator of images of the sentences of ``data.shape_scenes``.

    Metrics are fractions of the sentences: ``objects``, those whose objects are all in the image, ``relation``, those
    whose relation holds too, and ``exact``, those without other objects besides; see ``data.scene_matches``.

    Args:
        spec: Of the sentences.
        generate: ``(variables, inputs) -> images [B, H, W, 3]`` in [0, 1], the endpoint ``generate`` of a task.
    """

    def measure(variables, batch, key, carry):
        inputs = {name: batch[name] for name in ("tokens", "lengths")}
        images = generate(variables, {**inputs, "key": jax.random.split(key, len(batch["tokens"]))})
        return {"images": images, "tokens": batch["tokens"], "mask": batch["mask"]}, ()

    def add(accumulator, outputs):
        found = accumulator or []
        images, tokens, mask = (np.asarray(outputs[name]) for name in ("images", "tokens", "mask"))
        for image, words in zip(images[mask], tokens[mask], strict=True):
            match = scene_matches(spec.decode(words), np.round(255 * image).astype(np.uint8))
            found.append((match.objects, match.relation, match.exact))
        return found

    def compute(splits):
        return {
            f"{split}/{name}": float(value)
            for split, found in splits.items()
            for name, value in zip(("objects", "relation", "exact"), np.mean(found, axis=0), strict=True)
        }

    return Evaluator(lambda variables, batch: (), measure, add, compute)
