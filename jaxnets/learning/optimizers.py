"""Optimizers: clipping, warm-up and cosine, then AdamW or SGD; less where the loss does not fall."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

__all__ = ["adamw", "reduce_on_plateau", "sgd"]

Observe = Callable[[Any, dict[str, Any]], tuple[Any, dict[str, jax.Array]]]


class ScheduledTransformation(optax.GradientTransformation):
    """A gradient transformation that can state its learning rate, for the metrics. Its state is the same as without.

    Attributes:
        learning_rate: ``state -> number``, that of the next update.
    """

    learning_rate: Callable[[Any], jax.Array]

    def __new__(cls, transform: optax.GradientTransformation, learning_rate: Callable[[Any], jax.Array]):
        self = super().__new__(cls, transform.init, transform.update)
        self.learning_rate = learning_rate
        return self


def with_schedule(transform: optax.GradientTransformation, schedule: optax.Schedule) -> ScheduledTransformation:
    """A transformation that one ``optax.Schedule`` gives its learning rate, as ``optax.adamw(schedule)`` has it.

    The schedule is read at the count in the transformation's own state, so that an update that was left out does not
    count.
    """

    def learning_rate(state: Any) -> jax.Array:
        is_count = lambda part: isinstance(part, optax.ScaleByScheduleState)
        counts = [part.count for part in jax.tree.leaves(state, is_leaf=is_count) if is_count(part)]
        with jax.numpy_dtype_promotion("standard"):
            return jnp.asarray(schedule(counts[0]), jnp.float32)

    return ScheduledTransformation(transform, learning_rate)


def rate_of(optimizer: optax.GradientTransformation, state: Any) -> dict[str, jax.Array]:
    """The metric ``learning_rate`` of the next update; empty where the optimizer does not state one."""
    return {"learning_rate": optimizer.learning_rate(state)} if isinstance(optimizer, ScheduledTransformation) else {}


def adamw(
    steps: int,
    learning_rate: float,
    warmup_steps: int = 0,
    end_lr_factor: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
) -> ScheduledTransformation:
    """AdamW (Loshchilov and Hutter 2019) with warm-up, cosine decay and clipping by global norm.

    Args:
        steps: After so many steps the learning rate is at its end.
        learning_rate: The largest, after the warm-up.
        warmup_steps: Steps of linear growth from 0.
        end_lr_factor: The last learning rate as a part of the largest.
        b1, b2: Decay of the first and second moments.
        weight_decay: On matrices only: not on biases and other vectors.
        clip_norm: Largest global norm of the gradient (Pascanu et al. 2013); 0 leaves it.

    Raises:
        ValueError: An argument is out of range.
    """
    _check_decays(b1=b1, b2=b2)
    rate = _rate(steps, learning_rate, warmup_steps, end_lr_factor)
    _check_least(weight_decay=weight_decay, clip_norm=clip_norm)
    return _finished(clip_norm, optax.adamw(rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=_matrices), rate)


def sgd(
    steps: int,
    learning_rate: float,
    warmup_steps: int = 0,
    end_lr_factor: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
) -> ScheduledTransformation:
    """Gradient descent with momentum; the decay of matrices is added to the gradient.

    Args:
        steps, learning_rate, warmup_steps, end_lr_factor, weight_decay, clip_norm: As in ``adamw``.
        momentum: Decay of the sum of gradients.
        nesterov: Whether a step looks ahead (Sutskever et al. 2013).

    Raises:
        ValueError: An argument is out of range.
    """
    _check_decays(momentum=momentum)
    rate = _rate(steps, learning_rate, warmup_steps, end_lr_factor)
    _check_least(weight_decay=weight_decay, clip_norm=clip_norm)
    decay = optax.add_decayed_weights(weight_decay, _matrices)
    return _finished(clip_norm, optax.chain(decay, optax.sgd(rate, momentum, nesterov)), rate)


def reduce_on_plateau(
    optimizer: optax.GradientTransformation, factor: float, patience: int, metric: str
) -> tuple[optax.GradientTransformation, Observe]:
    """An optimizer whose learning rate falls where a metric does not: its updates are scaled.

    Args:
        optimizer: Its own schedule stays.
        factor: What the scale, 1 at first, is multiplied by.
        patience: After so many measurements in a row of which none is below the smallest before.
        metric: Its name, such as ``validation/loss``.

    Returns:
        The optimizer, with the scale in its state; and ``observe`` of ``gradient``, which also returns
        ``learning_rate_scale``.

    Raises:
        ValueError: An argument is out of range.
    """
    _check_decays(plateau_factor=factor)
    if patience < 1:
        raise ValueError(f"plateau_patience: at least 1; given {patience}")
    # A tolerance in proportion would take a loss below 0 for better than itself.
    reduce = optax.contrib.reduce_on_plateau(factor, patience, rtol=0.0, atol=1e-12)

    def update(gradients, state, params):
        inner, reduced = state
        updates, inner = optimizer.update(gradients, inner, params)
        return jax.tree.map(lambda leaf: reduced.scale * leaf, updates), (inner, reduced)

    def observe(state, metrics):
        inner, reduced = state
        # optax 0.2.8 multiplies floats by integers here, which strict promotion refuses (no issue is filed).
        with jax.numpy_dtype_promotion("standard"):
            _, reduced = reduce.update({}, reduced, value=metrics[metric])
        return (inner, reduced), {"learning_rate_scale": reduced.scale}

    init = lambda params: (optimizer.init(params), reduce.init(params))
    reduced_optimizer = optax.GradientTransformation(init, update)
    if isinstance(optimizer, ScheduledTransformation):
        rate = optimizer.learning_rate
        return ScheduledTransformation(reduced_optimizer, lambda state: state[1].scale * rate(state[0])), observe
    return reduced_optimizer, observe


def _rate(steps: int, learning_rate: float, warmup_steps: int, end_lr_factor: float) -> optax.Schedule:
    _check_least(learning_rate=learning_rate, warmup_steps=warmup_steps, end_lr_factor=end_lr_factor)
    warmup_steps = min(warmup_steps, max(steps - 1, 0))
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup_steps else learning_rate,
        peak_value=learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=max(steps, 1),
        end_value=learning_rate * end_lr_factor,
    )


def _matrices(params):
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _finished(
    clip_norm: float, transform: optax.GradientTransformation, rate: optax.Schedule
) -> ScheduledTransformation:
    clipped = optax.chain(optax.clip_by_global_norm(clip_norm), transform) if clip_norm else transform
    return with_schedule(promoting(clipped), rate)


def promoting(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer, with standard promotion of types within it.

    optax 0.2.8 raises floats to integer counts (bias corrections, schedules), which strict promotion refuses (no issue
    is filed).
    """

    def update(gradients, state, params=None):
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(gradients, state, params)

    return optax.GradientTransformation(optimizer.init, update)


def _check_least(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name}: not below 0; given {value}")


def _check_decays(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name}: from 0 to below 1; given {value}")
