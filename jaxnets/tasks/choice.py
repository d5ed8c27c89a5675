"""Choice of one element of a set by maximum likelihood: p(i | x) = softmax_i(score(x_i, x))."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Quantities
from jaxnets.learning import Aux, MakeLearner, mean_over
from jaxnets.learning.evaluators import ScheduledEvaluator, means
from jaxnets.ops.masks import masked_mean
from jaxnets.tasks import tables
from jaxnets.tasks.cross_entropy import cross_entropy, is_correct
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.supervised import INPUT_AXES
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

MAX_SETS = 6  # sets in a figure


def choice(model: Model, spec: Quantities, make_learner: MakeLearner) -> Task:
    """Returns the task of choosing one element of a set by its score.

    The loss is the mean cross entropy, in nats.

    Args:
        model: ``(inputs [B, N, D], valid=, train=) -> scores [B, N, 1]``.
        spec: Name of the score.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
    """
    check_spec("tasks.choice", spec, Quantities)
    model = complete(model, spec)

    def scores(variables, batch, **options):
        output: Any = model.apply(variables, batch["inputs"], valid=batch["valid"], **options)
        return jnp.where(batch["valid"], output[..., 0], -jnp.inf)

    def loss(variables, batch, context):
        logits = scores(variables, batch, train=True, rngs={"dropout": context.key})
        nats = cross_entropy(logits, batch["targets"], batch["mask"])
        return masked_mean(nats, batch["mask"]), Aux()

    def measure(variables, batch, key, carry):
        logits, mask = scores(variables, batch), batch["mask"]
        nats = cross_entropy(logits, batch["targets"], batch["mask"])
        correct = is_correct(logits, batch["targets"])
        chance = 1 / jnp.maximum(jnp.sum(batch["valid"], axis=-1), 1).astype(jnp.float32)
        sums = {"loss": nats, "accuracy": correct, "chance": chance}
        return {name: mean_over(value, mask) for name, value in sums.items()}, ()

    def draw(variables, splits, key):
        batch = {name: array[:MAX_SETS] for name, array in splits["validation"][0].items()}
        figures = {}
        side = round(batch["inputs"].shape[-1] ** 0.5)
        if side**2 == batch["inputs"].shape[-1]:
            figures["chosen"] = _chosen(batch, np.asarray(jax.nn.softmax(scores(variables, batch))), side)
        return figures

    return Task(
        learner=make_learner(lambda key, batch: model.init(key, batch["inputs"][:1], valid=batch["valid"][:1]), loss),
        evaluators={"metrics": ScheduledEvaluator(means(measure))},
        objective=("validation/loss", "min"),
        reports={"figures": draw},
        endpoints={
            "predict": Endpoint(scores, INPUT_AXES, present=lambda logits: {"predictions": tables.choice_table(logits)})
        },
        items=Items(lambda batch: len(batch["inputs"]), "set"),
        units={"loss": "nats per set"},
        partition_rules=partition_rules_of(model),
    )


def _chosen(batch, probabilities, side: int) -> "Figure":
    """Images of sets, one set per row, with their probabilities; the target has a frame."""
    from matplotlib.figure import Figure

    rows, columns = probabilities.shape
    figure = Figure(figsize=(0.9 * columns, 1.15 * rows))
    panels = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            axes = panels[row, column]
            axes.set(xticks=[], yticks=[])
            if not batch["valid"][row, column]:
                axes.set_axis_off()
                continue
            axes.imshow(batch["inputs"][row, column].reshape(side, side), cmap="gray_r")
            axes.set_title(f"{probabilities[row, column]:.0%}", fontsize=8)
            is_target = column == batch["targets"][row]
            for spine in axes.spines.values():
                spine.set(color="tab:green" if is_target else "lightgray", linewidth=3 if is_target else 1)
    figure.tight_layout()
    return figure
