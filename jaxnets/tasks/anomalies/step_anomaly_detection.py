"""Detection of anomalous steps of series by a model that predicts the next steps (Malhotra et al. 2015).

A batch is a dict: ``inputs`` float32 ``[B, T + S, C]``, T steps of context and S scored steps; ``observed`` bool
``[B, T + S, C]``, False where a value is missing; ``mask`` bool ``[B, S]``, the steps to use; ``labels`` bool
``[B, S]``, True for an anomaly; and ``series`` int32 ``[B]``, the index of the series. In training and validation,
anomalies are masked.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import LabeledSteps
from jaxnets.learning import Aux, MakeLearner, mean_over
from jaxnets.learning.evaluators import ScheduledEvaluator, means
from jaxnets.ops.checks import check_fraction, check_integer
from jaxnets.ops.masks import masked_mean
from jaxnets.reports import Table, anomaly_figures
from jaxnets.series import (
    Moments,
    initial_moments,
    prediction_errors,
    squared_mahalanobis,
    updated_moments,
    vus_pr,
)
from jaxnets.tasks.anomalies.evaluation import detection, detection_metrics, threshold_of
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

MOMENTS = "error_moments"  # the variable collection of the mean and the covariance of errors
DECAY = 0.95  # of their weight per update: errors of early training are forgotten

INPUTS: dict[str, tuple[str, ...]] = {"inputs": ("batch",), "observed": ("batch",)}


def step_anomaly_detection(
    model: Model, spec: LabeledSteps, make_learner: MakeLearner, *, false_alarms: float = 0.01, max_buffer: int = 100
) -> Task:
    r"""Returns the task of a model that predicts l steps at every step; the score is the distance of its errors.

    The model minimizes the squared error of its predictions of normal steps. The errors of the l predictions of a step
    t, made at the steps t - 1, ..., t - l, form a vector :math:`e_t` of dimension l C. Its mean and covariance over
    normal training steps are running statistics, stored with the variables. The score is the squared Mahalanobis
    distance, about l C for a normal step:

    .. math:: s_t = (e_t - \mu)^\top \Sigma^{-1} (e_t - \mu)

    "Long Short Term Memory Networks for Anomaly Detection in Time Series", Malhotra et al. 2015, where the mean and the
    covariance are fitted to a validation part. Here, that part is for the threshold.

    Metrics of the test split: ``auroc``; ``auprc``, the average precision, whose value for random scores is the
    ``base_rate``, the fraction of anomalous steps; ``vus_pr`` (``series.vus_pr``); and ``f1`` and ``accuracy`` of
    single steps at a threshold that is chosen without anomalies: the quantile ``1 - false_alarms`` of the scores of the
    normal steps of the validation split. Scores are not adjusted by the segments around them.

    Args:
        model: ``(inputs [B, T + S, C], train=) -> [B, T + S, l, C]``, such as ``series.StepPredictor``. The predictions
            at a step must depend on the steps up to it only.
        spec: The series.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        false_alarms: The fraction of normal steps that may exceed the threshold.
        max_buffer: The largest buffer of ``vus_pr`` in steps, such as the period of the series.

    Raises:
        ValueError: If the data has no labels of steps, an argument is out of range, or the context is shorter than l.
    """
    check_spec("tasks.step_anomaly_detection", spec, LabeledSteps)
    check_fraction("false_alarms", false_alarms)
    check_integer("max_buffer", max_buffer, minimum=0)
    network = complete(model, spec)
    ahead = getattr(network, "num_ahead", 1)
    if isinstance(ahead, int) and ahead > spec.context:
        raise ValueError(f"`context` must be at least `num_ahead` of the model, {ahead}, got {spec.context}")

    def values_of(batch):
        return jnp.where(batch["observed"], batch["inputs"], 0)

    def errors_of(variables, batch, **options):
        """Computes the errors ``[B, S, l, C]``, and the updated batch statistics if ``mutable`` is an option."""
        xs = values_of(batch)
        found: Any = network.apply(variables, xs, **options)
        predictions, updated = found if "mutable" in options else (found, {})
        return prediction_errors(xs, predictions, spec.steps), updated

    def init(key, batch):
        xs = jnp.zeros((1, spec.context + spec.steps, spec.size), batch["inputs"].dtype)
        variables = network.init(key, xs)
        predictions = jax.eval_shape(lambda: network.apply(variables, xs))
        return {**variables, MOMENTS: initial_moments(math.prod(predictions.shape[2:]))._asdict()}

    def loss(variables, batch, context):
        options = {"train": True, "rngs": {"dropout": context.key}, "mutable": ["batch_stats"]}
        errors, updated = errors_of(variables, batch, **options)
        rows = jax.lax.stop_gradient(errors).reshape(-1, math.prod(errors.shape[2:]))
        moments = updated_moments(Moments(**variables[MOMENTS]), rows, batch["mask"].reshape(-1), DECAY)
        return masked_mean(_squares(errors), batch["mask"]), Aux(updated={**updated, MOMENTS: moments._asdict()})

    def measure(variables, batch, key, carry):
        squares = _squares(errors_of(variables, batch)[0])
        return {"loss": mean_over(squares, batch["mask"])}, ()

    def scores_of(variables, batch):
        errors, _ = errors_of(variables, batch)
        flat = errors.reshape(*errors.shape[:2], -1)
        return squared_mahalanobis(flat, Moments(**variables[MOMENTS]))

    def predict(variables, batch):
        scored = jnp.all(batch["observed"][:, spec.context :], axis=-1)
        return {"score": jnp.where(scored, scores_of(variables, batch), 0), "scored": scored}

    def ranked(variables, batch):
        """Computes the scores, the labels with the index of the series, and the mask."""
        series = jnp.broadcast_to(batch["series"][:, None], batch["labels"].shape)
        return scores_of(variables, batch), jnp.stack([batch["labels"].astype(jnp.int32), series], -1), batch["mask"]

    def metrics(scores, targets, threshold):
        return step_metrics(scores, targets[:, 0], targets[:, 1], threshold, max_buffer)

    compiled = jax.jit(scores_of)

    def draw(variables, splits, key):
        score = lambda batch: np.asarray(compiled(variables, batch))
        normal = anomaly_figures.scored_steps(score, splits["validation"])
        shown = anomaly_figures.scored_steps(score, splits["test"]) if "test" in splits else normal
        threshold = threshold_of(normal.scores, false_alarms)
        return {"scores": anomaly_figures.scores_over_time(shown, threshold, spec.names, spec.statistics)}

    return Task(
        learner=make_learner(init, loss),
        evaluators={
            "metrics": ScheduledEvaluator(means(measure)),
            "detection": ScheduledEvaluator(detection(ranked, false_alarms, metrics), ("validation", "test"), every=0),
        },
        objective=("validation/loss", "min"),
        reports={"figures": draw},
        endpoints={"predict": Endpoint(predict, dict(INPUTS), present=lambda outputs: {"scores": _table(outputs)})},
        items=Items(lambda batch: len(batch["inputs"]), "window"),
        units={"loss": "mean squared error"},
        partition_rules=partition_rules_of(network),
    )


def step_metrics(
    scores: np.ndarray, labels: np.ndarray, series: np.ndarray, threshold: float, max_buffer: int
) -> dict[str, float]:
    """Computes ``vus_pr`` and the metrics of ``evaluation.detection_metrics``.

    Args:
        scores: ``[N]``, higher for anomalies, in time order, one series after the other.
        labels: ``[N]``, 1 for an anomaly.
        series: ``[N]``, the index of the series of each step.
        threshold: As in ``detection_metrics``.
        max_buffer: As in ``series.vus_pr``, which is omitted if there is no anomaly, or no normal step.
    """
    metrics = detection_metrics(scores, labels, threshold)
    if len(np.unique(labels)) == 2 and np.isfinite(scores).all():
        offsets = np.concatenate([[0], np.flatnonzero(np.diff(series)) + 1, [len(series)]])
        metrics["vus_pr"] = vus_pr(scores, labels, max_buffer, offsets)
    return metrics


def _squares(errors: jax.Array) -> jax.Array:
    """Computes the mean squared error of each step, ``[B, S]``."""
    return jnp.mean(errors**2, axis=(2, 3))


def _table(outputs: dict[str, Any]) -> Table:
    """Returns one row per scored step."""
    scores, scored = np.asarray(outputs["score"]), np.asarray(outputs["scored"])
    rows = [(int(row), int(step) + 1, float(scores[row, step])) for row, step in np.argwhere(scored)]
    return Table(("row", "step", "score"), rows)
