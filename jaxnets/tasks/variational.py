"""Variational autoencoders of images, trained by maximizing the evidence lower bound."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Classes, Unlabeled
from jaxnets.generative import bernoulli_log_prob, standard_normal_kl
from jaxnets.learning import Aux, MakeLearner, Mean, ScheduledEvaluator, means
from jaxnets.ops.masks import masked_mean, masked_sum
from jaxnets.reports import Arrays, ImageGrid
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

NUM_SAMPLES = 64  # in a report


def variational(model: Model, spec: Classes | Unlabeled, make_learner: MakeLearner) -> Task:
    r"""Returns the task of a ``generative.VAE`` on images, uint8 or in [0, 1].

    Every step samples the pixels as bits with the intensities as probabilities. The loss is the mean of the negative
    bound, in nats per image:

    .. math:: \mathrm{ELBO}(x) = E_{z \sim q(z|x)} \log p(x|z) - \mathrm{KL}(q(z|x) \| p(z)) \le \log p(x)

    Evaluation samples bits and latent codes with its own key, so that repeated evaluations give equal metrics.

    Args:
        model: ``(xs [B, D], noise [B, Z]) -> (logits, mean, log variance)``, with ``encode`` and ``decode``.
        spec: Spec of the labels, if there are any; labels are not used.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
    """
    check_spec("tasks.variational", spec, Classes, Unlabeled)
    model = complete(model, spec)
    latent: int = model.latent

    def bounds(variables: Any, batch: Any, key: jax.Array) -> dict[str, jax.Array]:
        """Returns the terms of the bound of each image, ``[B]``."""
        first, second = jax.random.split(key)
        probabilities = _flat(batch["inputs"])
        bits = jax.random.bernoulli(first, probabilities).astype(jnp.float32)
        outputs: Any = model.apply(variables, bits, jax.random.normal(second, (len(bits), latent)))
        logits, mean, log_variance = outputs
        reconstruction, kl = bernoulli_log_prob(logits, bits), standard_normal_kl(mean, log_variance)
        return {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}

    def init(key, batch):
        images = _flat(batch["inputs"][:1])
        return model.init(key, images, jnp.zeros((1, latent)))

    def loss(variables, batch, context):
        terms = bounds(variables, batch, context.key)
        averaged = {name: masked_mean(values, batch["mask"]) for name, values in terms.items()}
        return -averaged["elbo"], Aux(metrics=averaged)

    def measure(variables, batch, key, carry):
        terms, mask = bounds(variables, batch, key), batch["mask"]
        terms["loss"] = -terms["elbo"]
        count = jnp.sum(mask, dtype=jnp.float32)
        return {name: Mean(masked_sum(values, mask), count) for name, values in terms.items()}, ()

    @jax.jit
    def generate(variables, keys):
        codes = jax.vmap(lambda key: jax.random.normal(key, (latent,)))(keys)
        logits: Any = model.apply(variables, codes, method="decode")
        return jax.nn.sigmoid(logits)

    def sample(variables, splits, key):
        shape = splits["validation"][0]["inputs"].shape[1:]
        return {"samples": _grid(generate(variables, jax.random.split(key, NUM_SAMPLES)), shape)}

    return Task(
        learner=make_learner(init, loss),
        evaluators={"metrics": ScheduledEvaluator(means(measure))},
        objective=("validation/loss", "min"),
        reports={"samples": sample},
        endpoints={
            "predict": Endpoint(
                lambda variables, batch: model.apply(variables, _flat(batch["inputs"]), method="encode")[0],
                {"inputs": ("batch",)},
            ),
            "generate": Endpoint(
                lambda variables, inputs: generate(variables, inputs["key"]),
                {"key": ("batch",)},
                present=lambda pixels: {"samples": _grid(pixels)},
            ),
        },
        items=Items(lambda batch: len(batch["inputs"]), "image"),
        units={"loss": "nats per image"},
        partition_rules=partition_rules_of(model),
    )


def _grid(pixels: jax.Array, shape: tuple[int, ...] = ()) -> ImageGrid | Arrays:
    """Flat images in this shape, or as squares; unchanged if they have neither shape."""
    size = pixels.shape[-1]
    gray, colored = round(size**0.5), round((size / 3) ** 0.5)
    squares = [(gray, gray, 1)] if gray**2 == size else [(colored, colored, 3)] if 3 * colored**2 == size else []
    given = [(*shape, 1)[:3]] if len(shape) in (2, 3) and (*shape, 1)[2] in (1, 3) else []
    for height, width, channels in (*given, *squares):
        return ImageGrid(np.asarray(pixels).reshape(-1, height, width, channels))
    return Arrays({"samples": np.asarray(pixels)})


def _flat(images: jax.Array) -> jax.Array:
    """Flattens images ``[B, ...]``; uint8 is divided by 255."""
    flat = jnp.asarray(images).reshape(len(images), -1)
    return flat.astype(jnp.float32) / 255 if flat.dtype == jnp.uint8 else flat
