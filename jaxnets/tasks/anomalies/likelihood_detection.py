"""Detection of unusual examples by their likelihood under a model of normal ones."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnets.data.targets import Classes
from jaxnets.generative import code_length
from jaxnets.learning import MakeLearner, ScheduledEvaluator
from jaxnets.learning.evaluators import from_all_scores
from jaxnets.ops.checks import check_choice, check_fraction
from jaxnets.tasks.anomalies.baselines import baselines
from jaxnets.tasks.anomalies.evaluation import any_kind, areas_by_kind, detection
from jaxnets.tasks.anomalies.reports import detection_reports
from jaxnets.tasks.generative.flow import INTENSITIES, flow
from jaxnets.tasks.generative.pixels import levels_of, to_pixels
from jaxnets.tasks.models import Model, TrainedModel, call_factory, check_spec
from jaxnets.tasks.task import Endpoint, Task

SCORES = ("likelihood", "typicality", "complexity", "ratio")
MEAN = "mean_loss"  # the variable collection of the running mean of the loss
DECAY = 0.99  # per update


def likelihood_detection(
    model: Model,
    spec: Classes,
    make_learner: MakeLearner,
    *,
    density: Callable[..., Task] = flow,
    score: str = "likelihood",
    background: TrainedModel | None = None,
    false_alarms: float = 0.05,
) -> Task:
    r"""Returns the task of a density model of normal examples; the anomaly score tells how unusual an example is.

    The model is trained by ``density``, such as ``tasks.flow``. With its log-likelihood log p(x), in nats, the scores
    are:

    - ``likelihood``: -log p(x). It finds anomalies in tables. Of images, simple ones are likely under any model, also
      those that are unlike all training images (Nalisnick et al. 2019, arXiv:1810.09136).
    - ``typicality``: :math:`|-\log p(x) - H|`, where H is the running mean of the training loss, an estimate of the
      entropy (Nalisnick et al. 2019, arXiv:1906.02994, for single examples). It also finds examples that are too
      likely.
    - ``complexity``: :math:`-\log p(x) - L(x)`, where L is the length of a code of the image that knows no training
      data, ``generative.code_length``; only for images (Serrà et al. 2020, arXiv:1909.11480, with PNG).
    - ``ratio``: :math:`\log p_0(x) - \log p(x)`, where :math:`p_0` is a background model, trained on perturbed images
      (Ren et al. 2019, arXiv:1906.02845; the option ``mutation`` of ``tasks.autoregressive_images``).

    The classes of the data are the normal one and one or more kinds of anomalies. The metrics of the test split are
    those of ``score``, with all anomalies in one class, as in ``tasks.anomaly_detection``; the AUROC of every score,
    ``<score>_auroc``, and by kind ``<score>_auroc_<kind>``; and the metrics of ``baselines``, three detectors of
    scikit-learn. ``predict`` returns every score, and the chosen one as ``score``.

    Args:
        model: As in ``density``.
        spec: The classes; the first one is normal.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        density: A task whose endpoint ``predict`` returns ``log_likelihood``: ``tasks.flow`` or
            ``tasks.autoregressive_images``.
        score: One of the scores above.
        background: The run of the background model, for ``ratio``.
        false_alarms: The fraction of normal examples that may exceed the threshold, the quantile
            ``1 - false_alarms`` of the scores of the validation split.

    Raises:
        ValueError: An argument is out of range, a score needs a background or images, or the data has other classes.
    """
    check_spec("tasks.likelihood_detection", spec, Classes)
    if spec.size < 2:
        raise ValueError(f"the data of tasks.likelihood_detection must have 2 or more classes, got {spec.size}")
    check_choice("score", score, SCORES)
    check_fraction("false_alarms", false_alarms)
    background_score = None if background is None else background.predict
    if background is not None and background_score is None:
        raise ValueError(f"`background` must be a run with the endpoint predict, got {background.run}")
    if score == "ratio" and background is None:
        raise ValueError("`background` must be a run for the score ratio, got None")

    def with_mean_loss(init: Any, loss: Any) -> Any:
        def init_with_mean(key, batch):
            return {**init(key, batch), MEAN: {name: jnp.zeros((), jnp.float32) for name in ("mean", "weight")}}

        def loss_with_mean(variables, batch, context):
            value, aux = loss(variables, batch, context)
            mean, weight = variables[MEAN]["mean"], variables[MEAN]["weight"]
            total = DECAY * weight + 1
            nats = jax.lax.stop_gradient(value).astype(jnp.float32)
            moved = {"mean": mean + (nats - mean) / total, "weight": total}
            return value, aux._replace(updated={**aux.updated, MEAN: moved})

        return make_learner(init_with_mean, loss_with_mean)

    module: Any = model if isinstance(model, nn.Module) else call_factory(model, {})
    levels: int = getattr(module, "num_levels", INTENSITIES)
    task = density(module, spec, with_mean_loss)
    log_likelihood = task.endpoints["predict"].function

    def scores(variables: Any, batch: Any) -> dict[str, jax.Array]:
        inputs = batch["inputs"]
        if score == "complexity" and inputs.ndim != 4:
            raise ValueError(f"the examples must be images for the score complexity, got shape {inputs.shape[1:]}")
        value = log_likelihood(variables, batch)["log_likelihood"]
        found = {"likelihood": -value, "typicality": jnp.abs(-value - variables[MEAN]["mean"])}
        if inputs.ndim == 4:
            found["complexity"] = -value - code_length(levels_of(to_pixels(inputs), levels), levels)
        if background is not None and background_score is not None:
            found["ratio"] = background_score(background.variables, batch)["log_likelihood"] - value
        return found

    def predict(variables: Any, batch: Any) -> dict[str, jax.Array]:
        found = scores(variables, batch)
        return {"score": found[score], **found}

    chosen = lambda variables, batch: (scores(variables, batch)[score], batch["targets"], batch["mask"])

    def all_scores(variables: Any, batch: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        return jnp.stack(list(scores(variables, batch).values()), axis=1), batch["targets"], batch["mask"]

    def compared(values: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Computes the AUROC of all scores ``[N, S]``, for all anomalies and for each kind."""
        images = values.shape[1] > 2 + (background is not None)
        names = ("likelihood", "typicality", *("complexity",) * images, "ratio")
        return {
            f"{name}_{metric}": area
            for name, column in zip(names, values.T, strict=False)
            for metric, area in areas_by_kind(column, targets, spec.names).items()
        }

    compiled = jax.jit(lambda variables, batch: scores(variables, batch)[score])
    evaluators = {
        "detection": ScheduledEvaluator(detection(chosen, false_alarms, any_kind), ("validation", "test"), every=0),
        "scores": ScheduledEvaluator(from_all_scores(all_scores, compared), ("test",), every=0),
        "baselines": ScheduledEvaluator(baselines(), ("train", "test"), every=0),
    }
    return task._replace(
        evaluators={**task.evaluators, **evaluators},
        reports={
            **task.reports,
            "anomalies": lambda variables, splits, key: detection_reports(
                compiled, variables, splits, spec.names, false_alarms
            ),
        },
        endpoints={**task.endpoints, "predict": Endpoint(predict, {"inputs": ("batch",)})},
    )
