"""Gradient-based learning with one loss and one optimizer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnets.learning.contract import EMA, Aux, Context, Init, Learner, Loss, zeros_like_shapes
from jaxnets.learning.optimizers import Observe, learning_rate_metric, with_standard_promotion
from jaxnets.learning.parameters import PathFilter, combine, partition
from jaxnets.learning.partitioning import with_row_sharding


class GradientState(NamedTuple):
    """State of ``gradient``.

    Attributes:
        variables: ``{"params": ...}`` and any further collections of the model, such as ``"batch_stats"``.
        optimizer: The optimizer state.
        carry: State that passes from one training batch to the next.
    """

    variables: Any
    optimizer: Any
    carry: Any


def gradient(
    init: Init,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    trainable: PathFilter | None = None,
    grad_accum_steps: int = 1,
    observe: Observe | None = None,
) -> Learner:
    """Creates a learner that minimizes a loss with an optax optimizer.

    The metrics are ``loss``, ``gradient_norm`` (the global norm before clipping), ``finite`` (True if both are
    finite), ``learning_rate`` (if the optimizer is a ``learning.optimizers.ScheduledTransformation``) and the metrics
    of the loss.

    Args:
        init: ``(key, batch) -> variables``.
        loss: ``(variables, batch, Context) -> (loss, Aux)``.
        optimizer: A gradient transformation from ``optax`` or ``learning.optimizers``.
        trainable: Maps the path of a parameter, such as ``params/head/kernel``, to True if it is trained. None trains
            all parameters. Frozen parameters have no gradient and no optimizer state. Batch statistics are not
            parameters: a batch norm with frozen parameters still normalizes by batch statistics and updates its
            running ones.
        grad_accum_steps: Number of microbatches into which a batch is split. Their gradients are averaged before the
            update, which reduces memory.
        observe: ``(opt_state, metrics) -> (opt_state, metrics)``, called after evaluations as in ``Learner``.
    """
    sharded_loss = with_row_sharding(loss)

    def start(key, batch, variables=None):
        variables = init(key, batch) if variables is None else variables
        context = Context(key, jnp.zeros((), jnp.int32), None)
        with_average = {EMA: variables, **variables}  # a loss may use the average, which ``with_ema`` adds later
        carry = jax.eval_shape(loss, with_average, batch, context)[1].carry
        params, _ = partition(variables["params"], trainable)
        return GradientState(variables, optimizer.init(params), zeros_like_shapes(carry))

    def update(state, batch, key, step):
        params, fixed = partition(state.variables["params"], trainable)
        others = {name: value for name, value in state.variables.items() if name != "params"}

        def loss_and_gradients(others, batch, key, carry):
            @jax.named_scope("loss")
            def loss_of(params):
                return sharded_loss({**others, "params": combine(params, fixed)}, batch, Context(key, step, carry))

            (value, aux), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
            return (value, gradients), aux._replace(updated={**others, **aux.updated})

        if grad_accum_steps == 1:
            (value, gradients), aux = loss_and_gradients(others, batch, key, state.carry)
        else:
            (value, gradients), aux = _accumulated(
                loss_and_gradients, grad_accum_steps, params, others, batch, key, state.carry
            )
        with jax.named_scope("optimizer"):
            updates, optimizer_state = with_standard_promotion(optimizer).update(gradients, state.optimizer, params)
            params = optax.apply_updates(params, updates)
        variables = {**aux.updated, "params": combine(params, fixed)}
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        metrics = {
            "loss": value,
            "gradient_norm": norm,
            "finite": finite,
            **learning_rate_metric(optimizer, state.optimizer),
        }
        return GradientState(variables, optimizer_state, aux.carry), {**metrics, **aux.metrics}

    def observed(state, metrics):
        assert observe is not None
        optimizer_state, logged = observe(state.optimizer, metrics)
        return state._replace(optimizer=optimizer_state), logged

    return Learner(
        init=start,
        update=update,
        variables=lambda state: state.variables,
        layout=lambda state: GradientState("parameters", "parameters", "rows"),
        observe=observed if observe is not None else None,
    )


class Gradient(NamedTuple):
    """The arguments of ``gradient`` that do not depend on the task.

    A task calls it as ``make_learner(init, loss)`` to create its learner.

    Attributes:
        optimizer, trainable, grad_accum_steps, observe: As in ``gradient``.
    """

    optimizer: optax.GradientTransformation
    trainable: PathFilter | None = None
    grad_accum_steps: int = 1
    observe: Observe | None = None

    def __call__(self, init: Init, loss: Loss) -> Learner:
        return gradient(init, loss, **self._asdict())

    def only_optimizer(self) -> optax.GradientTransformation:
        """Returns the optimizer, for a task that creates its own learner, such as ``alternating``.

        Raises:
            ValueError: Another option is set, which such a task does not support.
        """
        options = {
            "frozen parameters": self.trainable is not None,
            "gradient accumulation": self.grad_accum_steps != 1,
            "an optimizer that observes validation metrics": self.observe is not None,
        }
        unsupported = [name for name, is_set in options.items() if is_set]
        if unsupported:
            raise ValueError(f"this task does not support {', '.join(unsupported)}")
        return self.optimizer


def _accumulated(loss_and_gradients, steps, params, others, batch, key, carry):
    """Averages losses, gradients and metrics over microbatches, which run one after the other."""

    def add(state, inputs):
        total, others = state
        values, aux = loss_and_gradients(others, *inputs)
        return (jax.tree.map(jnp.add, total, values), aux.updated), (aux.carry, aux.metrics)

    split = lambda tree: jax.tree.map(lambda a: a.reshape(steps, -1, *a.shape[1:]), tree)
    zeros = jax.tree.map(jnp.zeros_like, (jnp.float32(0), params))
    inputs = split(batch), jax.random.split(key, steps), split(carry)
    (total, others), (carry, metrics) = jax.lax.scan(add, (zeros, others), inputs)
    means = jax.tree.map(lambda a: a / steps, total)
    carry = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), carry)
    return means, Aux(carry, others, jax.tree.map(lambda a: jnp.mean(a, axis=0), metrics))
