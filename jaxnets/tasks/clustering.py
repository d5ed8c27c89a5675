"""Amortized clustering: a model reads a set of points and says of which mixture of Gaussians they are."""

import math
from typing import TYPE_CHECKING, Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Quantities
from jaxnets.learning import Aux, Learn, Mean
from jaxnets.learning.evaluators import Scheduled, means
from jaxnets.ops.masks import masked_sum
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.supervised import READS
from jaxnets.tasks.task import Endpoint, Items, Task, rules_of

if TYPE_CHECKING:  # imported where something is drawn: to evaluate or export needs none
    from matplotlib.figure import Figure

SHOWN = 8
LEAST = 1e-3  # of a deviation: a cluster on one point would be infinitely likely


def clustering(model: Model, spec: Quantities, learn: Learn) -> Task:
    r"""The task of Lee et al. 2019 (arXiv:1810.00825, section 5.3): the likelihood of each set's own points.

    .. math:: -\frac{1}{n} \sum_i \log \sum_k \pi_k\, \mathcal{N}(x_i; \mu_k, \mathrm{diag}(\sigma_k^2))

    Args:
        model: ``(inputs [B, N, D], valid=, train=) -> [B, K, 1 + 2 D]``: for each of K clusters the logit of
            :math:`\pi`, then :math:`\mu`, then what ``softplus`` makes :math:`\sigma` of, 0.001 at least.
        spec: What these numbers are called.
        learn: ``(init, loss) -> Learner``.
    """
    check_spec("tasks.clustering", spec, Quantities)
    model = complete(model, spec)

    def mixtures(variables, batch, **options):
        found: Any = model.apply(variables, batch["inputs"], valid=batch["valid"], **options)
        dimensions = batch["inputs"].shape[-1]
        chex.assert_shape(found, (len(batch["inputs"]), None, 1 + 2 * dimensions))
        logits, means, deviations = jnp.split(found, [1, 1 + dimensions], axis=-1)
        return jax.nn.log_softmax(logits[..., 0]), means, jnp.maximum(jax.nn.softplus(deviations), LEAST)

    def densities(mixture, points):
        """``log pi_k N_k(x_i)``: ``[B, N, K]``."""
        shares, means, deviations = (leaf[:, None] for leaf in mixture)
        away = (points[:, :, None] - means) / deviations
        logs = jnp.sum(-0.5 * away**2 - jnp.log(deviations), axis=-1) - 0.5 * points.shape[-1] * math.log(2 * math.pi)
        return shares + logs

    def total(variables, batch, **options):
        """The sum of the log-likelihoods of real points, and their number."""
        logs = jax.nn.logsumexp(densities(mixtures(variables, batch, **options), batch["inputs"]), axis=-1)
        real = batch["valid"] & batch["mask"][:, None]
        return masked_sum(logs, real), jnp.sum(real, dtype=jnp.float32)

    def loss(variables, batch, context):
        logs, count = total(variables, batch, train=True, rngs={"dropout": context.key})
        return -logs / jnp.maximum(count, 1), Aux()

    def measure(variables, batch, key, carry):
        logs, count = total(variables, batch)
        points = jnp.where(batch["mask"], jnp.sum(batch["valid"], axis=1), 0).astype(jnp.float32)
        oracle = Mean(-jnp.sum(points * batch["oracle"]), jnp.sum(points))
        return {"loss": Mean(-logs, count), "oracle": oracle}, ()

    def predict(variables, batch):
        return dict(zip(("log_shares", "means", "deviations"), mixtures(variables, batch), strict=True))

    def draw(variables, splits, key):
        batch = {name: array[:SHOWN] for name, array in splits["validation"][0].items()}
        mixture = mixtures(variables, batch)
        chosen = np.asarray(jnp.argmax(densities(mixture, batch["inputs"]), axis=-1))
        return {"clusters": _clusters(batch, chosen, *map(np.asarray, mixture))}

    return Task(
        learner=learn(lambda key, batch: model.init(key, batch["inputs"][:1], valid=batch["valid"][:1]), loss),
        evaluators={"metrics": Scheduled(means(measure, {"log_likelihood": lambda found: -found["loss"]}))},
        objective=("validation/loss", "min"),
        reports={"figures": draw},
        endpoints={"predict": Endpoint(predict, READS)},
        items=Items(lambda batch: len(batch["inputs"]), "set"),
        units={"loss": "nats per point"},
        partition_rules=rules_of(model),
    )


def _clusters(batch, chosen, shares, means, deviations) -> "Figure":
    """The first two features of points in the color of their cluster, and twice its deviations around its mean."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse

    columns = 4
    figure = Figure(figsize=(3 * columns, 3 * -(-len(chosen) // columns)))
    panels = figure.subplots(-(-len(chosen) // columns), columns, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, i in zip(panels.flat, range(len(chosen)), strict=False):
        real = batch["valid"][i]
        points, clusters = batch["inputs"][i][real], chosen[i][real]
        axes.scatter(*points[:, :2].T, c=clusters, cmap="tab10", vmin=0, vmax=9, s=6)
        for share, mean, deviation in zip(np.exp(shares[i]), means[i], deviations[i], strict=True):
            axes.add_patch(Ellipse(mean[:2], *(4 * deviation[:2]), fill=False, lw=1, alpha=min(1.0, 0.2 + 2 * share)))
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[], title=f"{len(points)} points")
        axes.set_aspect("equal", adjustable="datalim")
    figure.tight_layout()
    return figure
