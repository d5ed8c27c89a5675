"""Detection of anomalous series by a model that reconstructs normal ones.

A batch is a dict: ``inputs`` float32 ``[B, T, D]``; ``lengths`` int32 ``[B]`` if series are ragged; ``targets`` int32
``[B]``, 1 for an anomaly; ``mask`` bool ``[B]``. The training and the validation split hold normal series only.
"""

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Classes
from jaxnets.learning import Aux, Evaluator, MakeLearner, Mean
from jaxnets.learning.evaluators import ScheduledEvaluator, from_scores_of_splits, means
from jaxnets.ops.checks import check_fraction
from jaxnets.ops.host import extras
from jaxnets.ops.masks import masked_mean, masked_sum, valid_steps
from jaxnets.tasks.models import Model, check_spec, complete, learner_of
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

INPUTS = {"inputs": ("batch", "length"), "lengths": ("batch",)}
SHOWN = 3  # normal and anomalous series in a figure, each


def anomaly_detection(model: Model, spec: Classes, make_learner: MakeLearner, *, false_alarms: float = 0.05) -> Task:
    r"""Returns the task of a model that reconstructs series; its mean squared error is the anomaly score.

    .. math:: s(x) = \frac{1}{T D} \sum_{t, d} (x_{td} - \hat x_{td})^2

    Metrics of the test split: ``auroc``; ``auprc``, the average precision, whose value for random scores is the
    ``base_rate``, the fraction of anomalies; and ``f1`` and ``accuracy`` at a threshold that is chosen without
    anomalies: the quantile ``1 - false_alarms`` of the scores of the validation split.

    Args:
        model: ``(inputs [B, T, D], train=) -> [B, T, D]``, with ``lengths=`` for ragged series.
        spec: The classes ``normal`` and ``anomaly``.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        false_alarms: The fraction of normal series that may exceed the threshold.
    """
    check_spec("tasks.anomaly_detection", spec, Classes)
    if spec.size != 2:
        raise ValueError(f"the data of tasks.anomaly_detection must have 2 classes, got {spec.size}")
    check_fraction("false_alarms", false_alarms)
    network = complete(model, spec)

    def reconstruct(variables, batch, **options):
        lengths = {"lengths": batch["lengths"]} if "lengths" in batch else {}
        return network.apply(variables, batch["inputs"], **lengths, **options)

    def scores(variables, batch, **options):
        """Computes the mean squared error of each series, ``[B]``."""
        inputs = batch["inputs"]
        squares = jnp.mean((inputs - reconstruct(variables, batch, **options)) ** 2, axis=-1)
        if "lengths" not in batch:
            return jnp.mean(squares, axis=-1)
        valid = valid_steps(batch["lengths"], inputs.shape[1])
        return masked_sum(squares, valid, -1) / jnp.maximum(batch["lengths"], 1).astype(squares.dtype)

    def init(key, batch):
        return network.init(key, batch["inputs"][:1])

    def loss(variables, batch, context):
        errors = scores(variables, batch, train=True, rngs={"dropout": context.key})
        return masked_mean(errors, batch["mask"]), Aux()

    def measure(variables, batch, key, carry):
        mask = batch["mask"]
        total = masked_sum(scores(variables, batch), mask)
        return {"loss": Mean(total, jnp.sum(mask, dtype=jnp.float32))}, ()

    def predict(variables, batch):
        return {"score": scores(variables, batch)}

    drawn = jax.jit(lambda variables, batch: (reconstruct(variables, batch), scores(variables, batch)))

    def draw(variables, splits, key):
        shown: dict[int, list] = {0: [], 1: []}
        batches = splits["test" if "test" in splits else "validation"]
        for i in range(len(batches)):  # by index: an iterator would prefetch many batches
            batch = batches[i]
            outputs, found = map(np.asarray, drawn(variables, batch))
            for row in np.flatnonzero(batch["mask"]):
                length = batch["lengths"][row] if "lengths" in batch else outputs.shape[1]
                item = (batch["inputs"][row, :length, 0], outputs[row, :length, 0], found[row])
                shown[int(batch["targets"][row])].append(item)
            if all(len(items) >= SHOWN for items in shown.values()):
                break
        return {"reconstructions": _figure(shown, spec.names)}

    score = lambda variables, batch: (scores(variables, batch), batch["targets"], batch["mask"])
    return Task(
        learner=learner_of(network, init, loss, make_learner),
        evaluators={
            "metrics": ScheduledEvaluator(means(measure)),
            "detection": ScheduledEvaluator(detection(score, false_alarms), ("validation", "test"), every=0),
        },
        objective=("validation/loss", "min"),
        reports={"figures": draw},
        endpoints={"predict": Endpoint(predict, dict(INPUTS))},
        items=Items(lambda batch: len(batch["inputs"]), "series"),
        units={"loss": "mean squared error"},
        partition_rules=partition_rules_of(network),
    )


def detection(score: Any, false_alarms: float) -> Evaluator:
    """Creates the evaluator of anomaly scores; the threshold is a quantile of the scores of the validation split.

    Args:
        score: ``(variables, batch) -> (scores, targets, mask)``, each ``[B]``; targets are 1 for an anomaly.
        false_alarms: The fraction of the validation split above the threshold.
    """

    def compute(splits):
        threshold = math.nan
        if "validation" in splits:
            scores, targets = splits["validation"]
            threshold = float(np.quantile(scores[targets == 0], 1 - false_alarms)) if np.any(targets == 0) else math.nan
        found: dict[str, float] = {}
        for name, (scores, targets) in splits.items():
            if name != "validation":
                metrics = detection_metrics(scores, targets, threshold)
                found |= {f"{name}/{key}": value for key, value in metrics.items()}
        return found

    return from_scores_of_splits(score, compute)


def detection_metrics(scores: np.ndarray, targets: np.ndarray, threshold: float) -> dict[str, float]:
    """Computes ``auroc``, ``auprc``, ``base_rate``, and ``f1`` and ``accuracy`` at a threshold.

    Args:
        scores: ``[N]``, higher for anomalies.
        targets: ``[N]``, 1 for an anomaly.
        threshold: Scores above it are reported as anomalies. NaN: no ``f1`` and ``accuracy``.
    """
    extras.require(__name__, "train")
    from sklearn.metrics import average_precision_score, f1_score, roc_auc_score  # the import takes a second

    metrics = {"base_rate": float(np.mean(targets))}
    if len(np.unique(targets)) == 2 and np.isfinite(scores).all():
        metrics["auroc"] = float(roc_auc_score(targets, scores.astype(np.float64)))
        metrics["auprc"] = float(average_precision_score(targets, scores.astype(np.float64)))
    if not math.isnan(threshold):
        predicted = scores > threshold
        metrics["f1"] = float(f1_score(targets, predicted, zero_division=0.0))
        metrics["accuracy"] = float(np.mean(predicted == targets))
    return metrics


def _figure(shown: dict[int, list[tuple[np.ndarray, np.ndarray, float]]], names: tuple[str, ...]) -> "Figure":
    """Draws the first feature of a few series of both classes with their reconstructions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * SHOWN, 4.4))
    panels = figure.subplots(2, SHOWN, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for kind, items in shown.items():
        for axes, (series, output, score) in zip(panels[kind], items, strict=False):
            axes.set_axis_on()
            axes.plot(series, color="black", lw=1, label="series")
            axes.plot(output, color="C0" if kind == 0 else "C3", lw=1, label="reconstruction")
            axes.set_title(f"{names[kind]}, score {score:.3f}", fontsize=9)
            axes.tick_params(labelsize=7)
    panels[0, 0].legend(fontsize=7)
    figure.tight_layout()
    return figure
