"""Amortized clustering: prediction of a mixture of Gaussians from a set of points."""

import math
from typing import TYPE_CHECKING, Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Quantities
from jaxnets.learning import Aux, MakeLearner, Mean
from jaxnets.learning.evaluators import ScheduledEvaluator, means
from jaxnets.ops.masks import masked_sum
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.supervised import INPUT_AXES
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

MAX_SETS = 8  # sets in a figure
MIN_STD = 1e-3  # the likelihood of a cluster on a single point would be infinite


def clustering(model: Model, spec: Quantities, make_learner: MakeLearner) -> Task:
    r"""Returns the task of fitting a mixture of Gaussians to each set (Lee et al. 2019, arXiv:1810.00825, section 5.3).

    The loss is the mean negative log-likelihood of the points under the mixture that the model predicts from them:

    .. math:: -\frac{1}{n} \sum_i \log \sum_k \pi_k\, \mathcal{N}(x_i; \mu_k, \mathrm{diag}(\sigma_k^2))

    Args:
        model: ``(inputs [B, N, D], valid=, train=) -> [B, K, 1 + 2 D]``. For each of K clusters, the last axis holds
            the logit of :math:`\pi`, then :math:`\mu`, then the input of ``softplus`` for :math:`\sigma`, whose minimum
            is 0.001.
        spec: Names of the outputs.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
    """
    check_spec("tasks.clustering", spec, Quantities)
    model = complete(model, spec)

    def mixtures(variables, batch, **options):
        output: Any = model.apply(variables, batch["inputs"], valid=batch["valid"], **options)
        dimensions = batch["inputs"].shape[-1]
        chex.assert_shape(output, (len(batch["inputs"]), None, 1 + 2 * dimensions))
        logits, means, scales = jnp.split(output, [1, 1 + dimensions], axis=-1)
        return jax.nn.log_softmax(logits[..., 0]), means, jnp.maximum(jax.nn.softplus(scales), MIN_STD)

    def log_densities(mixture, points):
        """``log pi_k N_k(x_i)``: ``[B, N, K]``."""
        log_weights, means, stds = (leaf[:, None] for leaf in mixture)
        z = (points[:, :, None] - means) / stds
        normals = jnp.sum(-0.5 * z**2 - jnp.log(stds), axis=-1) - 0.5 * points.shape[-1] * math.log(2 * math.pi)
        return log_weights + normals

    def total(variables, batch, **options):
        """Returns the sum of the log-likelihoods of all valid points, and their number."""
        log_likelihoods = jax.nn.logsumexp(
            log_densities(mixtures(variables, batch, **options), batch["inputs"]), axis=-1
        )
        valid = batch["valid"] & batch["mask"][:, None]
        return masked_sum(log_likelihoods, valid), jnp.sum(valid, dtype=jnp.float32)

    def loss(variables, batch, context):
        log_likelihood, count = total(variables, batch, train=True, rngs={"dropout": context.key})
        return -log_likelihood / jnp.maximum(count, 1), Aux()

    def measure(variables, batch, key, carry):
        log_likelihood, count = total(variables, batch)
        points = jnp.where(batch["mask"], jnp.sum(batch["valid"], axis=1), 0).astype(jnp.float32)
        oracle = Mean(-jnp.sum(points * batch["oracle"]), jnp.sum(points))
        return {"loss": Mean(-log_likelihood, count), "oracle": oracle}, ()

    def predict(variables, batch):
        return dict(zip(("log_weights", "means", "stds"), mixtures(variables, batch), strict=True))

    def draw(variables, splits, key):
        batch = {name: array[:MAX_SETS] for name, array in splits["validation"][0].items()}
        mixture = mixtures(variables, batch)
        clusters = np.asarray(jnp.argmax(log_densities(mixture, batch["inputs"]), axis=-1))
        return {"clusters": _clusters(batch, clusters, *map(np.asarray, mixture))}

    return Task(
        learner=make_learner(lambda key, batch: model.init(key, batch["inputs"][:1], valid=batch["valid"][:1]), loss),
        evaluators={"metrics": ScheduledEvaluator(means(measure, {"log_likelihood": lambda found: -found["loss"]}))},
        objective=("validation/loss", "min"),
        reports={"figures": draw},
        endpoints={"predict": Endpoint(predict, INPUT_AXES)},
        items=Items(lambda batch: len(batch["inputs"]), "set"),
        units={"loss": "nats per point"},
        partition_rules=partition_rules_of(model),
    )


def _clusters(batch, clusters, log_weights, means, stds) -> "Figure":
    """Draws the first two features of points, colored by cluster, with ellipses of two standard deviations."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse

    columns = 4
    figure = Figure(figsize=(3 * columns, 3 * -(-len(clusters) // columns)))
    panels = figure.subplots(-(-len(clusters) // columns), columns, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, i in zip(panels.flat, range(len(clusters)), strict=False):
        valid = batch["valid"][i]
        points = batch["inputs"][i][valid]
        axes.scatter(*points[:, :2].T, c=clusters[i][valid], cmap="tab10", vmin=0, vmax=9, s=6)
        for weight, mean, std in zip(np.exp(log_weights[i]), means[i], stds[i], strict=True):
            axes.add_patch(Ellipse(mean[:2], *(4 * std[:2]), fill=False, lw=1, alpha=min(1.0, 0.2 + 2 * weight)))
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[], title=f"{len(points)} points")
        axes.set_aspect("equal", adjustable="datalim")
    figure.tight_layout()
    return figure
