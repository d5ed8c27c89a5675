"""Helpers for tests of tasks without an optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxnets.learning import Aux, Context


class Parts(NamedTuple):
    """The arguments of ``make_learner``; with ``make_learner=Parts``, they are the ``learner`` of a task.

    Attributes:
        init: ``(key, batch) -> variables``.
        loss: ``(variables, batch, Context) -> (loss, Aux)``.
    """

    init: Callable
    loss: Callable


def loss_of(task, variables, batch, key=None, carry=()) -> tuple[jax.Array, Aux]:
    """The loss and ``Aux`` of a task with ``Parts`` at step 0."""
    return task.learner.loss(variables, batch, Context(jax.random.key(0) if key is None else key, 0, carry))


def measured(task, variables, batch, carry=None) -> dict[str, Any]:
    """The ``Mean`` of each metric of a batch."""
    return task.evaluators["metrics"].evaluator.measure(variables, batch, jax.random.key(0), carry)[0]


def means(task, variables, batch) -> dict[str, float]:
    """The metrics of a batch."""
    return {name: float(total / count) for name, (total, count) in measured(task, variables, batch).items()}


def figures(task, variables, batches) -> dict[str, Any]:
    """The figures of a task for these validation batches."""
    return task.reports["figures"](variables, {"validation": batches}, jax.random.key(0))
