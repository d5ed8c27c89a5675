"""Autoregressive priors of the codes of a trained vector-quantized autoencoder, which generate images."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.data.targets import Classes, Unlabeled
from jaxnets.generative.autoregressive.levels import from_levels, to_levels
from jaxnets.learning import Aux, MakeLearner, ScheduledEvaluator, mean_over, means
from jaxnets.ops.masks import masked_mean
from jaxnets.tasks.generative.labels import check_num_classes
from jaxnets.tasks.generative.pixels import to_pixels
from jaxnets.tasks.generative.sampled_images import generate_endpoint, likelihoods_by_class, sample_reports
from jaxnets.tasks.models import Model, TrainedModel, call_factory, check_members, check_spec
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of


def code_prior(
    model: Model, spec: Classes | Unlabeled, make_learner: MakeLearner, *, autoencoder: TrainedModel
) -> Task:
    r"""Returns the task of a ``generative.GatedPixelCNN`` of the codes of images (van den Oord et al. 2017).

    A trained ``generative.VQVAE`` maps images to a grid of codes and is not changed. The loss is the mean negative
    log-likelihood of a grid in nats. Samples are grids of codes, which the autoencoder decodes to images.

    The endpoint ``predict`` returns ``log_likelihood``, that of the codes of each image; ``generate`` returns images.

    Args:
        model: A model as in ``tasks.autoregressive_images``. Its ``image_shape`` is the grid, ``(H / 4, W / 4, 1)`` for
            images of ``(H, W, C)``, and ``num_levels`` the number of codes. With ``embed_dim``, it sees embeddings of
            codes, whose numbers have no meaning.
        spec: ``Classes`` for a model of classes, else any labels, which are not used.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        autoencoder: A run of ``tasks.vector_quantized``.

    Raises:
        ValueError: The model or the autoencoder lacks a method, or their grids or numbers of codes differ.
    """
    check_spec("tasks.code_prior", spec, Classes, Unlabeled)
    module: Any = model if isinstance(model, nn.Module) else call_factory(model, {})
    kind = "an autoregressive model of images, such as generative.GatedPixelCNN"
    check_members("tasks.code_prior", module, kind, "log_prob", "sample", "image_shape", "num_levels")
    codec: Any = autoencoder.model
    kind = "a run of a vector-quantized autoencoder, such as that of the config vae:vq"
    check_members("tasks.code_prior (`autoencoder`)", codec, kind, "encode", "decode", "num_codes")
    check_num_classes(module, spec)
    num_classes, levels = module.num_classes, module.num_levels
    if levels != codec.num_codes:
        raise ValueError(f"`num_levels` must be {codec.num_codes}, the codes of the autoencoder, got {levels}")

    def grid_of(batch: Any) -> jax.Array:
        """Returns the codes of images as numbers in [-1, 1], ``[B, H, W, 1]``."""
        images = to_pixels(batch["inputs"])
        images = images[..., None] if images.ndim == 3 else images
        if "mask" in batch:
            images = jnp.where(batch["mask"][:, None, None, None], images, 0)
        codes = codec.apply(autoencoder.variables, images, method="encode")[..., None]
        if codes.shape[1:] != tuple(module.image_shape):
            raise ValueError(f"`image_shape` must be the grid of codes, {codes.shape[1:]}, got {module.image_shape}")
        return from_levels(codes.astype(jnp.float32), levels)

    def labels_of(batch: Any) -> jax.Array | None:
        return batch["targets"] if num_classes else None

    def nats(variables: Any, batch: Any, labels: jax.Array | None, **options: Any) -> jax.Array:
        xs = grid_of(batch)
        return -module.log_prob(module.apply(variables, xs, labels, **options), xs)

    def init(key, batch):
        return module.init(key, grid_of(batch), labels_of(batch))

    def loss(variables, batch, context):
        values = nats(variables, batch, labels_of(batch), train=True, rngs={"dropout": context.key})
        return masked_mean(values, batch["mask"]), Aux()

    def measure(variables, batch, key, carry):
        return {"loss": mean_over(nats(variables, batch, labels_of(batch)), batch["mask"])}, ()

    def score(variables, batch):
        if not num_classes:
            return {"log_likelihood": -nats(variables, batch, None)}
        of_class = lambda label: -nats(variables, batch, jnp.full(len(batch["inputs"]), label))
        return {"log_likelihood": likelihoods_by_class(of_class, num_classes)[0]}

    @jax.jit
    def sample(variables, keys, labels):
        codes = jnp.round(to_levels(module.sample(variables, keys, labels), levels)).astype(jnp.int32)
        return jnp.clip(codec.apply(autoencoder.variables, codes[..., 0], method="decode"), 0, 1)

    return Task(
        learner=make_learner(init, loss),
        evaluators={"metrics": ScheduledEvaluator(means(measure))},
        objective=("validation/loss", "min"),
        reports={"samples": lambda variables, splits, key: sample_reports(sample, variables, key, num_classes)},
        endpoints={
            "predict": Endpoint(score, {"inputs": ("batch",)}),
            "generate": generate_endpoint(sample, num_classes),
        },
        items=Items(lambda batch: len(batch["inputs"]), "image"),
        units={"loss": f"nats per image, {levels} codes"},
        partition_rules=partition_rules_of(module),
    )
