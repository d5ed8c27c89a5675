"""Adversarial training of a generator and a discriminator with separate optimizer states."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnets.data.sources.problems.points import mixture_centers
from jaxnets.data.targets import Classes, Quantities, Unlabeled
from jaxnets.learning import Gradient, ScheduledEvaluator, alternating
from jaxnets.ops.checks import check_choice, check_integer, check_number
from jaxnets.reports import Arrays, ImageGrid
from jaxnets.tasks.gan import reports
from jaxnets.tasks.gan.evaluation import MAX_POINTS, classifier_evaluator, modes_evaluator
from jaxnets.tasks.gan.examples import from_images, to_images
from jaxnets.tasks.gan.players import LOSSES, players
from jaxnets.tasks.generative.codes import requested_codes
from jaxnets.tasks.generative.labels import check_num_classes, labels_in_turn
from jaxnets.tasks.generative.pixels import check_pixels
from jaxnets.tasks.models import Model, TrainedModel, call_factory, check_spec
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of


def adversarial(
    model: Model,
    spec: Quantities | Classes | Unlabeled,
    make_learner: Gradient,
    *,
    loss: str = "nonsaturating",
    gradient_penalty: float = 0.0,
    discriminator_steps: int = 1,
    layout: str = "ring",
    modes: int = 8,
    radius: float = 1.0,
    std: float = 0.01,
    classifier: TrainedModel | None = None,
) -> Task:
    """Returns the task of a ``generative.AdversarialModel``: ``GAN``, ``MaxoutGAN`` or ``DCGAN``.

    **Points** of ``data.gaussian_ring`` or ``data.gaussian_grid``. Metrics are ``high_quality``, the fraction of
    samples within 3 standard deviations of the nearest mode, ``modes``, the number of modes with at least one such
    sample, and ``reverse_kl`` (Lin et al. 2018, arXiv:1712.04086). They use as many samples as the split has points,
    at most 2,500.

    **Images**, uint8 or in [0, 1]. Models of images (``DCGAN``) see them in [-1, 1], models of vectors as flat vectors
    in [0, 1]. With ``num_classes`` a model generates images of given classes. Metrics need a ``classifier`` and are
    computed by ``jaxnets.evaluate``: see ``classified_metrics``. Without an objective, the last checkpoint is used.

    The discriminator sees real and generated examples in separate batches; each player updates its own batch
    statistics.

    Args:
        model: An adversarial model, or a factory of one, which is called without arguments.
        spec: ``Quantities`` for points; ``Classes`` or ``Unlabeled`` for images.
        make_learner: Its optimizer trains both players, with separate states.
        loss: ``"nonsaturating"``, ``"least_squares"``, ``"hinge"`` or ``"wasserstein"``.
        gradient_penalty: Weight of ``generative.gradient_penalty``, usually 10 for ``"wasserstein"``.
        discriminator_steps: Discriminator steps per update, each on an equal fraction of the batch.
        layout, modes, radius, std: The modes of points: ``"ring"`` or ``"grid"``, and the arguments of
            ``data.gaussian_ring`` or ``data.gaussian_grid``.
        classifier: A trained run of image classification, for metrics of generated images.

    Raises:
        ValueError: An argument is out of range, the model does not fit the data, or ``make_learner`` has other options
            than an optimizer.
    """
    check_spec("tasks.adversarial", spec, Quantities, Classes, Unlabeled)
    check_choice("loss", loss, tuple(LOSSES))
    check_number("gradient_penalty", gradient_penalty)
    check_integer("discriminator_steps", discriminator_steps)
    module: Any = model if isinstance(model, nn.Module) else call_factory(model, {})
    if gradient_penalty and getattr(module, "discriminator_norm", "") == "batch":
        raise ValueError(
            "`gradient_penalty` must be 0 for a discriminator with batch normalization, whose outputs depend on the "
            f"whole batch, got {gradient_penalty}; the model of a critic has discriminator_norm='none'"
        )
    points = isinstance(spec, Quantities)
    check_num_classes(module, spec)
    conditional = module.num_classes > 0

    def labels_of(batch):
        return batch["targets"] if conditional else None

    def inputs_of(batch):
        return batch["inputs"] if points else from_images(batch["inputs"], module), labels_of(batch)

    def init(key, batch):
        if not points:
            check_pixels("tasks.adversarial", batch["inputs"])
        inputs_of(batch)  # checks the shape
        return module.init(
            key, jnp.zeros((module.pack, module.latent)), labels_in_turn(module.pack, module.num_classes)
        )

    @jax.jit
    def generate(variables, codes, labels=None):
        return module.apply(variables, codes, labels, method="generate")

    def samples(variables, key, batch):
        codes = jax.random.normal(key, (len(batch["inputs"]), module.latent), jnp.float32)
        return generate(variables, codes, labels_of(batch))

    def endpoint(variables, inputs):
        codes = requested_codes(inputs, module.latent)
        labels = inputs.get("labels", labels_in_turn(len(codes), module.num_classes))
        examples = generate(variables, codes, labels)
        return examples if points else to_images(examples)

    evaluators = {}
    if points:
        centers = mixture_centers(layout, modes, radius)
        evaluators["coverage"] = ScheduledEvaluator(modes_evaluator(samples, centers, std))
    elif classifier is not None:
        images = lambda variables, key, batch: to_images(samples(variables, key, batch), batch["inputs"].shape[1:])
        measured = classifier_evaluator(images, classifier, conditional)
        evaluators["classifier"] = ScheduledEvaluator(measured, every=0)
    report = (
        reports.points_report(generate, module.latent, MAX_POINTS)
        if points
        else reports.images_report(generate, module.latent, module.num_classes)
    )
    optional = dict.fromkeys(("end_key", "weight", *(("labels",) if conditional else ())), ("batch",))
    return Task(
        learner=alternating(
            init,
            players(module, make_learner.only_optimizer(), inputs_of, loss, gradient_penalty, discriminator_steps),
        ),
        evaluators=evaluators,
        objective=("validation/high_quality", "max") if points else None,
        reports={"samples": report},
        endpoints={"generate": Endpoint(endpoint, {"key": ("batch",), **optional}, present=_present)},
        items=Items(lambda batch: len(batch["inputs"]), "point" if points else "image"),
        units={} if classifier is None else {"logit_frechet_distance": f"on the logits of {classifier.run}"},
        partition_rules=partition_rules_of(module),
    )


def _present(outputs: jax.Array) -> dict[str, Any]:
    """Presents generated images as a grid, and other examples as an array."""
    found = np.asarray(outputs)
    return {"samples": ImageGrid(found) if found.ndim == 4 and found.shape[-1] in (1, 3) else Arrays({"x": found})}
