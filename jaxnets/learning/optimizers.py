"""Optimizers: AdamW and SGD with clipping, warm-up and cosine decay, and learning rate reduction on a plateau."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

__all__ = ["adamw", "linear_sgd", "reduce_on_plateau", "sgd"]

Observe = Callable[[Any, dict[str, Any]], tuple[Any, dict[str, jax.Array]]]


class ScheduledTransformation(optax.GradientTransformation):
    """A gradient transformation that reports its learning rate.

    Its state is that of the gradient transformation.

    Attributes:
        learning_rate: ``state -> learning rate`` of the next update.
    """

    learning_rate: Callable[[Any], jax.Array]

    def __new__(cls, transform: optax.GradientTransformation, learning_rate: Callable[[Any], jax.Array]):
        self = super().__new__(cls, transform.init, transform.update)
        self.learning_rate = learning_rate
        return self


class PlainSGD(ScheduledTransformation):
    """A scheduled transformation whose update is the gradient times the learning rate, for sparse updates."""


def with_schedule(transform: optax.GradientTransformation, schedule: optax.Schedule) -> ScheduledTransformation:
    """Makes a transformation with a schedule, such as ``optax.adamw(schedule)``, report its learning rate.

    The schedule is evaluated at the count in the transformation's state, so that a skipped update does not count.
    """

    def learning_rate(state: Any) -> jax.Array:
        has_count = lambda node: isinstance(node, optax.ScaleByScheduleState)
        counts = [node.count for node in jax.tree.leaves(state, is_leaf=has_count) if has_count(node)]
        with jax.numpy_dtype_promotion("standard"):
            return jnp.asarray(schedule(counts[0]), jnp.float32)

    return ScheduledTransformation(transform, learning_rate)


def learning_rate_metric(optimizer: optax.GradientTransformation, state: Any) -> dict[str, jax.Array]:
    """Returns the metric ``learning_rate`` of the next update, or an empty dict if the optimizer does not report it."""
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
    eps: float = 1e-8,
) -> ScheduledTransformation:
    """AdamW with warm-up, cosine decay and clipping by global norm.

    Args:
        steps: Number of steps after which the learning rate reaches its final value.
        learning_rate: The peak learning rate, reached after the warm-up.
        warmup_steps: Number of steps of linear warm-up from 0.
        end_lr_factor: The final learning rate as a fraction of the peak.
        b1: Decay rate of the first moment.
        b2: Decay rate of the second moment.
        weight_decay: Weight decay of arrays with two or more axes. Biases and scales are not decayed.
        clip_norm: Maximum global norm of the gradient (Pascanu et al. 2013). 0 disables clipping.
        eps: Added to the root of the second moment.

    Raises:
        ValueError: An argument is out of range.

    References:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019, arXiv:1711.05101.
    """
    _check_below_one(b1=b1, b2=b2)
    rate = _warmup_cosine(steps, learning_rate, warmup_steps, end_lr_factor)
    _check_nonnegative(weight_decay=weight_decay, clip_norm=clip_norm, eps=eps)
    adam = optax.adamw(rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=_is_matrix)
    return _with_clipping(clip_norm, adam, rate)


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
    """Stochastic gradient descent with momentum, warm-up, cosine decay and clipping by global norm.

    Args:
        steps, learning_rate, warmup_steps, end_lr_factor, clip_norm: As in ``adamw``.
        momentum: Decay rate of the momentum.
        nesterov: Whether to use Nesterov momentum (Sutskever et al. 2013).
        weight_decay: L2 penalty, added to the gradients of arrays with two or more axes.

    Raises:
        ValueError: An argument is out of range.
    """
    _check_below_one(momentum=momentum)
    rate = _warmup_cosine(steps, learning_rate, warmup_steps, end_lr_factor)
    _check_nonnegative(weight_decay=weight_decay, clip_norm=clip_norm)
    decay = optax.add_decayed_weights(weight_decay, _is_matrix)
    return _with_clipping(clip_norm, optax.chain(decay, optax.sgd(rate, momentum, nesterov)), rate)


def linear_sgd(steps: int, learning_rate: float, end_lr_factor: float = 0.0) -> PlainSGD:
    """Stochastic gradient descent without momentum, with a linear decay of the learning rate.

    Args:
        steps, end_lr_factor: As in ``adamw``.
        learning_rate: The initial learning rate.

    Raises:
        ValueError: An argument is out of range.
    """
    _check_nonnegative(learning_rate=learning_rate, end_lr_factor=end_lr_factor)
    rate = optax.linear_schedule(learning_rate, learning_rate * end_lr_factor, max(steps, 1))
    scheduled = with_schedule(with_standard_promotion(optax.sgd(rate)), rate)
    return PlainSGD(scheduled, scheduled.learning_rate)


def reduce_on_plateau(
    optimizer: optax.GradientTransformation, factor: float, patience: int, metric: str
) -> tuple[optax.GradientTransformation, Observe]:
    """Reduces the learning rate of an optimizer when a metric has stopped decreasing.

    The updates of the optimizer are multiplied by a scale, which starts at 1. Unlike
    ``optax.contrib.reduce_on_plateau`` it observes evaluation metrics and not the training loss.

    Args:
        optimizer: The optimizer. Its own schedule still applies.
        factor: Factor by which the scale is multiplied on a plateau.
        patience: Number of consecutive evaluations without a new minimum after which the scale is reduced.
        metric: Name of the metric, such as ``validation/loss``.

    Returns:
        The optimizer, which holds the scale in its state, and the argument ``observe`` of ``gradient``, which logs
        ``learning_rate_scale``.

    Raises:
        ValueError: An argument is out of range.
    """
    _check_below_one(plateau_factor=factor)
    if patience < 1:
        raise ValueError(f"`plateau_patience` must be at least 1, got {patience}")
    # With a relative tolerance, a negative loss would count as better than itself.
    reduce = optax.contrib.reduce_on_plateau(factor, patience, rtol=0.0, atol=1e-12)

    def update(gradients, state, params):
        inner, reduced = state
        updates, inner = optimizer.update(gradients, inner, params)
        return jax.tree.map(lambda leaf: reduced.scale * leaf, updates), (inner, reduced)

    def observe(state, metrics):
        inner, reduced = state
        # optax 0.2.8 multiplies floats by integers here, which fails under strict promotion (no issue is filed).
        with jax.numpy_dtype_promotion("standard"):
            _, reduced = reduce.update({}, reduced, value=metrics[metric])
        return (inner, reduced), {"learning_rate_scale": reduced.scale}

    init = lambda params: (optimizer.init(params), reduce.init(params))
    scaled = optax.GradientTransformation(init, update)
    if isinstance(optimizer, ScheduledTransformation):
        rate = optimizer.learning_rate
        return ScheduledTransformation(scaled, lambda state: state[1].scale * rate(state[0])), observe
    return scaled, observe


def _warmup_cosine(steps: int, learning_rate: float, warmup_steps: int, end_lr_factor: float) -> optax.Schedule:
    _check_nonnegative(learning_rate=learning_rate, warmup_steps=warmup_steps, end_lr_factor=end_lr_factor)
    warmup_steps = min(warmup_steps, max(steps - 1, 0))
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup_steps else learning_rate,
        peak_value=learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=max(steps, 1),
        end_value=learning_rate * end_lr_factor,
    )


def _is_matrix(params):
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _with_clipping(
    clip_norm: float, transform: optax.GradientTransformation, rate: optax.Schedule
) -> ScheduledTransformation:
    clipped = optax.chain(optax.clip_by_global_norm(clip_norm), transform) if clip_norm else transform
    return with_schedule(with_standard_promotion(clipped), rate)


def with_standard_promotion(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Runs the updates of an optimizer under standard dtype promotion.

    optax 0.2.8 raises floats to integer powers (bias corrections, schedules), which fails under strict promotion (no
    issue is filed).
    """

    def update(gradients, state, params=None):
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(gradients, state, params)

    return optax.GradientTransformation(optimizer.init, update)


def _check_nonnegative(**values: int | float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"`{name}` must be at least 0, got {value}")


def _check_below_one(**values: int | float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"`{name}` must be in [0, 1), got {value}")
