"""Tasks without an optimizer, to call the initialization and the loss of a task directly."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxnets.learning import Aux, Context


class LearnerParts(NamedTuple):
    """The arguments of ``make_learner``; with ``make_learner=LearnerParts`` they are the ``learner`` of a task.

    Attributes:
        init: ``(key, batch) -> variables``.
        loss: ``(variables, batch, Context) -> (loss, Aux)``.
    """

    init: Callable
    loss: Callable


def loss_of(task, variables, batch, key=None, carry=()) -> tuple[jax.Array, Aux]:
    """Returns the loss of a task with ``LearnerParts`` at step 0, and its ``Aux``."""
    return task.learner.loss(variables, batch, Context(jax.random.key(0) if key is None else key, 0, carry))


def measured(task, variables, batch, carry=None) -> dict[str, Any]:
    """Returns the ``Mean`` of each metric for a batch."""
    return task.evaluators["metrics"].evaluator.measure(variables, batch, jax.random.key(0), carry)[0]


def means(task, variables, batch) -> dict[str, float]:
    """Returns the metrics of a batch."""
    return {name: float(total / count) for name, (total, count) in measured(task, variables, batch).items()}


def figures(task, variables, batches) -> dict[str, Any]:
    """Returns the figures of a task for batches of the validation split."""
    return task.reports["figures"](variables, {"validation": batches}, jax.random.key(0))


def detected(task, variables, dataset, *splits):
    """Returns the metrics of the evaluator ``detection`` over splits of a dataset."""
    evaluator, sums = task.evaluators["detection"].evaluator, {}
    measure = jax.jit(evaluator.measure)
    for split in splits:
        for i in range(len(dataset.splits[split])):
            outputs = measure(variables, dataset.splits[split][i], jax.random.key(0), ())[0]
            sums[split] = evaluator.add(sums.get(split), outputs)
    return evaluator.compute(sums)
