"""Learners from configs: optimizer, frozen parameters, gradient accumulation, moving average and skipped updates."""

from collections.abc import Callable
from typing import Any

import optax
from ml_collections import ConfigDict

from jaxnets.learning import Gradient, Learner, skip_nonfinite, with_ema
from jaxnets.learning.optimizers import reduce_on_plateau
from jaxnets.learning.parameters import leaves_by_path
from jaxnets.tasks import Task
from jaxnets.training.config import compile_pattern, match_paths
from jaxnets.training.errors import UsageError
from jaxnets.training.settings.calls import call

PLATEAU = "validation/loss"  # the metric whose plateaus reduce the learning rate


def gradient_learner(config: ConfigDict, optimizer: optax.GradientTransformation) -> Gradient:
    """Returns the arguments of ``learning.gradient`` that a config sets."""
    settings, observe = config.optimizer, None
    if settings.plateau_factor:
        reduction = {"factor": settings.plateau_factor, "patience": settings.plateau_patience, "metric": PLATEAU}
        optimizer, observe = call("the plateau", reduce_on_plateau, {"optimizer": optimizer, **reduction})
    return Gradient(optimizer, _trainable(settings.frozen), config.train.grad_accum_steps, observe)


def with_wrappers(config: ConfigDict, task: Task) -> Task:
    """Wraps the learner of a task in a moving average and in skipping of updates, as the config requests."""
    learner, decay = task.learner, config.optimizer.ema_decay
    if not 0 <= decay < 1:
        raise UsageError(f"--config.optimizer.ema_decay must be in [0, 1) (0: no average), got {decay}")
    if config.optimizer.plateau_factor and task.objective != (PLATEAU, "min"):
        objective = task.objective and f"{task.objective[0]}, {task.objective[1]}"
        raise UsageError(
            f"--config.optimizer.plateau_factor needs a task with the objective {PLATEAU}, min, got {objective}"
        )
    if learner.closed_form:
        _check_closed_form(config)
    if decay:
        learner = with_ema(learner, decay, trainable=_trainable(config.optimizer.frozen))
    if config.train.nan_policy == "skip":
        learner = skip_nonfinite(learner)
    return task._replace(learner=learner)


def _check_closed_form(config: ConfigDict) -> None:
    """Raises a ``UsageError`` if a setting of gradient descent is requested of a solution in closed form."""
    optimizer, accumulated = config.optimizer, config.train.grad_accum_steps
    given = {
        "optimizer.ema_decay": optimizer.ema_decay,
        "optimizer.frozen": optimizer.frozen,
        "optimizer.plateau_factor": optimizer.plateau_factor,
        "train.grad_accum_steps": accumulated if accumulated != 1 else 0,
    }
    for name, value in given.items():
        if value:
            raise UsageError(
                f"--config.{name} must be left out: {config.model.name} is fitted in closed form, got {value!r}"
            )


def check_full_batch(config: ConfigDict, learner: Learner, batch_size: int, train_rows: int | None) -> None:
    """Raises a ``UsageError`` if a batch does not hold all training rows, and the learner needs them.

    Args:
        config: The config, for messages.
        learner: The learner.
        batch_size: Rows of a batch.
        train_rows: Number of training rows; None if there is no such number.
    """
    if learner.full_batch and train_rows is not None and batch_size != train_rows:
        raise UsageError(
            f"{config.model.name} is fitted to all {train_rows:,} training rows at once: use "
            f"--config.data.batch_size=0, got batches of {batch_size}"
        )


def _trainable(frozen: str) -> Callable[[str], bool] | None:
    if not frozen:
        return None
    pattern = compile_pattern("optimizer.frozen", frozen)
    return lambda path: not pattern.search(path)


def check_frozen(config: ConfigDict, variables: Any) -> None:
    """Raises a ``UsageError`` if ``config.optimizer.frozen`` matches no parameter or all parameters."""
    match_paths("optimizer.frozen", config.optimizer.frozen, leaves_by_path({"params": variables.get("params", {})}))
