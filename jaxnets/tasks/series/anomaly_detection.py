"""Detection of anomalous series by a model that reconstructs normal ones.

A batch is a dict: ``inputs`` float32 ``[B, T, D]``; ``lengths`` int32 ``[B]`` if series are ragged; ``targets`` int32
``[B]``, 1 for an anomaly; ``mask`` bool ``[B]``. The training and the validation split hold normal series only.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Classes
from jaxnets.learning import Aux, Evaluator, MakeLearner, mean_over
from jaxnets.learning.evaluators import ScheduledEvaluator, from_scores_of_splits, means
from jaxnets.ops.checks import check_fraction, check_number
from jaxnets.ops.host import extras
from jaxnets.ops.masks import masked_mean, masked_sum, valid_steps
from jaxnets.series import Moments, initial_moments, squared_mahalanobis, updated_moments
from jaxnets.tasks.models import Model, check_spec, complete, learner_of
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

INPUTS = {"inputs": ("batch", "length"), "lengths": ("batch",)}
MOMENTS = "score_moments"  # the variable collection of the moments of codes and errors
CODE_RIDGE = 0.01  # of the covariance of codes, which a few hundred series determine poorly
DECAY = 0.95  # of the weight of the moments per update: the codes of early training are forgotten
MIN_ERROR = 1e-12
Metrics = Callable[[np.ndarray, np.ndarray, float], dict[str, float]]
SHOWN = 3  # normal and anomalous series in a figure, each


def anomaly_detection(
    model: Model,
    spec: Classes,
    make_learner: MakeLearner,
    *,
    false_alarms: float = 0.05,
    code_weight: float = 1.0,
    noise: float = 0.0,
) -> Task:
    r"""Returns the task of a model that reconstructs series; the anomaly score tells how unusual a series is.

    The loss is the mean squared error of a series, e. If the model returns a code z of K numbers too, the score adds
    its squared Mahalanobis distance, because an anomaly may be reconstructed well from an unusual code:

    .. math::
        e(x) = \frac{1}{T D} \sum_{t, d} (x_{td} - \hat x_{td})^2, \quad
        s(x) = \frac{e(x)}{\bar e} + \frac{w}{K} (z - \mu)^\top \Sigma^{-1} (z - \mu)

    The mean error and the mean and the covariance of codes are running statistics of normal training series, stored
    with the variables. Without a code, or with w = 0, the score is e.

    Metrics of the test split: ``auroc``; ``auprc``, the average precision, whose value for random scores is the
    ``base_rate``, the fraction of anomalies; and ``f1`` and ``accuracy`` at a threshold that is chosen without
    anomalies: the quantile ``1 - false_alarms`` of the scores of the validation split.

    Args:
        model: ``(inputs [B, T, D], train=) -> [B, T, D]``, or a pair of this and the codes ``[B, K]``, with
            ``lengths=`` for ragged series.
        spec: The classes ``normal`` and ``anomaly``.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        false_alarms: The fraction of normal series that may exceed the threshold.
        code_weight: w.
        noise: Standard deviation of normal noise that is added to the inputs in training, as in a denoising autoencoder
            (Vincent et al. 2008).

    References:
        Yue and Qin, Reconstruction-Based Fault Identification Using a Combined Index, 2001.
    """
    check_spec("tasks.anomaly_detection", spec, Classes)
    if spec.size != 2:
        raise ValueError(f"the data of tasks.anomaly_detection must have 2 classes, got {spec.size}")
    check_fraction("false_alarms", false_alarms)
    check_number("code_weight", code_weight)
    check_number("noise", noise)
    network = complete(model, spec)

    def reconstruct(variables, batch, added=None, **options):
        """Computes the reconstructions, the errors ``[B]`` and the codes ``[B, K]``, or None.

        The model sees the inputs with ``added``, an array of their shape.
        """
        inputs = batch["inputs"]
        lengths = {"lengths": batch["lengths"]} if "lengths" in batch else {}
        found: Any = network.apply(variables, inputs if added is None else inputs + added, **lengths, **options)
        outputs, codes = found if isinstance(found, tuple) else (found, None)
        squares = jnp.mean((inputs - outputs) ** 2, axis=-1)
        if "lengths" not in batch:
            return outputs, jnp.mean(squares, axis=-1), codes
        valid = valid_steps(batch["lengths"], inputs.shape[1])
        count = jnp.maximum(batch["lengths"], 1).astype(squares.dtype)
        return outputs, masked_sum(squares, valid, -1) / count, codes

    def scored(variables, batch):
        outputs, errors, codes = reconstruct(variables, batch)
        if codes is None or not code_weight:
            return outputs, errors
        moments = {name: Moments(**each) for name, each in variables[MOMENTS].items()}
        distances = squared_mahalanobis(codes, moments["code"], CODE_RIDGE) / codes.shape[-1]
        return outputs, errors / jnp.maximum(moments["error"].mean, MIN_ERROR) + code_weight * distances

    def scores(variables, batch):
        return scored(variables, batch)[1]

    def init(key, batch):
        rows = {"inputs": batch["inputs"][:1]}
        variables = network.init(key, rows["inputs"])
        _, _, codes = jax.eval_shape(reconstruct, variables, rows)
        if codes is None:
            return variables
        sizes = {"code": codes.shape[-1], "error": 1}
        return {**variables, MOMENTS: {name: initial_moments(size)._asdict() for name, size in sizes.items()}}

    def loss(variables, batch, context):
        key, added = context.key, None
        if noise:
            added = noise * jax.random.normal(jax.random.fold_in(key, 1), batch["inputs"].shape, batch["inputs"].dtype)
        _, errors, codes = reconstruct(variables, batch, added, train=True, rngs={"dropout": key})
        updated = {}
        if codes is not None:
            _, *clean = reconstruct(variables, batch) if noise else (None, errors, codes)
            rows = jax.lax.stop_gradient({"code": clean[1], "error": clean[0][:, None]})
            moments = variables[MOMENTS]
            update = lambda name: updated_moments(Moments(**moments[name]), rows[name], batch["mask"], DECAY)._asdict()
            updated = {MOMENTS: {name: update(name) for name in rows}}
        return masked_mean(errors, batch["mask"]), Aux(updated=updated)

    def measure(variables, batch, key, carry):
        return {"loss": mean_over(reconstruct(variables, batch)[1], batch["mask"])}, ()

    def predict(variables, batch):
        return {"score": scores(variables, batch)}

    drawn = jax.jit(scored)

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


def detection(score: Any, false_alarms: float, metrics: Metrics | None = None) -> Evaluator:
    """Creates the evaluator of anomaly scores; the threshold is that of the validation split.

    Args:
        score: ``(variables, batch) -> (scores, targets, mask)`` as in ``learning.evaluators``. Targets, or their first
            column, are 1 for an anomaly.
        false_alarms: The fraction of the normal scores of the validation split above the threshold.
        metrics: ``(scores, targets, threshold) -> {name: value}``; None: ``detection_metrics``.
    """
    measure = metrics or detection_metrics

    def compute(splits):
        threshold = math.nan
        if "validation" in splits:
            scores, targets = splits["validation"]
            threshold = threshold_of(scores[targets.reshape(len(targets), -1)[:, 0] == 0], false_alarms)
        return {
            f"{split}/{name}": value
            for split, (scores, targets) in splits.items()
            if split != "validation"
            for name, value in measure(scores, targets, threshold).items()
        }

    return from_scores_of_splits(score, compute)


def threshold_of(scores: np.ndarray, false_alarms: float) -> float:
    """Returns the quantile ``1 - false_alarms`` of normal scores; NaN if there is none."""
    return float(np.quantile(scores, 1 - false_alarms)) if len(scores) else math.nan


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
