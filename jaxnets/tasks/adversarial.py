"""Adversarial learning of a generator and a discriminator, each with an optimizer of its own."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxnets.data.sources.problems.points import ring_modes
from jaxnets.data.targets import Quantities
from jaxnets.generative import nonsaturating_losses
from jaxnets.learning import Aux, Evaluator, Gradient, Player, Scheduled, alternating
from jaxnets.reports import Arrays
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.task import Endpoint, Items, Task, rules_of

if TYPE_CHECKING:  # imported where something is drawn: to evaluate or export needs none
    from matplotlib.figure import Figure

DRAWN = 2500  # samples that modes are counted with, at most (Metz et al. 2016)


def adversarial(
    model: Model,
    spec: Quantities,
    learn: Gradient,
    *,
    discriminator_steps: int = 1,
    modes: int = 8,
    radius: float = 1.0,
    std: float = 0.01,
) -> Task:
    """The task of a ``generative.GAN`` on points around modes of a ring, ``data.ring``.

    Metrics are ``modes``, those with at least one sample of high quality among 2,500 (or as many as the split has
    points), and ``high_quality``, the fraction of samples within 3 std of the nearest mode (Lin et al. 2018,
    arXiv:1712.04086).

    Args:
        model: With ``generate``, ``discriminate`` and an attribute ``latent``.
        spec: Of the points.
        learn: Its optimizer is that of both players, each with a state of its own.
        discriminator_steps: Of one update, on as many parts of the batch.
        modes, radius, std: Of the data.

    Raises:
        ValueError: ``learn`` has more than an optimizer.
    """
    check_spec("tasks.adversarial", spec, Quantities)
    model, optimizer = complete(model, spec), learn.only_optimizer()

    def codes(key, count):
        latent: int = model.latent
        return jax.random.normal(key, (count, latent))

    def of(variables, method, xs) -> Any:
        return model.apply(variables, xs, method=method)

    def losses(variables, batch, key):
        fake = of(variables, "generate", codes(key, len(batch["inputs"])))
        real_logits = of(variables, "discriminate", batch["inputs"])
        return nonsaturating_losses(real_logits, of(variables, "discriminate", fake))

    def player(number: int, name: str, steps: int = 1) -> Player:
        loss = lambda variables, batch, context: (losses(variables, batch, context.key)[number], Aux())
        return Player(loss, optimizer, lambda path: path.startswith(f"params/{name}/"), steps)

    centers = ring_modes(modes, radius)

    def count(splits):
        found = {}
        for split, batches in splits.items():
            samples = np.concatenate(batches)[:DRAWN]
            distances = np.linalg.norm(samples[:, None] - centers, axis=-1)
            close = distances.min(axis=1) < 3 * std
            found[f"{split}/modes"] = float(len(np.unique(distances.argmin(axis=1)[close])))
            found[f"{split}/high_quality"] = float(close.mean())
        return found

    def draw(variables, batch, key, carry):
        return of(variables, "generate", codes(key, len(batch["inputs"]))), ()

    def sample(variables, splits, key):
        samples = np.asarray(of(variables, "generate", codes(key, DRAWN)))
        return {"samples": _scatter(splits["validation"][0]["inputs"], samples)}

    def generate(variables, inputs):
        return of(variables, "generate", jax.vmap(lambda key: codes(key, 1)[0])(inputs["key"]))

    return Task(
        learner=alternating(
            lambda key, batch: model.init(key, codes(key, 1)),
            {"discriminator": player(0, "discriminator", discriminator_steps), "generator": player(1, "generator")},
        ),
        evaluators={
            "coverage": Scheduled(
                Evaluator(
                    init=lambda variables, batch: (),
                    measure=draw,
                    add=lambda kept, outputs: [*(kept or []), np.asarray(outputs)],
                    compute=count,
                )
            )
        },
        objective=("validation/high_quality", "max"),
        reports={"samples": sample},
        endpoints={
            "generate": Endpoint(generate, {"key": ("batch",)}, present=lambda xs: {"samples": Arrays({"x": xs})})
        },
        items=Items(lambda batch: len(batch["inputs"]), "point"),
        units={},
        partition_rules=rules_of(model),
    )


def _scatter(real: np.ndarray, samples: np.ndarray) -> "Figure":
    """Generated points over real ones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5))
    axes = figure.subplots()
    axes.scatter(samples[:, 0], samples[:, 1], s=3, alpha=0.3, label="generated")
    axes.scatter(real[:, 0], real[:, 1], s=6, color="black", label="real")
    axes.set(aspect="equal")
    axes.legend(loc="upper right")
    figure.tight_layout()
    return figure
