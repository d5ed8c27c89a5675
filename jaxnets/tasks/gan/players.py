"""The losses of the discriminator and the generator, as players of ``learning.alternating``."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxnets.generative import (
    gradient_penalty,
    hinge_losses,
    least_squares_losses,
    nonsaturating_losses,
    wasserstein_losses,
)
from jaxnets.learning import Aux, Player

LOSSES: dict[str, Callable] = {
    "nonsaturating": nonsaturating_losses,
    "least_squares": least_squares_losses,
    "hinge": hinge_losses,
    "wasserstein": wasserstein_losses,
}


def players(
    module: Any,
    optimizer: optax.GradientTransformation,
    inputs_of: Callable[[Any], tuple[jax.Array, jax.Array | None]],
    loss: str,
    penalty_weight: float,
    discriminator_steps: int,
) -> Mapping[str, Player]:
    """Returns the two players of an adversarial model, in the order of their updates.

    As in DCGAN, the discriminator sees real and generated examples in separate batches, each normalized by its own
    statistics. Each player updates its own batch statistics and estimates of spectral norms, and generated examples
    have the labels of the real ones.

    Args:
        module: An ``AdversarialModel``.
        optimizer: The optimizer of both players, with separate states.
        inputs_of: ``batch -> (examples, labels or None)``.
        loss: A key of ``LOSSES``.
        penalty_weight: Weight of ``generative.gradient_penalty``.
        discriminator_steps: Steps of the discriminator for one of the generator.
    """
    losses = LOSSES[loss]

    def apply(variables: Any, method: str, xs: jax.Array, labels: jax.Array | None) -> tuple[jax.Array, Any]:
        return module.apply(variables, xs, labels, train=True, method=method, mutable=["batch_stats"])

    def codes(key: jax.Array, count: int) -> jax.Array:
        return jax.random.normal(key, (count, module.latent), jnp.float32)

    def discriminator(variables, batch, context):
        codes_key, weights_key = jax.random.split(context.key)
        real, labels = inputs_of(batch)
        fake = jax.lax.stop_gradient(apply(variables, "generate", codes(codes_key, len(real)), labels)[0])
        real_logits, seen = apply(variables, "discriminate", real, labels)
        fake_logits, seen = apply({**variables, **seen}, "discriminate", fake.astype(real.dtype), labels)
        value, metrics = losses(real_logits, fake_logits)[0], {}
        if penalty_weight:
            critic = lambda xs: module.apply(variables, xs, labels, method="discriminate")
            weights = jax.random.uniform(weights_key, (len(real),))
            metrics["gradient_penalty"] = gradient_penalty(critic, real, fake.astype(real.dtype), weights)
            value = value + penalty_weight * metrics["gradient_penalty"]
        return value, Aux(updated=_own("discriminator", variables, seen), metrics=metrics)

    def generator(variables, batch, context):
        real, labels = inputs_of(batch)
        fake, seen = apply(variables, "generate", codes(context.key, len(real)), labels)
        logits = apply(variables, "discriminate", fake.astype(real.dtype), labels)[0]
        return losses(logits, logits)[1], Aux(updated=_own("generator", variables, seen))

    return {
        "discriminator": Player(discriminator, optimizer, _owns("discriminator"), discriminator_steps),
        "generator": Player(generator, optimizer, _owns("generator")),
    }


def _owns(name: str) -> Callable[[str], bool]:
    return lambda path: path.startswith(f"params/{name}/")


def _own(name: str, variables: Any, updated: Any) -> dict[str, Any]:
    """Returns the variables that are updated without gradients, with new values of one player only."""
    return {
        collection: {**variables[collection], name: values[name]}
        for collection, values in updated.items()
        if name in values
    }
