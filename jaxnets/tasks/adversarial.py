"""Adversarial training of a generator and a discriminator with separate optimizer states."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import linen as nn

from jaxnets.data.sources.problems.points import ring_modes
from jaxnets.data.targets import Quantities
from jaxnets.generative import mode_coverage, nonsaturating_losses
from jaxnets.learning import Aux, Evaluator, Gradient, Player, ScheduledEvaluator, alternating
from jaxnets.reports import Arrays
from jaxnets.tasks.models import Model, call_factory, check_spec
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

MAX_SAMPLES = 2500  # for counting modes (Metz et al. 2016)


def adversarial(
    model: Model,
    spec: Quantities,
    make_learner: Gradient,
    *,
    discriminator_steps: int = 1,
    modes: int = 8,
    radius: float = 1.0,
    std: float = 0.01,
) -> Task:
    """Returns the task of a ``generative.GAN`` on the points of ``data.gaussian_ring``.

    Metrics are ``high_quality``, the fraction of samples within 3 standard deviations of the nearest mode, and
    ``modes``, the number of modes with at least one such sample (Lin et al. 2018, arXiv:1712.04086). They use up to
    2,500 samples, but at most as many as the split has points.

    Args:
        model: A module with the methods ``generate`` and ``discriminate`` and the attribute ``latent``.
        spec: Names of the coordinates.
        make_learner: Its optimizer trains both players, with separate states.
        discriminator_steps: Discriminator steps per update, each on an equal fraction of the batch.
        modes, radius, std: Parameters of ``data.gaussian_ring``.

    Raises:
        ValueError: If ``make_learner`` has other options than an optimizer.
    """
    check_spec("tasks.adversarial", spec, Quantities)
    # Labels are optional: the number of classes of a conditional model is not completed.
    module = model if isinstance(model, nn.Module) else call_factory(model, {})
    optimizer = make_learner.only_optimizer()

    def codes(key, count):
        latent: int = module.latent
        return jax.random.normal(key, (count, latent))

    def apply(variables, method, xs) -> Any:
        return module.apply(variables, xs, method=method)

    def losses(variables, batch, key):
        fake = apply(variables, "generate", codes(key, len(batch["inputs"])))
        real_logits = apply(variables, "discriminate", batch["inputs"])
        return nonsaturating_losses(real_logits, apply(variables, "discriminate", fake))

    def player(index: int, name: str, steps: int = 1) -> Player:
        loss = lambda variables, batch, context: (losses(variables, batch, context.key)[index], Aux())
        return Player(loss, optimizer, lambda path: path.startswith(f"params/{name}/"), steps)

    centers = ring_modes(modes, radius)

    def coverage(splits):
        metrics: dict[str, float] = {}
        for split, batches in splits.items():
            found = mode_coverage(np.concatenate(batches)[:MAX_SAMPLES], centers, std)
            metrics |= {f"{split}/modes": float(found.modes), f"{split}/high_quality": found.high_quality}
        return metrics

    def sample(variables, batch, key, carry):
        return apply(variables, "generate", codes(key, len(batch["inputs"]))), ()

    def draw(variables, splits, key):
        samples = np.asarray(apply(variables, "generate", codes(key, MAX_SAMPLES)))
        return {"samples": _scatter(splits["validation"][0]["inputs"], samples)}

    def generate(variables, inputs):
        return apply(variables, "generate", jax.vmap(lambda key: codes(key, 1)[0])(inputs["key"]))

    return Task(
        learner=alternating(
            lambda key, batch: module.init(key, codes(key, 1)),
            {"discriminator": player(0, "discriminator", discriminator_steps), "generator": player(1, "generator")},
        ),
        evaluators={
            "coverage": ScheduledEvaluator(
                Evaluator(
                    init=lambda variables, batch: (),
                    measure=sample,
                    add=lambda accumulator, outputs: [*(accumulator or []), np.asarray(outputs)],
                    compute=coverage,
                )
            )
        },
        objective=("validation/high_quality", "max"),
        reports={"samples": draw},
        endpoints={
            "generate": Endpoint(generate, {"key": ("batch",)}, present=lambda xs: {"samples": Arrays({"x": xs})})
        },
        items=Items(lambda batch: len(batch["inputs"]), "point"),
        units={},
        partition_rules=partition_rules_of(module),
    )


def _scatter(real: np.ndarray, samples: np.ndarray) -> "Figure":
    """Generated and real points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5))
    axes = figure.subplots()
    axes.scatter(samples[:, 0], samples[:, 1], s=3, alpha=0.3, label="generated")
    axes.scatter(real[:, 0], real[:, 1], s=6, color="black", label="real")
    axes.set(aspect="equal")
    axes.legend(loc="upper right")
    figure.tight_layout()
    return figure
