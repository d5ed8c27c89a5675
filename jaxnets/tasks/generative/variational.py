"""Variational autoencoders of images, trained by maximizing a lower bound of the likelihood."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Classes, Unlabeled
from jaxnets.generative import (
    active_units,
    bernoulli_log_prob,
    doubly_reparameterized_bound,
    elbo,
    gaussian_log_prob,
    importance_weighted_bound,
    log_importance_weights,
    reparameterize,
    standard_normal_kl,
)
from jaxnets.learning import Aux, Evaluator, MakeLearner, ScheduledEvaluator, mean_over, means
from jaxnets.ops.checks import check_choice, check_integer, check_number
from jaxnets.ops.masks import masked_mean
from jaxnets.reports.code_figures import code_map
from jaxnets.tasks.generative import pictures
from jaxnets.tasks.generative.codes import codes_of
from jaxnets.tasks.generative.likelihood import estimate_log_likelihood
from jaxnets.tasks.generative.pixels import (
    BINARIZATIONS,
    check_model_inputs,
    check_pixels,
    flat_pixels,
    model_inputs,
    targets_of,
)
from jaxnets.tasks.models import Model, check_members, check_spec, complete
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

NUM_SAMPLES = 64  # in a report
UNITS = {
    "dynamic": "nats per image, dynamic binarization",
    "static": "nats per image, static binarization",
    "none": "nats per image, gray levels as targets (not a likelihood)",
}


def variational(
    model: Model,
    spec: Classes | Unlabeled,
    make_learner: MakeLearner,
    *,
    num_samples: int = 1,
    doubly_reparameterized: bool = False,
    beta: float = 1.0,
    binarization: str = "dynamic",
    nll_samples: int = 5000,
) -> Task:
    r"""Returns the task of a ``generative.VAE`` or ``ConvVAE`` on images, uint8 or in [0, 1].

    The loss is the mean of the negative bound, in nats per image:

    .. math::
        \mathrm{ELBO}(x) = E_{z \sim q(z|x)} \log p(x|z) - \beta\, \mathrm{KL}(q(z|x) \| p(z)), \quad
        L_K(x) = E \log \frac1K \sum_{k=1}^K \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}

    The metrics ``elbo`` (with :math:`\beta = 1`), ``reconstruction`` and ``kl`` are of the same samples. Evaluation
    samples bits and latent codes with its own key, so that repeated evaluations give equal metrics.
    ``jaxnets.evaluate`` also computes ``nll``, an estimate of :math:`-\log p(x)` by importance samples, and
    ``active_units``, see ``generative.active_units``.

    Args:
        model: A module ``(xs [B, D], noise [K, B, Z]) -> (logits, mean, log variance)`` with the methods ``encode`` and
            ``decode`` and the attribute ``latent``. With the attribute ``image_shape`` it receives images of this
            shape.
        spec: Spec of the labels, if there are any; labels only color figures.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        num_samples: K; 1 maximizes the ELBO, and more the importance-weighted bound (Burda et al. 2016,
            arXiv:1509.00519).
        doubly_reparameterized: Whether the encoder has the gradient of ``generative.doubly_reparameterized_bound``.
        beta: :math:`\beta` (Higgins et al. 2017); 1 for an importance-weighted bound.
        binarization: ``"dynamic"``: each step samples the pixels as bits, with the intensities as probabilities.
            ``"static"``: each image has the same bits in all steps and runs. ``"none"``: the intensities themselves are
            the targets, which have no Bernoulli likelihood.
        nll_samples: Samples of each image for ``nll``.

    Raises:
        ValueError: An argument is out of range, the model lacks a method, or ``Learner.init`` gets other images.
    """
    check_spec("tasks.variational", spec, Classes, Unlabeled)
    check_integer("num_samples", num_samples)
    check_integer("nll_samples", nll_samples)
    check_number("beta", beta)
    check_choice("binarization", binarization, BINARIZATIONS)
    weighted = num_samples > 1 or doubly_reparameterized
    if weighted and beta != 1:
        raise ValueError(f"`beta` must be 1 for an importance-weighted bound, got {beta}")
    model = complete(model, spec)
    kind = "a variational autoencoder, such as generative.VAE"
    check_members("tasks.variational", model, kind, "encode", "decode", "latent")
    latent: int = model.latent

    def encode(variables: Any, pixels: jax.Array) -> Any:
        return model.apply(variables, model_inputs(model, pixels), method="encode")

    def decode(variables: Any, codes: jax.Array) -> jax.Array:
        logits: Any = model.apply(variables, codes, method="decode")
        return logits.reshape(*codes.shape[:-1], -1)

    def targets(batch: Any, key: jax.Array) -> jax.Array:
        pixels = jnp.where(batch["mask"][:, None], flat_pixels(batch["inputs"]), 0)
        return targets_of(binarization, key, pixels)

    def terms(variables: Any, batch: Any, key: jax.Array) -> dict[str, jax.Array]:
        """Returns the loss and the terms of the bound of each image, ``[B]``."""
        first, second = jax.random.split(key)
        xs = targets(batch, first)
        noise = jax.random.normal(second, (num_samples, len(xs), latent), jnp.float32)
        log_likelihoods = lambda codes: bernoulli_log_prob(
            logits := decode(variables, codes), jnp.broadcast_to(xs, logits.shape)
        )
        mean, log_variance = encode(variables, xs)
        codes = reparameterize(mean, log_variance, noise)
        log_likelihood, kl = log_likelihoods(codes), standard_normal_kl(mean, log_variance)
        reconstruction = jnp.mean(log_likelihood, axis=0)
        if doubly_reparameterized:
            log_prior = lambda codes: gaussian_log_prob(codes, jnp.zeros_like(codes), jnp.zeros_like(codes))
            log_joint = lambda codes: log_likelihoods(codes) + log_prior(codes)
            bound = doubly_reparameterized_bound(log_joint, mean, log_variance, noise)
        elif weighted:
            bound = importance_weighted_bound(log_importance_weights(log_likelihood, codes, mean, log_variance))
        else:
            bound = elbo(reconstruction, kl, beta)
        return {"loss": -bound, "elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}

    def init(key, batch):
        check_pixels("tasks.variational", batch["inputs"])
        check_model_inputs(model, batch["inputs"])
        images = model_inputs(model, flat_pixels(batch["inputs"][:1]))
        return model.init(key, images, jnp.zeros((1, latent), jnp.float32))

    def loss(variables, batch, context):
        averaged = {
            name: masked_mean(values, batch["mask"]) for name, values in terms(variables, batch, context.key).items()
        }
        return averaged.pop("loss"), Aux(metrics=averaged)

    def measure(variables, batch, key, carry):
        return {name: mean_over(each, batch["mask"]) for name, each in terms(variables, batch, key).items()}, ()

    def measure_nll(variables, batch, key, carry):
        first, second = jax.random.split(key)
        bits = targets(batch, first)
        mean, log_variance = encode(variables, bits)
        log_likelihood = estimate_log_likelihood(
            lambda codes: decode(variables, codes), bits, mean, log_variance, second, nll_samples
        )
        return {"nll": mean_over(-log_likelihood, batch["mask"])}, ()

    evaluators = {
        "metrics": ScheduledEvaluator(means(measure)),
        "active_units": ScheduledEvaluator(
            _active_units(lambda variables, batch, key: encode(variables, targets(batch, key))[0]), every=0
        ),
    }
    if binarization != "none":
        evaluators["nll"] = ScheduledEvaluator(means(measure_nll), every=0)

    intensities = jax.jit(lambda variables, codes: jax.nn.sigmoid(decode(variables, codes)))
    means_of = jax.jit(lambda variables, inputs: encode(variables, flat_pixels(inputs))[0])

    def generate(variables, keys):
        return intensities(variables, codes_of(keys, latent))

    def reconstruct(variables, inputs):
        return intensities(variables, means_of(variables, inputs))

    def draw(variables, splits, key):
        batches = splits["validation"]
        images, decode_codes = batches[0]["inputs"], lambda codes: intensities(variables, codes)
        shape = images.shape[1:]
        codes, labels = pictures.encoded(lambda batch: means_of(variables, batch["inputs"]), batches)
        return {
            "samples": pictures.image_grid(generate(variables, jax.random.split(key, NUM_SAMPLES)), shape),
            "reconstructions": pictures.side_by_side(flat_pixels(images), reconstruct(variables, images), shape=shape),
            "interpolations": pictures.interpolations(decode_codes, codes, shape),
            "traversal": pictures.traversal(decode_codes, codes, shape),
            "codes": code_map(codes, labels, getattr(spec, "names", ())),
        }

    present = lambda pixels: {"samples": pictures.image_grid(pixels)}
    return Task(
        learner=make_learner(init, loss),
        evaluators=evaluators,
        objective=("validation/loss", "min"),
        reports={"samples": draw},
        endpoints={
            "predict": Endpoint(lambda variables, batch: means_of(variables, batch["inputs"]), {"inputs": ("batch",)}),
            "reconstruct": Endpoint(
                lambda variables, batch: reconstruct(variables, batch["inputs"]), {"inputs": ("batch",)}
            ),
            "generate": Endpoint(
                lambda variables, inputs: generate(variables, inputs["key"]), {"key": ("batch",)}, present=present
            ),
        },
        items=Items(lambda batch: len(batch["inputs"]), "image"),
        units=dict.fromkeys(("loss", "elbo", "reconstruction", "kl", "nll"), UNITS[binarization]),
        partition_rules=partition_rules_of(model),
    )


def _active_units(encode: Any) -> Evaluator:
    """Creates the evaluator of ``active_units``, the number of active units of ``(variables, batch, key) -> means``."""
    return Evaluator(
        init=lambda variables, batch: (),
        measure=lambda variables, batch, key, carry: ((encode(variables, batch, key), batch["mask"]), ()),
        add=lambda parts, outputs: [*(parts or []), np.asarray(outputs[0])[np.asarray(outputs[1])]],
        compute=lambda splits: {
            f"{split}/active_units": float(active_units(np.concatenate(parts)).sum()) for split, parts in splits.items()
        },
    )
