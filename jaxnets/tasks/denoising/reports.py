"""Reports of diffusion models: samples, the way from noise to images, and guidance."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.tokens.captions import Captions
from jaxnets.reports import ImageGrid, ImageStrip
from jaxnets.reports.sample_figures import captioned_images, guidance_curves
from jaxnets.tasks.denoising.conditions import Conditions
from jaxnets.tasks.gan.evaluation import classified_metrics
from jaxnets.tasks.gan.examples import like
from jaxnets.tasks.models import TrainedModel

NUM_SAMPLES, NUM_CAPTIONS, STRIP = 64, 24, 8
PATH_ROWS, PATH_COLUMNS = 6, 10
GUIDED, SCALES = 500, (0.0, 0.5, 1.0, 2.0, 4.0)

Sample = Callable[..., tuple[jax.Array, jax.Array]]  # (variables, keys, condition) -> (images in [0, 1], path)


def samples_report(sample: Sample, conditions: Conditions, spec: Any) -> Callable:
    """Creates the report of ``samples``, a ``strip`` of the same noise over training, and ``denoising``.

    A row of ``denoising`` shows one image at equally spaced steps of the sampler, from noise to the image. Models of
    captions have the figure ``captions`` too, with the captions of the first validation examples.
    """

    def draw(variables, splits, key):
        given = conditions.examples(splits["validation"][0], NUM_SAMPLES)
        images, _ = sample(variables, jax.random.split(key, NUM_SAMPLES), given)
        first = jax.tree.map(lambda array: array[:STRIP], given)
        fixed, path = sample(variables, jax.random.split(jax.random.key(0), STRIP), first)
        captions = {}
        if isinstance(spec, Captions):
            texts = [spec.decode(tokens) for tokens in np.asarray(given["tokens"][:NUM_CAPTIONS])]
            captions["captions"] = captioned_images(np.asarray(images[:NUM_CAPTIONS]), texts)
        return {
            **captions,
            "samples": ImageGrid(np.asarray(images), 8),
            "strip": ImageStrip(np.asarray(fixed)),
            "denoising": denoising_grid(np.asarray(fixed), np.asarray(path)),
        }

    return draw


def denoising_grid(images: np.ndarray, path: np.ndarray) -> ImageGrid:
    """Draws the ways of some images from noise, one in each row.

    Args:
        images: ``[B, H, W, C]`` in [0, 1].
        path: Noisy images, the noisiest first, in [-1, 1] where clean, ``[S, B, H, W, C]``.
    """
    rows, columns = min(PATH_ROWS, len(images)), min(PATH_COLUMNS, len(path))
    chosen = np.linspace(0, len(path) - 1, columns).round().astype(int)
    noisy = np.clip((path[chosen, :rows] + 1) / 2, 0, 1)
    ways = np.concatenate([noisy, images[None, :rows]]).swapaxes(0, 1)
    return ImageGrid(ways.reshape(-1, *images.shape[1:]), columns + 1)


def guidance_report(sample: Sample, conditions: Conditions, classifier: TrainedModel) -> Callable:
    """Creates the report of ``guidance``: fidelity and diversity of 500 generated images over the guidance scale."""
    predict: Any = classifier.predict

    def draw(variables, splits, key):
        examples = {name: _valid(splits["validation"], name)[:GUIDED] for name in ("inputs", "targets")}
        logits = lambda images: np.asarray(predict(classifier.variables, {"inputs": images}))
        keys, condition = jax.random.split(key, len(examples["inputs"])), conditions.of_batch(examples)
        real, metrics = logits(examples["inputs"]), []
        for scale in SCALES:
            images = like(sample(variables, keys, condition, guidance=scale)[0], jnp.asarray(examples["inputs"]))
            metrics.append(classified_metrics(real, logits(images), examples["targets"]))
        return {"guidance": guidance_curves(SCALES, metrics)}

    return draw


def _valid(batches: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.concatenate([np.asarray(batch[name])[np.asarray(batch["mask"])] for batch in batches])
