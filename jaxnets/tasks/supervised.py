"""Supervised tasks: one prediction for every example or for every step.

A batch is a dict: ``inputs`` ``[B, ...]``; ``targets`` ``[B]`` or ``[B, T]``, with a last axis for quantities or
labels; ``mask`` bool, the targets that count; ``lengths`` int32 ``[B]`` if rows are ragged; ``valid`` bool ``[B, N]``,
the mask of the elements of sets; ``width`` int32 ``[B]`` if rows are the pixels of images, for figures.

A model is ``(inputs, train=) -> outputs``, with the keywords ``lengths=`` or ``valid=`` if the batch has them. In
training it may return a tuple of the outputs and the outputs of auxiliary heads.
"""

from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxnets.data.targets import Classes, Labels, Quantities
from jaxnets.learning import Aux, MakeLearner, mean_over
from jaxnets.learning.evaluators import ScheduledEvaluator, auroc, means, multilabel
from jaxnets.ops.checks import check_choice
from jaxnets.ops.host.printable import printable
from jaxnets.ops.masks import masked_mean
from jaxnets.reports import Table, figures
from jaxnets.tasks import tables
from jaxnets.tasks.cross_entropy import cross_entropy, is_correct
from jaxnets.tasks.models import Model, check_spec, complete, learner_of
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

# Weight of the loss of each auxiliary head (Szegedy et al. 2015, arXiv:1409.4842, section 5).
AUXILIARY_WEIGHT = 0.3

INPUT_AXES = {"inputs": ("batch", "length"), "lengths": ("batch",), "valid": ("batch", "length")}

MAX_NAME = 60  # characters of the name of a quantity in a metric
MAX_QUANTITIES = 20  # with a separate metric and figure
MAX_FIGURE_BYTES = 2**28  # of the examples for figures


def classification(model: Model, spec: Classes, make_learner: MakeLearner) -> Task:
    """Returns the task of a model with logits ``[B, C]`` or ``[B, T, C]``.

    The loss is the mean cross entropy, in nats. Metrics include ``accuracy``, and ``auroc`` for two classes.

    Args:
        model: As above.
        spec: The classes.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
    """
    check_spec("tasks.classification", spec, Classes)

    def metrics(logits, targets):
        chex.assert_shape(logits, (*targets.shape, spec.size))
        nats = cross_entropy(logits, targets)
        return {"loss": nats, "accuracy": is_correct(logits, targets)}

    def draw(logits, batch):
        predicted = np.argmax(logits, axis=-1)
        drawn = {"confusion": figures.confusion_matrix(batch["targets"], predicted, batch["mask"], spec.names)}
        if batch["targets"].ndim == 1:
            drawn["mistakes"] = figures.mistakes(logits, batch, spec.names)
        return drawn

    table = lambda logits: tables.class_table(logits, spec)
    task = supervised(complete(model, spec), make_learner, metrics, draw, "nats per label", table=table)
    return with_auroc(task) if spec.size == 2 else task


def regression(model: Model, spec: Quantities, make_learner: MakeLearner, *, error: str = "squared") -> Task:
    """Returns the task of a model with outputs ``[B, Q]`` or ``[B, T, Q]``; the loss is the mean error.

    If the targets are standardized, the loss is the error of the standardized targets. The metric
    ``mean_absolute_error``, predictions and figures have the units of the data. Each of 2 to 20 quantities also has a
    metric ``mean_absolute_error/<name>``.

    Args:
        model: As above.
        spec: The quantities.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        error: ``"squared"`` or ``"absolute"``.

    Raises:
        ValueError: If ``error`` is unknown.
    """
    check_spec("tasks.regression", spec, Quantities)
    check_choice("error", error, ("squared", "absolute"))
    scale = spec.scale

    def metrics(outputs, targets):
        chex.assert_equal_shape([outputs, targets])
        errors = jnp.abs(outputs - targets)
        squared, absolute = jnp.mean(errors**2, axis=-1), jnp.mean(errors, axis=-1)
        values = {"loss": squared if error == "squared" else absolute, "mean_absolute_error": absolute}
        if scale is None:
            return values
        errors = errors * _broadcast(scale[1], errors)
        if 1 < spec.size <= MAX_QUANTITIES:
            names = [printable(name, MAX_NAME) for name in spec.names]
            names = names if len(set(names)) == len(names) else [f"y{i}" for i in range(len(names))]
            values |= {f"mean_absolute_error/{name}": errors[..., i] for i, name in enumerate(names)}
        return {**values, "mean_absolute_error": jnp.mean(errors, axis=-1)}

    def in_units(outputs):
        if scale is None:
            return outputs
        mean, std = (_broadcast(constant, outputs) for constant in scale)
        return outputs * std + mean

    def draw(outputs, batch):
        mask = batch["mask"]
        mean, std = (0, 1) if scale is None else scale  # in float64
        predicted, true = outputs[mask] * std + mean, batch["targets"][mask] * std + mean
        return {"predicted": figures.predicted_vs_true(predicted, true, spec.names[:MAX_QUANTITIES])}

    unit = f"mean {error} error" + ("" if scale is None else ", standardized")
    table = lambda outputs: tables.quantity_table(outputs, spec)
    return supervised(complete(model, spec), make_learner, metrics, draw, unit, postprocess=in_units, table=table)


def multilabel_classification(model: Model, spec: Labels, make_learner: MakeLearner) -> Task:
    """Returns the task of a model with logits ``[B, C]`` for examples with any number of C labels.

    The loss is the binary cross entropy, averaged over labels, in nats. Metrics are ``accuracy``, the fraction of
    correct labels; ``exact_match``, the fraction of examples with all labels correct; and the metrics
    of ``evaluators.multilabel``.

    Args:
        model: As above.
        spec: The labels. A batch has ``targets`` bool ``[B, C]``.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
    """
    check_spec("tasks.multilabel_classification", spec, Labels)

    def metrics(logits, targets):
        chex.assert_shape(logits, (*targets.shape[:-1], spec.size))
        chex.assert_equal_shape([logits, targets])
        correct = (logits > 0) == targets.astype(bool)
        nats = optax.sigmoid_binary_cross_entropy(logits, targets.astype(logits.dtype))
        return {
            "loss": jnp.mean(nats, axis=-1),
            "accuracy": jnp.mean(correct, axis=-1, dtype=jnp.float32),
            "exact_match": jnp.all(correct, axis=-1),
        }

    task = supervised(
        complete(model, spec),
        make_learner,
        metrics,
        lambda logits, batch: {},
        "nats per label",
        table=lambda logits: tables.label_table(logits, spec),
    )
    predict = task.endpoints["predict"].function
    score = lambda variables, batch: (predict(variables, batch), filled_targets(batch), batch["mask"])
    return task._replace(evaluators={**task.evaluators, "multilabel": ScheduledEvaluator(multilabel(score))})


def supervised(
    model: nn.Module,
    make_learner: MakeLearner,
    metrics: Callable[[jax.Array, jax.Array], dict[str, jax.Array]],
    draw: Callable[[np.ndarray, dict[str, np.ndarray]], dict[str, Any]],
    unit: str,
    preprocess: Callable[[Any, jax.Array | None], Any] = lambda batch, key: batch,
    draw_more: Callable[[Any, Any, np.ndarray], dict[str, Any]] = lambda variables, batch, outputs: {},
    input_axes: Mapping[str, tuple[str, ...]] = INPUT_AXES,
    table: Callable[[Any], Table] | None = None,
    postprocess: Callable[[jax.Array], jax.Array] = lambda outputs: outputs,
) -> Task:
    """Returns a supervised task with the given metrics and figures.

    Args:
        model: As above.
        make_learner: ``(init, loss) -> Learner``.
        metrics: ``(outputs, targets) -> {name: values}``, one value per target; ``"loss"`` is required.
        draw: ``(outputs, batch) -> {name: figure}``, for all held-out examples.
        unit: Unit of the loss.
        preprocess: ``(batch, key) -> batch``, applied before the model. The key is for random augmentation in training;
            it is None otherwise.
        draw_more: ``(variables, batch, outputs) -> {name: figure}``, additional figures.
        input_axes: ``inputs`` of the endpoint ``predict``.
        table: ``outputs -> Table``, presentation of predictions; None presents arrays.
        postprocess: ``outputs -> outputs`` of the endpoint ``predict``, such as a conversion of units.
    """

    def apply(variables, batch, **options):
        masks = {name: batch[name] for name in ("lengths", "valid") if name in batch}
        return model.apply(variables, batch["inputs"], **masks, **options)

    def loss(variables, batch, context):
        key = context.key
        batch = preprocess({**batch, "targets": filled_targets(batch)}, jax.random.fold_in(key, 1))
        options = {"train": True, "rngs": {"dropout": key}, "mutable": ["batch_stats"]}
        outputs, updated = apply(variables, batch, **options)
        outputs, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        losses = metrics(outputs, batch["targets"])["loss"]
        losses += sum(AUXILIARY_WEIGHT * metrics(other, batch["targets"])["loss"] for other in auxiliary)
        return masked_mean(losses, batch["mask"]), Aux(updated=updated)

    def predict(variables, batch):
        return apply(variables, preprocess(batch, None))

    def measure(variables, batch, key, carry):
        values = metrics(predict(variables, batch), filled_targets(batch))
        return {name: mean_over(value, batch["mask"]) for name, value in values.items()}, ()

    def draw_all(variables, splits, key):
        batches = splits["validation"]
        compiled = jax.jit(predict)
        outputs, examples, size = [], [], 0
        for i in range(len(batches)):  # by index: an iterator would prefetch many batches
            batch = batches[i]
            examples.append(batch)
            outputs.append(np.asarray(compiled(variables, batch)))
            size += batch["inputs"].nbytes
            if size > MAX_FIGURE_BYTES:
                break
        whole = {name: _joined([np.asarray(batch[name]) for batch in examples]) for name in examples[0]}
        joined = np.concatenate(outputs)
        return {**draw(joined, whole), **draw_more(variables, whole, joined)}

    def init(key, batch):
        return model.init(key, preprocess({**batch, "inputs": batch["inputs"][:1]}, None)["inputs"])

    present = None if table is None else lambda outputs: {"predictions": table(outputs)}
    return Task(
        learner=learner_of(model, init, loss, make_learner),
        evaluators={"metrics": ScheduledEvaluator(means(measure))},
        objective=("validation/loss", "min"),
        reports={"figures": draw_all},
        endpoints={
            "predict": Endpoint(
                lambda variables, batch: postprocess(predict(variables, batch)), dict(input_axes), present=present
            )
        },
        items=Items(lambda batch: len(batch["inputs"]), "example"),
        units={"loss": unit},
        partition_rules=partition_rules_of(model),
    )


def with_auroc(task: Task) -> Task:
    """Adds the area under the ROC curve to the metrics of a task with two classes."""
    predict = task.endpoints["predict"].function

    def score(variables, batch):
        logits, mask = predict(variables, batch), batch["mask"]
        flat = lambda array: jnp.reshape(array, -1)
        return flat(logits[..., 1] - logits[..., 0]), flat(filled_targets(batch)), flat(mask)

    return task._replace(evaluators={**task.evaluators, "auroc": ScheduledEvaluator(auroc(score))})


def filled_targets(batch: dict[str, jax.Array]) -> jax.Array:
    """Returns the targets with 0 where they are masked, since masked targets may have any value."""
    targets, mask = jnp.asarray(batch["targets"]), batch["mask"]
    return jnp.where(
        jnp.expand_dims(mask, tuple(range(mask.ndim, targets.ndim))), targets, jnp.zeros((), targets.dtype)
    )


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    """Concatenates rows; rows of batches with fewer steps are padded with zeros."""
    steps = max(array.shape[1] if array.ndim > 1 else 0 for array in arrays)
    pad = lambda a: np.pad(a, [(0, 0), (0, steps - a.shape[1]), *[(0, 0)] * (a.ndim - 2)]) if a.ndim > 1 else a
    return np.concatenate([pad(array) for array in arrays])


def _broadcast(constant: np.ndarray, outputs: jax.Array) -> jax.Array:
    """Returns a constant of each quantity, broadcast to outputs ``[..., Q]``."""
    return jnp.broadcast_to(jnp.asarray(constant, outputs.dtype), outputs.shape)
