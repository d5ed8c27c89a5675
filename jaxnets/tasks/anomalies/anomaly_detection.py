"""Detection of anomalies by a model that reconstructs normal examples.

A batch is a dict: ``inputs`` float32, series ``[B, T, D]`` or rows of features ``[B, D]``; ``lengths`` int32 ``[B]`` if
series are ragged; ``targets`` int32 ``[B]``, 1 for an anomaly; ``mask`` bool ``[B]``. The training and the validation
split hold normal examples only.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Classes
from jaxnets.learning import Aux, MakeLearner, ScheduledEvaluator, mean_over, means
from jaxnets.ops.checks import check_fraction, check_integer, check_number
from jaxnets.ops.masks import masked_mean, masked_sum, valid_steps
from jaxnets.series import Moments, initial_moments, squared_mahalanobis, updated_moments
from jaxnets.tasks.anomalies.baselines import baselines
from jaxnets.tasks.anomalies.evaluation import detection
from jaxnets.tasks.anomalies.reports import detection_reports
from jaxnets.tasks.models import Model, check_spec, complete, learner_of
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

INPUTS: dict[str, tuple[str, ...]] = {"inputs": ("batch", "length"), "lengths": ("batch",)}
MOMENTS = "score_moments"  # the variable collection of the moments of codes and errors
CODE_RIDGE = 0.01  # of the covariance of codes, which a few hundred series determine poorly
DECAY = 0.95  # of the weight of the moments per update: the codes of early training are forgotten
MIN_ERROR = 1e-12
SHOWN = 3  # normal and anomalous series in a figure, each


def anomaly_detection(
    model: Model,
    spec: Classes,
    make_learner: MakeLearner,
    *,
    false_alarms: float = 0.05,
    error_weight: float = 1.0,
    code_weight: float = 1.0,
    noise: float = 0.0,
    ensemble_size: int = 1,
) -> Task:
    r"""Returns the task of a model that reconstructs examples; the anomaly score tells how unusual an example is.

    The loss is the mean squared error of an example, e. If the model returns a code z of K numbers too, the score adds
    its squared Mahalanobis distance, because an anomaly may be reconstructed well from an unusual code:

    .. math::
        e(x) = \frac{1}{N} \sum_i (x_i - \hat x_i)^2, \quad
        s(x) = v \frac{e(x)}{\bar e} + \frac{w}{K} (z - \mu)^\top \Sigma^{-1} (z - \mu)

    The mean error and the mean and the covariance of codes are running statistics of normal training examples, stored
    with the variables. Without a code, or with w = 0, the score is e. With v = 0, the code alone tells one class from
    all others.

    Metrics of the test split: ``auroc``; ``auprc``, the average precision, whose value for random scores is the
    ``base_rate``, the fraction of anomalies; ``fpr_at_95_tpr``, the fraction of normal examples above the threshold
    that finds 95 % of the anomalies; ``f1`` and ``accuracy`` at a threshold that is chosen without anomalies, the
    quantile ``1 - false_alarms`` of the scores of the validation split; and for examples of one size, the metrics of
    three detectors of scikit-learn.

    Args:
        model: ``(inputs [B, ...], train=) -> [B, ...]``, or a pair of this and the codes ``[B, K]``, with ``lengths=``
            for ragged series; or a model with the methods ``encode`` and ``decode``, such as
            ``generative.Autoencoder``.
        spec: The classes ``normal`` and ``anomaly``.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        false_alarms: The fraction of normal examples that may exceed the threshold.
        error_weight: v.
        code_weight: w.
        noise: Standard deviation of normal noise that is added to the inputs in training, as in a denoising autoencoder
            (Vincent et al. 2008).
        ensemble_size: Number of models, trained side by side from different initial parameters and with different
            noise. The reconstruction and the score are means over them.

    References:
        Yue and Qin, Reconstruction-Based Fault Identification Using a Combined Index, 2001.
    """
    check_spec("tasks.anomaly_detection", spec, Classes)
    if spec.size != 2:
        raise ValueError(f"the data of tasks.anomaly_detection must have 2 classes, got {spec.size}")
    check_fraction("false_alarms", false_alarms)
    check_number("error_weight", error_weight)
    check_number("code_weight", code_weight)
    if not error_weight and not code_weight:
        raise ValueError("`error_weight` or `code_weight` must be positive, got 0 and 0")
    check_number("noise", noise)
    check_integer("ensemble_size", ensemble_size)
    network: Any = complete(model, spec)
    method = _encode_and_decode if hasattr(network, "encode") and hasattr(network, "decode") else None

    def reconstruct(variables, batch, added=None, train=False, **options):
        """Computes the reconstructions, the errors ``[B]`` and the codes ``[B, K]``, or None.

        The model sees the inputs with ``added``, an array of their shape.
        """
        inputs = batch["inputs"]
        lengths = {"lengths": batch["lengths"]} if "lengths" in batch else {}
        if method is None:
            options = {**lengths, "train": train, **options}
        found: Any = network.apply(variables, inputs if added is None else inputs + added, method=method, **options)
        outputs, codes = found if isinstance(found, tuple) else (found, None)
        squares = (inputs - outputs) ** 2
        if "lengths" not in batch:
            return outputs, jnp.mean(squares, axis=tuple(range(1, squares.ndim))), codes
        valid = valid_steps(batch["lengths"], inputs.shape[1])
        count = jnp.maximum(batch["lengths"], 1).astype(squares.dtype)
        return outputs, masked_sum(jnp.mean(squares, axis=-1), valid, -1) / count, codes

    def scored(variables, batch):
        outputs, errors, codes = reconstruct(variables, batch)
        if codes is None or not code_weight:
            return outputs, errors
        moments = {name: Moments(**each) for name, each in variables[MOMENTS].items()}
        distances = squared_mahalanobis(codes, moments["code"], CODE_RIDGE) / codes.shape[-1]
        relative = errors / jnp.maximum(moments["error"].mean, MIN_ERROR)
        return outputs, error_weight * relative + code_weight * distances

    def over_members(function):
        """Averages a function of the variables of one member over all members, whose variables are stacked."""
        if ensemble_size == 1:
            return function
        members = jax.vmap(function, in_axes=(0, None))
        return lambda *arguments: jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), members(*arguments))

    outputs_and_scores = over_members(scored)
    errors_of = over_members(lambda variables, batch: reconstruct(variables, batch)[1])

    def scores(variables, batch):
        return outputs_and_scores(variables, batch)[1]

    def init(key, batch):
        if ensemble_size == 1:
            return init_member(key, batch)
        return jax.vmap(init_member, in_axes=(0, None))(jax.random.split(key, ensemble_size), batch)

    def init_member(key, batch):
        rows = {"inputs": batch["inputs"][:1]}
        size = rows["inputs"].size
        if method is not None and getattr(network, "features", size) != size:
            raise ValueError(f"`features` of the model must be {size}, those of a row, got {network.features}")
        variables = network.init(key, rows["inputs"], method=method)
        _, _, codes = jax.eval_shape(reconstruct, variables, rows)
        if codes is None:
            if not error_weight:
                raise ValueError("`error_weight` must be positive for a model without a code, got 0")
            return variables
        sizes = {"code": codes.shape[-1], "error": 1}
        return {**variables, MOMENTS: {name: initial_moments(size)._asdict() for name, size in sizes.items()}}

    def loss(variables, batch, context):
        if ensemble_size == 1:
            return loss_of_member(variables, batch, context.key)
        keys = jax.random.split(context.key, ensemble_size)
        values, aux = jax.vmap(loss_of_member, in_axes=(0, None, 0))(variables, batch, keys)
        return jnp.mean(values), aux

    def loss_of_member(variables, batch, key):
        added = None
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
        return {"loss": mean_over(errors_of(variables, batch), batch["mask"])}, ()

    def predict(variables, batch):
        return {"score": scores(variables, batch)}

    drawn, compiled = jax.jit(outputs_and_scores), jax.jit(scores)

    def draw(variables, splits, key):
        reports = detection_reports(compiled, variables, splits, spec.names, false_alarms)
        of_series = splits["validation"][0]["inputs"].ndim == 3
        return {**reports, **(reconstructions(variables, splits) if of_series else {})}

    def reconstructions(variables, splits):
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
            "baselines": ScheduledEvaluator(baselines(), ("train", "test"), every=0),
        },
        objective=("validation/loss", "min"),
        reports={"figures": draw},
        endpoints={"predict": Endpoint(predict, INPUTS if method is None else {"inputs": ("batch",)})},
        items=Items(lambda batch: len(batch["inputs"]), "example"),
        units={"loss": "mean squared error"},
        partition_rules=partition_rules_of(network),
    )


def _encode_and_decode(module: Any, xs: jax.Array) -> tuple[jax.Array, jax.Array]:
    codes = module.encode(xs)
    return module.decode(codes), codes


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
