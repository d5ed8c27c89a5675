"""Supervised tasks: an answer for every example, or for every step of it.

A batch is a dict: ``inputs`` ``[B, ...]``; ``targets`` of one answer per example ``[B]`` or per step ``[B, T]`` (and a
last axis for quantities); ``mask`` bool, which of the answers count; ``lengths`` int32 ``[B]`` where rows are ragged;
``members`` bool ``[B, N]``, which elements of sets are real; ``width`` int32 ``[B]`` where rows are the pixels of
images, for pictures.
A model is ``(inputs, train=) -> answers``, with ``lengths=`` or ``members=`` too where the batch has them; while
training it may answer with a tuple, whose first is the answer and whose others are those of auxiliary heads.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnets.data.targets import Classes, Quantities
from jaxnets.ops.masks import masked_mean, masked_sum
from jaxnets.tasks import pictures, set_pictures
from jaxnets.tasks.cross_entropy import cross_entropy, is_right
from jaxnets.tasks.task import Task

# What the loss of each auxiliary head counts (Szegedy et al. 2015, arXiv:1409.4842, section 5).
AUXILIARY = 0.3

READS = {"inputs": ("batch", "length"), "lengths": ("batch",), "members": ("batch", "length")}

DRAWN = 2**28  # bytes of examples that pictures are made of, at most


def classification(model: nn.Module, classes: Classes) -> Task:
    """The task of a model that gives logits ``[B, C]`` or ``[B, T, C]``; the loss is the mean ``-log p``, in nats."""

    def metrics(logits, targets):
        chex.assert_shape(logits, (*targets.shape, classes.size))
        nats = cross_entropy(logits, targets)
        return {"loss": nats, "accuracy": is_right(logits, targets)}

    def draw(logits, batch):
        chosen = np.argmax(logits, axis=-1)
        figures = {"confusion": pictures.confusion(batch["targets"], chosen, batch["mask"], classes.names)}
        if batch["targets"].ndim == 1:
            figures["mistakes"] = pictures.mistakes(logits, batch, classes.names)
        return figures

    return supervised(model, metrics, draw, "nats per label")


def regression(model: nn.Module, quantities: Quantities, error: str = "squared") -> Task:
    """The task of a model that gives ``[B, Q]`` or ``[B, T, Q]``; the loss is the mean error.

    Args:
        model: As above.
        quantities: What is measured.
        error: ``"squared"`` or ``"absolute"``.

    Raises:
        ValueError: ``error`` is neither.
    """
    if error not in ("squared", "absolute"):
        raise ValueError(f"error: squared or absolute; given {error!r}")

    def metrics(answers, targets):
        chex.assert_equal_shape([answers, targets])
        away = jnp.abs(answers - targets)
        squared, absolute = jnp.mean(away**2, axis=-1), jnp.mean(away, axis=-1)
        return {"loss": squared if error == "squared" else absolute, "absolute_error": absolute}

    def draw(answers, batch):
        real = batch["mask"]
        return {"predicted": pictures.predicted(answers[real], batch["targets"][real], quantities.names)}

    return supervised(model, metrics, draw, f"mean {error} error")


def supervised(
    model: nn.Module,
    metrics: Callable[[jax.Array, jax.Array], dict[str, jax.Array]],
    draw: Callable[[np.ndarray, dict[str, np.ndarray]], dict[str, Any]],
    measure: str,
    prepare: Callable[[Any, jax.Array | None], Any] = lambda batch, key: batch,
    of_model: Callable[[nn.Module, Any, Any], dict[str, Any]] = set_pictures.of_model,
    reads: dict[str, tuple[str, ...]] = READS,
) -> Task:
    """A task from what it measures and draws.

    Args:
        model: As above.
        metrics: ``(answers, targets) -> {name: one number per answer}``; ``"loss"`` is one of them.
        draw: ``(answers, batch) -> {name: figure}``, of all held-out examples.
        measure: What the loss is measured in.
        prepare: ``(batch, key) -> batch``, what the model sees; the key is for what is drawn anew in every step of
            training, and None otherwise.
        of_model: ``(model, variables, batch) -> {name: figure}``, what this kind of model is looked at with.
        reads: As of ``Task``.
    """

    def answers(variables, batch, **options):
        real = {name: batch[name] for name in ("lengths", "members") if name in batch}
        return model.apply(variables, batch["inputs"], **real, **options)

    def loss(variables, batch, key, carry):
        batch = prepare({**batch, "targets": _filled(batch)}, jax.random.fold_in(key, 1))
        options = {"train": True, "rngs": {"dropout": key}, "mutable": ["batch_stats"]}
        given, changed = answers(variables, batch, **options)
        given, *auxiliary = given if isinstance(given, tuple) else (given,)
        nats = metrics(given, batch["targets"])["loss"]
        nats += sum(AUXILIARY * metrics(other, batch["targets"])["loss"] for other in auxiliary)
        return masked_mean(nats, batch["mask"]), ((), changed)

    def predict(variables, batch):
        return answers(variables, prepare(batch, None))

    def evaluate(variables, batch, carry):
        mask = batch["mask"]
        found = metrics(predict(variables, batch), _filled(batch))
        return {name: (masked_sum(value, mask), jnp.sum(mask, dtype=jnp.float32)) for name, value in found.items()}, ()

    def draw_all(variables, batches):
        run = jax.jit(predict)
        pieces, size = [], 0
        for i in range(len(batches)):  # one by one: iterated over, it would be read far ahead
            batch = batches[i]
            pieces.append((np.asarray(run(variables, batch)), batch))
            size += batch["inputs"].nbytes
            if size > DRAWN:
                break
        whole = {name: np.concatenate([batch[name] for _, batch in pieces]) for name in pieces[0][1]}
        figures = draw(np.concatenate([found for found, _ in pieces]), whole)
        return {**figures, **of_model(model, variables, whole)}

    return Task(
        init=lambda key, batch: model.init(key, prepare({**batch, "inputs": batch["inputs"][:1]}, None)["inputs"]),
        loss=loss,
        evaluate=evaluate,
        predict=predict,
        reads=reads,
        draw=draw_all,
        sample=None,
        items=lambda batch: len(batch["inputs"]),
        unit="example",
        measure=measure,
        derive={},
    )


def _filled(batch: dict[str, jax.Array]) -> jax.Array:
    """The targets, 0 where they do not count: there they may be anything."""
    targets, mask = jnp.asarray(batch["targets"]), batch["mask"]
    return jnp.where(jnp.expand_dims(mask, tuple(range(mask.ndim, targets.ndim))), targets, 0)
