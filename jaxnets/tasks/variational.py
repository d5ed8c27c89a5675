"""Variational autoencoding: the evidence lower bound of images, by maximum likelihood."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Classes, Unlabeled
from jaxnets.generative import bernoulli_log_prob, standard_normal_kl
from jaxnets.learning import Aux, Learn, Mean, Scheduled, means
from jaxnets.ops.masks import masked_mean, masked_sum
from jaxnets.reports import Arrays, ImageGrid
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.task import Endpoint, Items, Task, rules_of

SHOWN = 64  # samples of a report


def variational(model: Model, spec: Classes | Unlabeled, learn: Learn) -> Task:
    r"""The task of a ``generative.VAE`` on images, bytes or from 0 to 1, whose pixels are drawn as bits in every step.

    The loss is minus the mean bound, in nats of an image:

    .. math:: \mathrm{ELBO}(x) = E_{z \sim q(z|x)} \log p(x|z) - \mathrm{KL}(q(z|x) \| p(z)) \le \log p(x)

    Evaluation draws bits and codes with its own key: two evaluations give the same numbers.

    Args:
        model: ``(xs [B, D], noise [B, Z]) -> (logits, mean, log variance)``, with ``encode`` and ``decode``.
        spec: Of the labels, which are not used; there need not be any.
        learn: ``(init, loss) -> Learner``.
    """
    check_spec("tasks.variational", spec, Classes, Unlabeled)
    model = complete(model, spec)
    latent: int = model.latent

    def bounds(variables: Any, batch: Any, key: jax.Array) -> dict[str, jax.Array]:
        """The terms of the bound by image, each ``[B]``."""
        first, second = jax.random.split(key)
        probabilities = _flat(batch["inputs"])
        bits = jax.random.bernoulli(first, probabilities).astype(jnp.float32)
        found: Any = model.apply(variables, bits, jax.random.normal(second, (len(bits), latent)))
        logits, mean, log_variance = found
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
    def draw(variables, keys):
        codes = jax.vmap(lambda key: jax.random.normal(key, (latent,)))(keys)
        logits: Any = model.apply(variables, codes, method="decode")
        return jax.nn.sigmoid(logits)

    def sample(variables, splits, key):
        shape = splits["validation"][0]["inputs"].shape[1:]
        return {"samples": _grid(draw(variables, jax.random.split(key, SHOWN)), shape)}

    return Task(
        learner=learn(init, loss),
        evaluators={"metrics": Scheduled(means(measure))},
        objective=("validation/loss", "min"),
        reports={"samples": sample},
        endpoints={
            "predict": Endpoint(
                lambda variables, batch: model.apply(variables, _flat(batch["inputs"]), method="encode")[0],
                {"inputs": ("batch",)},
            ),
            "generate": Endpoint(
                lambda variables, inputs: draw(variables, inputs["key"]),
                {"key": ("batch",)},
                present=lambda pixels: {"samples": _grid(pixels)},
            ),
        },
        items=Items(lambda batch: len(batch["inputs"]), "image"),
        units={"loss": "nats per image"},
        partition_rules=rules_of(model),
    )


def _grid(pixels: jax.Array, shape: tuple[int, ...] = ()) -> ImageGrid | Arrays:
    """Rows of numbers as images of this shape, or square ones; as they are where they are neither."""
    size = pixels.shape[-1]
    gray, colored = round(size**0.5), round((size / 3) ** 0.5)
    squares = [(gray, gray, 1)] if gray**2 == size else [(colored, colored, 3)] if 3 * colored**2 == size else []
    given = [(*shape, 1)[:3]] if len(shape) in (2, 3) and (*shape, 1)[2] in (1, 3) else []
    for height, width, channels in (*given, *squares):
        return ImageGrid(np.asarray(pixels).reshape(-1, height, width, channels))
    return Arrays({"samples": np.asarray(pixels)})


def _flat(images: jax.Array) -> jax.Array:
    """Images as rows of numbers from 0 to 1; bytes are divided by 255."""
    flat = jnp.asarray(images).reshape(len(images), -1)
    return flat.astype(jnp.float32) / 255 if flat.dtype == jnp.uint8 else flat
