"""Supervised tasks: an answer for every example, or for every step of it.

A batch is a dict: ``inputs`` ``[B, ...]``; ``targets`` of one answer per example ``[B]`` or per step ``[B, T]`` (and a
last axis for quantities); ``mask`` bool, which of the answers count; ``lengths`` int32 ``[B]`` where rows are ragged;
``members`` bool ``[B, N]``, which elements of sets are real; ``width`` int32 ``[B]`` where rows are the pixels of
images, for pictures.
A model is ``(inputs, train=) -> answers``, with ``lengths=`` or ``members=`` too where the batch has them.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxnets.data.targets import Classes, Quantities
from jaxnets.tasks import pictures, set_pictures
from jaxnets.tasks.task import Task


def classification(model: nn.Module, classes: Classes) -> Task:
    """The task of a model that gives logits ``[B, C]`` or ``[B, T, C]``; the loss is the mean ``-log p``, in nats."""

    def metrics(logits, targets):
        chex.assert_shape(logits, (*targets.shape, classes.size))
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return {"loss": nats, "accuracy": jnp.argmax(logits, axis=-1) == targets}

    def draw(logits, batch):
        chosen = np.argmax(logits, axis=-1)
        figures = {"confusion": pictures.confusion(batch["targets"], chosen, batch["mask"], classes.names)}
        if batch["targets"].ndim == 1:
            figures["mistakes"] = pictures.mistakes(logits, batch, classes.names)
        return figures

    return _supervised(model, metrics, draw, "nats per label")


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

    return _supervised(model, metrics, draw, f"mean {error} error")


def _supervised(
    model: nn.Module,
    metrics: Callable[[jax.Array, jax.Array], dict[str, jax.Array]],
    draw: Callable[[np.ndarray, dict[str, np.ndarray]], dict[str, Any]],
    measure: str,
) -> Task:
    """A task from ``metrics``: (answers, targets) -> one number per answer, by name; ``"loss"`` is one of them."""

    def answers(variables, batch, **options):
        real = {name: batch[name] for name in ("lengths", "members") if name in batch}
        return model.apply(variables, batch["inputs"], **real, **options)

    def loss(variables, batch, key, carry):
        found = metrics(answers(variables, batch, train=True, rngs={"dropout": key}), batch["targets"])
        mask = batch["mask"]
        return jnp.sum(jnp.where(mask, found["loss"], 0)) / jnp.maximum(jnp.sum(mask), 1), ()

    def evaluate(variables, batch, carry):
        mask = batch["mask"]
        found = metrics(answers(variables, batch), batch["targets"])
        return {name: (jnp.sum(jnp.where(mask, value, 0)), jnp.sum(mask)) for name, value in found.items()}, ()

    def draw_all(variables, batches):
        run = jax.jit(answers)
        pieces = [(np.asarray(run(variables, batch)), batch) for batch in batches]
        whole = {name: np.concatenate([batch[name] for _, batch in pieces]) for name in pieces[0][1]}
        figures = draw(np.concatenate([found for found, _ in pieces]), whole)
        return {**figures, **set_pictures.of_model(model, variables, whole)}

    return Task(
        init=lambda key, batch: model.init(key, batch["inputs"][:1]),
        loss=loss,
        evaluate=evaluate,
        draw=draw_all,
        sample=None,
        items=lambda batch: len(batch["inputs"]),
        unit="example",
        measure=measure,
        derive={},
    )
