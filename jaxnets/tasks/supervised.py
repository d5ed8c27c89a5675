"""Supervised tasks: an answer for every example, or for every step of it.

A batch is a dict: ``inputs`` ``[B, ...]``; ``targets`` of one answer per example ``[B]`` or per step ``[B, T]`` (and a
last axis for quantities or labels); ``mask`` bool, which of the answers count; ``lengths`` int32 ``[B]`` where rows are
ragged; ``valid`` bool ``[B, N]``, which elements of sets are real; ``width`` int32 ``[B]`` where rows are the pixels
of images, for pictures.
A model is ``(inputs, train=) -> answers``, with ``lengths=`` or ``valid=`` too where the batch has them; while
training it may answer with a tuple, whose first is the answer and whose others are those of auxiliary heads.
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
from jaxnets.learning import Aux, Learn, Mean
from jaxnets.learning.evaluators import Scheduled, auroc, means, multilabel
from jaxnets.ops.masks import masked_mean, masked_sum
from jaxnets.ops.printable import printable
from jaxnets.reports import Table, figures
from jaxnets.tasks import tables
from jaxnets.tasks.cross_entropy import cross_entropy, is_right
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.task import Endpoint, Items, Task, rules_of

# What the loss of each auxiliary head counts (Szegedy et al. 2015, arXiv:1409.4842, section 5).
AUXILIARY = 0.3

READS = {"inputs": ("batch", "length"), "lengths": ("batch",), "valid": ("batch", "length")}

NAME = 60  # characters of a quantity in the name of its metric
MEASURED = 20  # quantities that each have a metric and a picture of their own, at most
DRAWN = 2**28  # bytes of examples that pictures are made of, at most


def classification(model: Model, spec: Classes, learn: Learn) -> Task:
    """The task of a model that gives logits ``[B, C]`` or ``[B, T, C]``; the loss is the mean ``-log p``, in nats."""
    check_spec("tasks.classification", spec, Classes)

    def metrics(logits, targets):
        chex.assert_shape(logits, (*targets.shape, spec.size))
        nats = cross_entropy(logits, targets)
        return {"loss": nats, "accuracy": is_right(logits, targets)}

    def draw(logits, batch):
        chosen = np.argmax(logits, axis=-1)
        drawn = {"confusion": figures.confusion(batch["targets"], chosen, batch["mask"], spec.names)}
        if batch["targets"].ndim == 1:
            drawn["mistakes"] = figures.mistakes(logits, batch, spec.names)
        return drawn

    table = lambda logits: tables.of_classes(logits, spec)
    task = supervised(complete(model, spec), learn, metrics, draw, "nats per label", table=table)
    return _with_auroc(task) if spec.size == 2 else task


def regression(model: Model, spec: Quantities, learn: Learn, *, error: str = "squared") -> Task:
    """The task of a model that gives ``[B, Q]`` or ``[B, T, Q]``; the loss is the mean error.

    Where the targets are standardized, the model learns them so, and the loss is of these. The metric
    ``absolute_error``, predictions and pictures are in the units of the data; of 2 to 20 quantities each
    has its own ``absolute_error/<name>``.

    Args:
        model: As above.
        spec: What is measured.
        learn: ``(init, loss) -> Learner``, such as ``learning.gradient`` with its optimizer.
        error: ``"squared"`` or ``"absolute"``.

    Raises:
        ValueError: ``error`` is neither.
    """
    check_spec("tasks.regression", spec, Quantities)
    if error not in ("squared", "absolute"):
        raise ValueError(f"error: squared or absolute; given {error!r}")
    scale = spec.scale

    def metrics(answers, targets):
        chex.assert_equal_shape([answers, targets])
        away = jnp.abs(answers - targets)
        squared, absolute = jnp.mean(away**2, axis=-1), jnp.mean(away, axis=-1)
        found = {"loss": squared if error == "squared" else absolute, "absolute_error": absolute}
        if scale is None:
            return found
        away = away * _along(scale[1], away)
        if 1 < spec.size <= MEASURED:
            names = [printable(name, NAME) for name in spec.names]
            names = names if len(set(names)) == len(names) else [f"y{i}" for i in range(len(names))]
            found |= {f"absolute_error/{name}": away[..., i] for i, name in enumerate(names)}
        return {**found, "absolute_error": jnp.mean(away, axis=-1)}

    def in_units(answers):
        if scale is None:
            return answers
        mean, std = (_along(constant, answers) for constant in scale)
        return answers * std + mean

    def draw(answers, batch):
        real = batch["mask"]
        mean, std = (0, 1) if scale is None else scale  # in float64
        given, true = answers[real] * std + mean, batch["targets"][real] * std + mean
        return {"predicted": figures.predicted(given, true, spec.names[:MEASURED])}

    unit = f"mean {error} error" + ("" if scale is None else ", standardized")
    table = lambda answers: tables.of_quantities(answers, spec)
    return supervised(complete(model, spec), learn, metrics, draw, unit, answer=in_units, table=table)


def multilabel_classification(model: Model, spec: Labels, learn: Learn) -> Task:
    """The task of a model that gives logits ``[B, C]``, of which an example may have any number of labels.

    The loss is the mean over labels of the binary cross entropy, in nats. Metrics are ``accuracy``, the part of labels
    that are right, ``exact_match``, the part of examples whose labels all are, and those of ``evaluators.multilabel``.

    Args:
        model: As above.
        spec: What an example may have; a batch has ``targets`` bool ``[B, C]``.
        learn: ``(init, loss) -> Learner``.
    """
    check_spec("tasks.multilabel_classification", spec, Labels)

    def metrics(logits, targets):
        chex.assert_shape(logits, (*targets.shape[:-1], spec.size))
        chex.assert_equal_shape([logits, targets])
        right = (logits > 0) == targets.astype(bool)
        nats = optax.sigmoid_binary_cross_entropy(logits, targets.astype(logits.dtype))
        return {
            "loss": jnp.mean(nats, axis=-1),
            "accuracy": jnp.mean(right, axis=-1, dtype=jnp.float32),
            "exact_match": jnp.all(right, axis=-1),
        }

    task = supervised(
        complete(model, spec),
        learn,
        metrics,
        lambda logits, batch: {},
        "nats per label",
        table=lambda logits: tables.of_labels(logits, spec),
    )
    predict = task.endpoints["predict"].function
    score = lambda variables, batch: (predict(variables, batch), _filled(batch), batch["mask"])
    return task._replace(evaluators={**task.evaluators, "multilabel": Scheduled(multilabel(score))})


def supervised(
    model: nn.Module,
    learn: Learn,
    metrics: Callable[[jax.Array, jax.Array], dict[str, jax.Array]],
    draw: Callable[[np.ndarray, dict[str, np.ndarray]], dict[str, Any]],
    unit: str,
    prepare: Callable[[Any, jax.Array | None], Any] = lambda batch, key: batch,
    more: Callable[[Any, Any], dict[str, Any]] = lambda variables, batch: {},
    reads: Mapping[str, tuple[str, ...]] = READS,
    table: Callable[[Any], Table] | None = None,
    answer: Callable[[jax.Array], jax.Array] = lambda answers: answers,
) -> Task:
    """A task from what it measures and draws.

    Args:
        model: As above.
        learn: ``(init, loss) -> Learner``.
        metrics: ``(answers, targets) -> {name: one number per answer}``; ``"loss"`` is one of them.
        draw: ``(answers, batch) -> {name: figure}``, of all held-out examples.
        unit: What the loss is measured in.
        prepare: ``(batch, key) -> batch``, what the model sees; the key is for what is drawn anew in every step of
            training, and None otherwise.
        more: ``(variables, batch) -> {name: figure}``, beside those that ``draw`` makes.
        reads: ``inputs`` of the endpoint ``predict``.
        table: ``answers -> Table``, how predictions are shown; None: as arrays.
        answer: ``answers -> answers`` that the endpoint ``predict`` gives, such as in other units.
    """

    def answers(variables, batch, **options):
        real = {name: batch[name] for name in ("lengths", "valid") if name in batch}
        return model.apply(variables, batch["inputs"], **real, **options)

    def loss(variables, batch, context):
        key = context.key
        batch = prepare({**batch, "targets": _filled(batch)}, jax.random.fold_in(key, 1))
        options = {"train": True, "rngs": {"dropout": key}, "mutable": ["batch_stats"]}
        given, changed = answers(variables, batch, **options)
        given, *auxiliary = given if isinstance(given, tuple) else (given,)
        nats = metrics(given, batch["targets"])["loss"]
        nats += sum(AUXILIARY * metrics(other, batch["targets"])["loss"] for other in auxiliary)
        return masked_mean(nats, batch["mask"]), Aux(updated=changed)

    def predict(variables, batch):
        return answers(variables, prepare(batch, None))

    def measure(variables, batch, key, carry):
        mask = batch["mask"]
        found = metrics(predict(variables, batch), _filled(batch))
        return {
            name: Mean(masked_sum(value, mask), jnp.sum(mask, dtype=jnp.float32)) for name, value in found.items()
        }, ()

    def draw_all(variables, splits, key):
        batches = splits["validation"]
        run = jax.jit(predict)
        pieces, size = [], 0
        for i in range(len(batches)):  # one by one: iterated over, it would be read far ahead
            batch = batches[i]
            pieces.append((np.asarray(run(variables, batch)), batch))
            size += batch["inputs"].nbytes
            if size > DRAWN:
                break
        whole = {name: np.concatenate([batch[name] for _, batch in pieces]) for name in pieces[0][1]}
        drawn = draw(np.concatenate([found for found, _ in pieces]), whole)
        return {**drawn, **more(variables, whole)}

    def init(key, batch):
        return model.init(key, prepare({**batch, "inputs": batch["inputs"][:1]}, None)["inputs"])

    present = None if table is None else lambda found: {"predictions": table(found)}
    return Task(
        learner=learn(init, loss),
        evaluators={"metrics": Scheduled(means(measure))},
        objective=("validation/loss", "min"),
        reports={"figures": draw_all},
        endpoints={
            "predict": Endpoint(
                lambda variables, batch: answer(predict(variables, batch)), dict(reads), present=present
            )
        },
        items=Items(lambda batch: len(batch["inputs"]), "example"),
        units={"loss": unit},
        partition_rules=rules_of(model),
    )


def _with_auroc(task: Task) -> Task:
    """A task of two classes, of which the area under the ROC curve is measured too."""
    predict = task.endpoints["predict"].function

    def score(variables, batch):
        logits, mask = predict(variables, batch), batch["mask"]
        flat = lambda array: jnp.reshape(array, -1)
        return flat(logits[..., 1] - logits[..., 0]), flat(_filled(batch)), flat(mask)

    return task._replace(evaluators={**task.evaluators, "auroc": Scheduled(auroc(score))})


def _filled(batch: dict[str, jax.Array]) -> jax.Array:
    """The targets, 0 where they do not count: there they may be anything."""
    targets, mask = jnp.asarray(batch["targets"]), batch["mask"]
    return jnp.where(
        jnp.expand_dims(mask, tuple(range(mask.ndim, targets.ndim))), targets, jnp.zeros((), targets.dtype)
    )


def _along(constant: np.ndarray, answers: jax.Array) -> jax.Array:
    """A constant of each quantity, for answers ``[..., Q]``."""
    return jnp.broadcast_to(jnp.asarray(constant, answers.dtype), answers.shape)
