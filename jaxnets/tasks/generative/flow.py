"""Normalizing flows of images and of rows of features, trained by maximum likelihood."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Classes, Quantities, Unlabeled
from jaxnets.generative import bits_per_dim, dequantize
from jaxnets.learning import Aux, MakeLearner, ScheduledEvaluator, mean_over, means
from jaxnets.ops.checks import check_number
from jaxnets.ops.masks import masked_mean
from jaxnets.reports import Arrays
from jaxnets.tasks.generative import pictures
from jaxnets.tasks.generative.codes import codes_of, requested_codes
from jaxnets.tasks.generative.pixels import check_pixels, to_pixels
from jaxnets.tasks.models import Model, check_members, check_spec, complete
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

INTENSITIES = 256
NUM_SAMPLES = 64  # in a report


def flow(
    model: Model,
    spec: Classes | Quantities | Unlabeled,
    make_learner: MakeLearner,
    *,
    noise: float = 0.0,
    temperature: float = 0.7,
) -> Task:
    r"""Returns the task of a normalizing flow, such as ``generative.Glow`` or ``SplineFlow``.

    The loss is the mean negative log-likelihood in nats, :math:`-\log p(f(x)) - \log |\det \partial f / \partial x|`,
    with standard normal codes.

    **Images** are uint8 or in [0, 1], with 256 intensities. Noise makes them continuous (``generative.dequantize``), so
    that the loss is an upper bound of the nats of the intensities; the metric ``bits_per_dim`` is the same in bits for
    each number. The model sees them in [-0.5, 0.5].

    **Rows** ``[B, D]`` are continuous. Their likelihood is a density, whose unit depends on the scale of the features.

    The endpoint ``predict`` returns the log-likelihood of each example, ``encode`` its code.

    Args:
        model: A model such as ``generative.Glow``: examples ``[B, ...]`` to log-likelihoods ``[B]``, with the methods
            ``encode`` and ``decode`` and the attributes ``example_shape`` and ``latent``.
        spec: Spec of the labels, if there are any. Classes show how images of a class become those of the next one.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        noise: Standard deviation of normal noise that is added to rows in training. It smooths the density, so that few
            rows are not memorized.
        temperature: Standard deviation of the codes of samples in reports.

    Raises:
        ValueError: An argument is out of range, the model lacks a method, or ``Learner.init`` gets other examples.
    """
    check_spec("tasks.flow", spec, Classes, Quantities, Unlabeled)
    check_number("noise", noise)
    check_number("temperature", temperature)
    module: Any = complete(model, spec)
    check_members(
        "tasks.flow", module, "a flow, such as generative.Glow", "encode", "decode", "example_shape", "latent"
    )
    shape: tuple[int, ...] = module.example_shape
    of_images = len(shape) == 3
    numbers = math.prod(shape)
    if noise and of_images:
        raise ValueError(f"`noise` must be 0 for images, which get uniform noise, got {noise}")

    def examples(batch: Any, key: jax.Array | None = None) -> jax.Array:
        """Returns the examples of the model; without a key, intensities are the centers of their intervals."""
        inputs = batch["inputs"]
        if "mask" in batch:
            mask = batch["mask"].reshape(-1, *(1,) * (inputs.ndim - 1))
            inputs = jnp.where(mask, inputs, jnp.zeros((), inputs.dtype))
        if not of_images:
            return inputs
        intensities = jnp.round(to_pixels(inputs) * (INTENSITIES - 1)).astype(jnp.int32)
        if key is None:
            continuous = (intensities.astype(jnp.float32) + 0.5) / INTENSITIES
        else:
            continuous = dequantize(key, intensities, INTENSITIES)
        return continuous.reshape(-1, *shape) - 0.5

    def log_likelihoods(variables: Any, batch: Any, key: jax.Array | None = None) -> jax.Array:
        """Returns the log-likelihood of each example, ``[B]``; of images, a bound for their intensities."""
        densities = module.apply(variables, examples(batch, key))
        return densities - numbers * math.log(INTENSITIES) if of_images else densities

    def in_bits(value: jax.Array) -> dict[str, jax.Array]:
        return {"bits_per_dim": bits_per_dim(value, numbers, 1)} if of_images else {}

    def init(key, batch):
        inputs = batch["inputs"]
        if of_images:
            check_pixels("tasks.flow", inputs)
        if math.prod(inputs.shape[1:]) != numbers:
            sizes = " x ".join(map(str, shape))
            raise ValueError(f"the examples of the model must be those of the data, {inputs.shape[1:]}, got {sizes}")
        return module.init(key, examples(batch, key))

    def loss(variables, batch, context):
        if noise:
            rows = batch["inputs"]
            batch = {**batch, "inputs": rows + noise * jax.random.normal(context.key, rows.shape, rows.dtype)}
        value = masked_mean(log_likelihoods(variables, batch, context.key), batch["mask"])
        return -value, Aux(metrics=in_bits(value))

    def measure(variables, batch, key, carry):
        values = log_likelihoods(variables, batch, key)
        bits = {name: mean_over(each, batch["mask"]) for name, each in in_bits(values).items()}
        return {"loss": mean_over(-values, batch["mask"]), **bits}, ()

    decode: Any = jax.jit(lambda variables, codes: module.apply(variables, codes, method="decode"))
    encode: Any = jax.jit(lambda variables, batch: module.apply(variables, examples(batch), method="encode")[0])
    pixels = lambda variables, codes: jnp.clip(decode(variables, codes) + 0.5, 0, 1).reshape(len(codes), -1)

    def generate(variables, inputs):
        codes = requested_codes(inputs, module.latent)
        return pixels(variables, codes) if of_images else decode(variables, codes)

    def present(outputs):
        return {"samples": pictures.image_grid(outputs, shape) if of_images else Arrays({"x": np.asarray(outputs)})}

    def draw(variables, splits, key):
        codes, labels = pictures.encoded(lambda batch: encode(variables, batch), splits["validation"])
        to_images = lambda codes: pixels(variables, jnp.asarray(codes))
        drawn = temperature * codes_of(jax.random.split(key, NUM_SAMPLES), module.latent)
        by_class = {}
        if isinstance(spec, Classes) and labels is not None:
            by_class["class_changes"] = pictures.class_changes(to_images, codes, labels, shape)
        return {
            "samples": pictures.image_grid(to_images(drawn), shape, 8),
            "interpolations": pictures.interpolations(to_images, codes, shape),
            **by_class,
        }

    inputs: dict[str, tuple[str, ...]] = {"inputs": ("batch",)}
    return Task(
        learner=make_learner(init, loss),
        evaluators={"metrics": ScheduledEvaluator(means(measure))},
        objective=("validation/loss", "min"),
        reports={"samples": draw} if of_images else {},
        endpoints={
            "predict": Endpoint(lambda variables, batch: {"log_likelihood": log_likelihoods(variables, batch)}, inputs),
            "encode": Endpoint(encode, inputs),
            "generate": Endpoint(generate, dict.fromkeys(("key", "end_key", "weight"), ("batch",)), present=present),
        },
        items=Items(lambda batch: len(batch["inputs"]), "image" if of_images else "row"),
        units={
            "loss": "nats per image, 256 intensities" if of_images else "nats per row",
            "bits_per_dim": "bits per pixel and channel",
        },
        partition_rules=partition_rules_of(module),
    )
