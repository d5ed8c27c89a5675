"""Vector-quantized autoencoders of images."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Classes, Unlabeled
from jaxnets.learning import Aux, Evaluator, MakeLearner, ScheduledEvaluator, mean_over, means
from jaxnets.ops.checks import check_number
from jaxnets.ops.masks import masked_mean
from jaxnets.tasks.generative import pictures
from jaxnets.tasks.generative.pixels import check_pixels, flat_pixels, to_pixels
from jaxnets.tasks.models import Model, check_members, check_spec, complete
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of


def vector_quantized(
    model: Model, spec: Classes | Unlabeled, make_learner: MakeLearner, *, commitment: float = 0.25
) -> Task:
    r"""Returns the task of a ``generative.VQVAE`` on images, uint8 or in [0, 1].

    The loss is (van den Oord et al. 2017, arXiv:1711.00937)

    .. math:: \|x - \hat x\|^2 + \|\mathrm{sg}(z) - e\|^2 + \beta \|z - \mathrm{sg}(e)\|^2

    for the outputs z of the encoder and their nearest codes e, each a sum over the image. The metrics are
    ``squared_error``, the first term; ``quantization``, the second one; and ``perplexity``, the effective number of
    codes in use, :math:`\exp(-\sum_k p_k \log p_k)` for their frequencies p in a split.

    Args:
        model: A module ``images [B, H, W, C] -> (outputs, generative.Quantized)`` with the methods ``encode`` and
            ``decode`` and the attribute ``num_codes``.
        spec: Spec of the labels, if there are any; labels are not used.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        commitment: :math:`\beta`.

    Raises:
        ValueError: An argument is out of range, the model lacks a method, or ``Learner.init`` gets other images.
    """
    check_spec("tasks.vector_quantized", spec, Classes, Unlabeled)
    check_number("commitment", commitment)
    model = complete(model, spec)
    kind = "a vector-quantized autoencoder, such as generative.VQVAE"
    check_members("tasks.vector_quantized", model, kind, "encode", "decode", "num_codes")
    num_codes: int = model.num_codes

    def images_of(batch: Any) -> jax.Array:
        images = to_pixels(batch["inputs"])
        return images[..., None] if images.ndim == 3 else images

    def terms(variables: Any, batch: Any) -> tuple[dict[str, jax.Array], jax.Array]:
        """Returns the loss and its terms of each image, ``[B]``, and the frequencies of all codes, ``[K]``."""
        mask = batch["mask"]
        images = images_of(batch)
        images = jnp.where(mask[:, None, None, None], images, 0)
        applied: Any = model.apply(variables, images)
        outputs, quantized = applied
        total = lambda values: jnp.sum(values.reshape(len(values), -1), axis=-1)
        squared_error, quantization = total((outputs - images) ** 2), total(quantized.codebook_loss)
        loss = squared_error + quantization + commitment * total(quantized.commitment_loss)
        is_counted = jnp.broadcast_to(mask[:, None, None], quantized.indices.shape)
        counts = jnp.zeros(num_codes, jnp.int32).at[quantized.indices].add(is_counted.astype(jnp.int32))
        return {"loss": loss, "squared_error": squared_error, "quantization": quantization}, counts

    def init(key, batch):
        check_pixels("tasks.vector_quantized", batch["inputs"])
        if batch["inputs"].ndim not in (3, 4):
            raise ValueError(
                "the images of tasks.vector_quantized must be [B, H, W] or [B, H, W, C], "
                f"got shape {batch['inputs'].shape}"
            )
        return model.init(key, images_of({"inputs": batch["inputs"][:1]}))

    def loss(variables, batch, context):
        values, counts = terms(variables, batch)
        averaged = {name: masked_mean(each, batch["mask"]) for name, each in values.items()}
        return averaged.pop("loss"), Aux(metrics={**averaged, "perplexity": _perplexity(counts)})

    def measure(variables, batch, key, carry):
        values = terms(variables, batch)[0]
        return {name: mean_over(each, batch["mask"]) for name, each in values.items()}, ()

    encode = lambda variables, batch: model.apply(variables, images_of(batch), method="encode")
    reconstruct = jax.jit(lambda variables, batch: model.apply(variables, images_of(batch))[0])

    def draw(variables, splits, key):
        batch = splits["validation"][0]
        pixels = [flat_pixels(batch["inputs"]), flat_pixels(reconstruct(variables, batch))]
        return {"reconstructions": pictures.side_by_side(*pixels, shape=batch["inputs"].shape[1:])}

    codes = Evaluator(
        init=lambda variables, batch: (),
        measure=lambda variables, batch, key, carry: (terms(variables, batch)[1], ()),
        add=lambda total, counts: np.asarray(counts, np.int64) + (0 if total is None else total),
        compute=lambda splits: {f"{split}/perplexity": float(_perplexity(total)) for split, total in splits.items()},
    )
    inputs: dict[str, tuple[str, ...]] = {"inputs": ("batch",)}
    return Task(
        learner=make_learner(init, loss),
        evaluators={"metrics": ScheduledEvaluator(means(measure)), "codes": ScheduledEvaluator(codes)},
        objective=("validation/loss", "min"),
        reports={"reconstructions": draw},
        endpoints={"predict": Endpoint(encode, inputs), "reconstruct": Endpoint(reconstruct, inputs)},
        items=Items(lambda batch: len(batch["inputs"]), "image"),
        units={"loss": "per image", "squared_error": "per image", "quantization": "per image", "perplexity": "codes"},
        partition_rules=partition_rules_of(model),
    )


def _perplexity(counts: Any) -> jax.Array:
    """Returns the exponential of the entropy of the frequencies of counts ``[K]``; 1 without counts."""
    counts = jnp.asarray(counts, jnp.float32)
    frequencies = counts / jnp.maximum(jnp.sum(counts), 1)
    return jnp.exp(jnp.sum(jax.scipy.special.entr(frequencies)))
