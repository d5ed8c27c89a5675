"""Deterministic and denoising autoencoders."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.data.targets import Classes, Unlabeled
from jaxnets.generative import bernoulli_log_prob
from jaxnets.learning import Aux, MakeLearner, ScheduledEvaluator, mean_over, means
from jaxnets.ops.checks import check_choice, check_number, check_probability
from jaxnets.ops.masks import masked_mean
from jaxnets.reports.code_figures import code_map
from jaxnets.tasks.generative import pictures
from jaxnets.tasks.generative.pixels import check_model_inputs, check_pixels, flat_pixels, model_inputs
from jaxnets.tasks.generative.probe import linear_probe
from jaxnets.tasks.models import Model, check_members, check_spec, complete
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

LOSSES = {"squared_error": "squared error per image", "cross_entropy": "nats per image"}


def autoencoding(
    model: Model,
    spec: Classes | Unlabeled,
    make_learner: MakeLearner,
    *,
    loss: str = "squared_error",
    noise: float = 0.0,
    masking: float = 0.0,
) -> Task:
    """Returns the task of a ``generative.Autoencoder`` on images or rows of features; uint8 is divided by 255.

    The loss is that of the reconstruction of corrupted inputs, in evaluation as well. The metric ``squared_error`` is
    that of the reconstruction of the inputs themselves. Both are sums over pixels and means over images. With classes,
    ``jaxnets.evaluate`` also computes the accuracies of linear probes, ``probe_codes``, ``probe_inputs`` and
    ``probe_pca``.

    Args:
        model: A module with the methods ``encode``, to codes ``[B, ...]``, and ``decode``. It receives flat inputs
            ``[B, D]``, or images if it has the attribute ``image_shape``.
        spec: Spec of the labels, if there are any; labels are only used by probes and figures.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        loss: ``"squared_error"``, or ``"cross_entropy"`` of logits, for pixels in [0, 1].
        noise: Standard deviation of Gaussian noise that is added to the inputs (Vincent et al. 2010).
        masking: Probability of each pixel to be set to 0 (Vincent et al. 2008).

    Raises:
        ValueError: An argument is out of range, the model lacks a method, or ``Learner.init`` gets other inputs.
    """
    check_spec("tasks.autoencoding", spec, Classes, Unlabeled)
    check_choice("loss", loss, LOSSES)
    check_number("noise", noise)
    check_probability("masking", masking)
    model = complete(model, spec)
    kind = "an autoencoder, such as generative.Autoencoder"
    check_members("tasks.autoencoding", model, kind, "encode", "decode")

    def both(module: Any, xs: jax.Array) -> jax.Array:
        codes = module.encode(xs)
        if getattr(codes, "ndim", 0) < 2 or not jnp.issubdtype(codes.dtype, jnp.floating):
            raise ValueError(
                "`encode` of the model of tasks.autoencoding must return one floating point array [B, ...], got that "
                f"of {type(model).__name__}; see tasks.variational and tasks.vector_quantized"
            )
        return module.decode(codes)

    def outputs_of(variables: Any, pixels: jax.Array) -> jax.Array:
        outputs: Any = model.apply(variables, model_inputs(model, pixels), method=both)
        return outputs.reshape(pixels.shape)

    def to_intensities(outputs: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(outputs) if loss == "cross_entropy" else outputs

    def corrupt(pixels: jax.Array, key: jax.Array) -> jax.Array:
        first, second = jax.random.split(key)
        if noise:
            pixels += noise * jax.random.normal(first, pixels.shape, pixels.dtype)
        if masking:
            pixels = jnp.where(jax.random.bernoulli(second, masking, pixels.shape), 0, pixels)
        return pixels

    def losses(variables: Any, pixels: jax.Array, key: jax.Array) -> jax.Array:
        outputs = outputs_of(variables, corrupt(pixels, key))
        if loss == "cross_entropy":
            return -bernoulli_log_prob(outputs, pixels)
        return jnp.sum((outputs - pixels) ** 2, axis=-1)

    def masked_pixels(batch: Any) -> jax.Array:
        return jnp.where(batch["mask"][:, None], flat_pixels(batch["inputs"]), 0)

    def init(key, batch):
        if loss == "cross_entropy":
            check_pixels("tasks.autoencoding with a cross entropy", batch["inputs"])
        check_model_inputs(model, batch["inputs"])
        return model.init(key, model_inputs(model, flat_pixels(batch["inputs"][:1])), method=both)

    def mean_loss(variables, batch, context):
        return masked_mean(losses(variables, masked_pixels(batch), context.key), batch["mask"]), Aux()

    def measure(variables, batch, key, carry):
        pixels = masked_pixels(batch)
        clean = to_intensities(outputs_of(variables, pixels))
        values = {
            "loss": losses(variables, pixels, key),
            "squared_error": jnp.sum((clean - pixels) ** 2, axis=-1),
        }
        return {name: mean_over(each, batch["mask"]) for name, each in values.items()}, ()

    def encode(variables: Any, inputs: Any) -> Any:
        return model.apply(variables, model_inputs(model, flat_pixels(inputs)), method="encode")

    reconstruct = jax.jit(lambda variables, pixels: to_intensities(outputs_of(variables, pixels)))
    codes_of = jax.jit(lambda variables, inputs: encode(variables, inputs).reshape(len(inputs), -1))

    def draw(variables, splits, key):
        batches = splits["validation"]
        images = batches[0]["inputs"]
        pixels = flat_pixels(images)
        noisy = corrupt(pixels, key)
        versions = (pixels, noisy) if noise or masking else (pixels,)
        codes, labels = pictures.encoded(lambda batch: codes_of(variables, batch["inputs"]), batches)
        return {
            "reconstructions": pictures.side_by_side(*versions, reconstruct(variables, noisy), shape=images.shape[1:]),
            "codes": code_map(codes, labels, getattr(spec, "names", ())),
        }

    evaluators = {"metrics": ScheduledEvaluator(means(measure))}
    if isinstance(spec, Classes):
        evaluators["linear_probe"] = ScheduledEvaluator(linear_probe(encode), ("train", "validation"), every=0)
    inputs: dict[str, tuple[str, ...]] = {"inputs": ("batch",)}
    return Task(
        learner=make_learner(init, mean_loss),
        evaluators=evaluators,
        objective=("validation/loss", "min"),
        reports={"reconstructions": draw},
        endpoints={
            "predict": Endpoint(lambda variables, batch: encode(variables, batch["inputs"]), inputs),
            "reconstruct": Endpoint(
                lambda variables, batch: reconstruct(variables, flat_pixels(batch["inputs"])), inputs
            ),
        },
        items=Items(lambda batch: len(batch["inputs"]), "image"),
        units={"loss": LOSSES[loss], "squared_error": LOSSES["squared_error"]},
        partition_rules=partition_rules_of(model),
    )
