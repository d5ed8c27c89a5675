"""Learners as a config describes them: the optimizer, frozen parameters, accumulation, averages, skipped updates."""

import re
from collections.abc import Callable

import optax
from ml_collections import ConfigDict

from jaxnets.learning import gradient, skip_nonfinite, with_ema
from jaxnets.learning.contract import Learn, Learner
from jaxnets.learning.optimizers import OPTIMIZERS, Observe, reduce_on_plateau
from jaxnets.learning.parameters import named
from jaxnets.tasks import Task
from jaxnets.training.calls import call
from jaxnets.training.config import matching
from jaxnets.training.errors import UsageError

WRAPPERS = ("name", "average", "frozen", "plateau", "patience")  # settings of config.optimizer that are no arguments


def gradient_of(config: ConfigDict) -> Learn:
    """``(init, loss) -> Learner``: ``learning.gradient`` with the optimizer of a config."""
    optimizer, observe = _optimizer(config.train.steps, config.optimizer)
    frozen = config.optimizer.frozen

    def learn(init: Callable, loss: Callable) -> Learner:
        return gradient(
            _checked(init, frozen) if frozen else init,
            loss,
            optimizer,
            trainable=_trainable(frozen),
            grad_accum_steps=config.train.accumulate,
            observe=observe,
        )

    return learn


def optimizer_of(config: ConfigDict) -> optax.GradientTransformation:
    """The optimizer of a config, for tasks that make their own learner with it.

    Raises:
        UsageError: The config sets what only ``gradient_of`` serves.
    """
    own = {"optimizer.frozen": config.optimizer.frozen, "optimizer.plateau": config.optimizer.plateau}
    own["train.accumulate"] = config.train.accumulate - 1
    for key, given in own.items():
        if given:
            raise UsageError(f"--config.{key}: this task does not support it")
    return _optimizer(config.train.steps, config.optimizer)[0]


def wrapped(config: ConfigDict, task: Task) -> Task:
    """The task whose learner keeps an average and leaves updates out, where the config says so."""
    learner, average = task.learner, config.optimizer.average
    if not 0 <= average < 1:
        raise UsageError(f"--config.optimizer.average={average}: from 0 to below 1 expected; 0 keeps no average")
    if average:
        learner = with_ema(learner, average, trainable=_trainable(config.optimizer.frozen))
    if config.train.not_finite == "skip":
        learner = skip_nonfinite(learner)
    return task._replace(learner=learner)


def _trainable(frozen: str) -> Callable[[str], bool] | None:
    return (lambda path: not re.search(frozen, path)) if frozen else None


def _checked(init: Callable, frozen: str) -> Callable:
    """``init``, with a ``UsageError`` where the expression ``frozen`` is found in no parameter, or in all."""

    def checked(key, batch):
        variables = init(key, batch)
        matching("optimizer.frozen", frozen, named({"params": variables["params"]}))
        return variables

    return checked


def _optimizer(steps: int, config: ConfigDict) -> tuple[optax.GradientTransformation, Observe | None]:
    """The optimizer, and what it learns from a validation loss."""
    arguments = {key: value for key, value in config.items() if key not in WRAPPERS}
    name = config.get("name", "adamw")
    if name not in OPTIMIZERS:
        raise UsageError(f"--config.optimizer.name={name}: one of {', '.join(OPTIMIZERS)} expected")
    optimizer = call(f"the optimizer {name}", OPTIMIZERS[name], {"steps": steps, **arguments})
    if not config.plateau:
        return optimizer, None
    reduction = {"factor": config.plateau, "patience": config.patience, "metric": "validation/loss"}
    return call("the plateau", reduce_on_plateau, {"optimizer": optimizer, **reduction})
