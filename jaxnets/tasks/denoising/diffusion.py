"""Diffusion and flow matching on images."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnets.data.targets import Classes, Unlabeled
from jaxnets.data.tokens.captions import Captions
from jaxnets.generative import GaussianDiffusion, RectifiedFlow, bits_per_dim
from jaxnets.generative.autoregressive.levels import from_levels
from jaxnets.learning import Aux, MakeLearner, ScheduledEvaluator, mean_over, means
from jaxnets.ops.checks import check_choice, check_fraction, check_integer, check_number
from jaxnets.ops.masks import masked_mean
from jaxnets.reports import ImageGrid
from jaxnets.tasks.denoising.conditions import conditions_of, dropped, guided
from jaxnets.tasks.denoising.reports import guidance_report, samples_report
from jaxnets.tasks.gan.evaluation import classifier_evaluator
from jaxnets.tasks.generative.pixels import check_model_inputs, check_pixels, flat_pixels, levels_of
from jaxnets.tasks.models import Model, TrainedModel, call_factory, check_members
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of


def diffusion(
    model: Model,
    spec: Classes | Captions | Unlabeled,
    make_learner: MakeLearner,
    *,
    process: GaussianDiffusion | RectifiedFlow | None = None,
    drop_condition: float = 0.1,
    sampler: str = "",
    sampling_steps: int = 50,
    guidance: float = 0.0,
    classifier: TrainedModel | None = None,
) -> Task:
    """Returns the task of a ``generative.UNet`` that learns to turn noise into images.

    The loss is that of the process: the mean squared error of the predicted noise, clean image or velocity. Images are
    uint8 or in [0, 1]; they are rounded to the levels of the process and scaled to [-1, 1].

    A model with ``num_classes`` generates images of given classes, and a ``generative.TextUNet`` those of captions. In
    training, a fraction of the classes or captions is replaced by none, for classifier-free guidance.

    ``jaxnets.evaluate`` also computes ``nll``, a bound of the negative log-likelihood in nats, with ``bits_per_dim``,
    the same in bits for each number of an image; it needs all steps of the process. With a ``classifier`` it computes
    metrics of generated images, see ``tasks.gan.evaluation.classified_metrics``.

    Args:
        model: A model such as ``generative.UNet``: noisy images ``[B, H, W, C]``, times ``[B]`` and the condition,
            ``labels`` or ``tokens`` and ``lengths``, to predictions, with the attributes ``image_shape``,
            ``num_classes`` and ``learned_variance``.
        spec: ``Classes`` for a model of classes, ``Captions`` for one of captions, else any labels, which are not used.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        process: ``generative.GaussianDiffusion()`` (the default) or ``generative.RectifiedFlow()``.
        drop_condition: Probability of training without the condition.
        sampler: Sampler of generated images, one of ``process.samplers``; empty: the first of them.
        sampling_steps: Its number of steps.
        guidance: Weight of classifier-free guidance in generated images; see ``conditions.guided``.
        classifier: A trained run of image classification, for metrics of generated images.

    Raises:
        ValueError: An argument is out of range, the model does not fit the process, or ``Learner.init`` gets other
            images.
    """
    process = GaussianDiffusion() if process is None else process
    check_number("guidance", guidance)
    if drop_condition:
        check_fraction("drop_condition", drop_condition)
    sampler = sampler or process.samplers[0]
    sizes = {"vocab_size": spec.size} if isinstance(spec, Captions) else {}
    module: Any = model if isinstance(model, nn.Module) else call_factory(model, sizes)
    check_members("tasks.diffusion", module, "a U-Net of diffusion", "image_shape", "num_classes", "learned_variance")
    if module.learned_variance != process.learned_variance:
        raise ValueError(f"`learned_variance` of the model must be {process.learned_variance} for this process")
    conditions = conditions_of("tasks.diffusion", module, spec)
    shape: tuple[int, ...] = tuple(module.image_shape)
    options: dict[str, Any] = {"steps": sampling_steps, "sampler": sampler, "guidance": guidance}
    check_options(process, **options)

    def clean(batch: Any) -> jax.Array:
        """Returns the levels of images in [-1, 1]."""
        pixels = flat_pixels(batch["inputs"])
        if "mask" in batch:
            pixels = jnp.where(batch["mask"][:, None], pixels, 0)
        levels = levels_of(pixels, process.num_levels).astype(jnp.float32)
        return from_levels(levels, process.num_levels).reshape(-1, *shape)

    def network(variables: Any, condition: Any, **applied: Any) -> Any:
        return lambda xs, times: module.apply(variables, xs, times, **condition, **applied)

    def init(key, batch):
        check_pixels("tasks.diffusion", batch["inputs"])
        check_model_inputs(module, batch["inputs"])
        first = jax.tree.map(lambda array: array[:1], batch)
        return module.init(key, clean(first), jnp.zeros(1), **conditions.of_batch(first))

    def loss(variables, batch, context):
        first, second, third = jax.random.split(context.key, 3)
        condition = dropped(conditions, conditions.of_batch(batch), first, drop_condition)
        terms = process.losses(network(variables, condition, train=True, rngs={"dropout": second}), clean(batch), third)
        averaged = {name: masked_mean(values, batch["mask"]) for name, values in terms.items()}
        return averaged.pop("loss"), Aux(metrics=averaged)

    def measure(variables, batch, key, carry):
        terms = process.losses(network(variables, conditions.of_batch(batch)), clean(batch), key)
        return {name: mean_over(values, batch["mask"]) for name, values in terms.items()}, ()

    def measure_nll(variables, batch, key, carry):
        values = process.negative_log_likelihood(network(variables, conditions.of_batch(batch)), clean(batch), key)
        metrics = {"nll": values, "bits_per_dim": bits_per_dim(-values, math.prod(shape), 1)}
        return {name: mean_over(each, batch["mask"]) for name, each in metrics.items()}, ()

    @functools.partial(jax.jit, static_argnames=("steps", "sampler", "guidance"))
    def sample(variables, keys, condition, *, steps, sampler, guidance):
        """Returns images in [0, 1], and the noisy images on the way, ``[steps, B, H, W, C]``."""
        apply = lambda xs, times, condition: network(variables, condition)(xs, times)
        images, path = process.sample(guided(apply, conditions, condition, guidance), keys, shape, steps, sampler)
        return jnp.clip((images + 1) / 2, 0, 1), path

    def generate(variables, inputs, **given):
        chosen = {**options, **given}
        check_options(process, **chosen)
        return sample(variables, inputs["key"], conditions.of_inputs(inputs), **chosen)[0]

    evaluators = {
        "metrics": ScheduledEvaluator(means(measure)),
        "nll": ScheduledEvaluator(means(measure_nll), every=0),
    }
    reports = {"samples": samples_report(functools.partial(sample, **options), conditions, spec)}
    if classifier is not None:
        of_batch = lambda variables, key, batch: sample(
            variables, jax.random.split(key, len(batch["inputs"])), conditions.of_batch(batch), **options
        )[0]
        measured = classifier_evaluator(of_batch, classifier, bool(module.num_classes))
        evaluators["classifier"] = ScheduledEvaluator(measured, every=0)
        if module.num_classes:
            reports["guidance"] = guidance_report(functools.partial(sample, **options), conditions, classifier)
    return Task(
        learner=make_learner(init, loss),
        evaluators=evaluators,
        objective=("validation/loss", "min"),
        reports=reports,
        endpoints={
            "generate": Endpoint(
                generate,
                dict.fromkeys(("key", *conditions.names), ("batch",)),
                present=lambda images: {"samples": ImageGrid(np.asarray(images))},
                options=options,
                read=functools.partial(read_caption, spec) if isinstance(spec, Captions) else None,
            )
        },
        items=Items(lambda batch: len(batch["inputs"]), "image"),
        units={
            "nll": f"nats per image, {process.num_levels} levels, a bound",
            "bits_per_dim": "bits per pixel and channel, a bound",
            **({} if classifier is None else {"logit_frechet_distance": f"on the logits of {classifier.run}"}),
        },
        partition_rules=partition_rules_of(module),
    )


def check_options(process: Any, steps: int, sampler: str, guidance: float) -> None:
    """Raises a ``ValueError`` if a process cannot sample with these options of ``generate``."""
    check_integer("steps", steps)
    check_choice("sampler", sampler, process.samplers)
    check_number("guidance", guidance)
    if process.max_steps is not None and steps > process.max_steps:
        raise ValueError(f"`steps` must be at most the {process.max_steps} steps of training, got {steps}")


def read_caption(spec: Captions, text: str) -> dict[str, Any]:
    """Returns the inputs of ``generate`` for one caption."""
    tokens, length = spec.encode(text)
    return {"tokens": tokens[None], "lengths": np.array([length], np.int32)}
