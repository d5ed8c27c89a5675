"""Learners as a config describes them: the optimizer, frozen parameters, accumulation, averages, skipped updates."""

from collections.abc import Callable
from typing import Any

import optax
from ml_collections import ConfigDict

from jaxnets.learning import Gradient, skip_nonfinite, with_ema
from jaxnets.learning.optimizers import reduce_on_plateau
from jaxnets.learning.parameters import named
from jaxnets.tasks import Task
from jaxnets.training.config import expression, matching
from jaxnets.training.errors import UsageError
from jaxnets.training.settings.calls import call

PLATEAU = "validation/loss"  # the metric whose plateaus reduce the learning rate


def learn(config: ConfigDict, optimizer: optax.GradientTransformation) -> Gradient:
    """What a task learns with, from its optimizer and the settings of a config."""
    settings, observe = config.optimizer, None
    if settings.plateau_factor:
        reduction = {"factor": settings.plateau_factor, "patience": settings.plateau_patience, "metric": PLATEAU}
        optimizer, observe = call("the plateau", reduce_on_plateau, {"optimizer": optimizer, **reduction})
    return Gradient(optimizer, _trainable(settings.frozen), config.train.grad_accum_steps, observe)


def wrapped(config: ConfigDict, task: Task) -> Task:
    """The task whose learner keeps an average and leaves updates out, where the config says so."""
    learner, average = task.learner, config.optimizer.ema_decay
    if not 0 <= average < 1:
        raise UsageError(f"--config.optimizer.ema_decay={average}: from 0 to below 1 expected; 0 keeps no average")
    if config.optimizer.plateau_factor and task.objective != (PLATEAU, "min"):
        least = task.objective and f"{task.objective[0]}, {task.objective[1]}"
        raise UsageError(
            f"--config.optimizer.plateau_factor needs a task whose objective is {PLATEAU}, min, got {least}"
        )
    if average:
        learner = with_ema(learner, average, trainable=_trainable(config.optimizer.frozen))
    if config.train.nan_policy == "skip":
        learner = skip_nonfinite(learner)
    return task._replace(learner=learner)


def _trainable(frozen: str) -> Callable[[str], bool] | None:
    if not frozen:
        return None
    found = expression("optimizer.frozen", frozen)
    return lambda path: not found.search(path)


def check_frozen(config: ConfigDict, variables: Any) -> None:
    """A ``UsageError`` where ``config.optimizer.frozen`` is found in no parameter, or in all."""
    matching("optimizer.frozen", config.optimizer.frozen, named({"params": variables.get("params", {})}))
