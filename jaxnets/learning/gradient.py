"""The ordinary learner: one loss, its gradient and one optimizer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnets.learning.contract import EMA, Aux, Context, Init, Learner, Loss, zeros_of
from jaxnets.learning.optimizers import Observe, promoting, rate_of
from jaxnets.learning.parameters import Chosen, combine, partition
from jaxnets.learning.partitioning import by_rows


class GradientState(NamedTuple):
    """Attributes:
    variables: ``{"params": ...}`` and what else the model has, such as ``"batch_stats"``.
    optimizer: The optimizer's state.
    carry: State that goes on from one training batch to the next.
    """

    variables: Any
    optimizer: Any
    carry: Any


def gradient(
    init: Init,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    trainable: Chosen | None = None,
    grad_accum_steps: int = 1,
    observe: Observe | None = None,
) -> Learner:
    """The learner that follows the gradient of a loss.

    Its metrics are ``loss``, ``gradient_norm`` (global, before the optimizer clips it), ``finite`` (whether both are),
    ``learning_rate`` (of a ``learning.optimizers.ScheduledTransformation``) and those of the loss.

    Args:
        init: ``(key, batch) -> variables``.
        loss: ``(variables, batch, Context) -> (loss, Aux)``.
        optimizer: From ``optax`` or ``learning.optimizers``.
        trainable: Whether the parameter of a path, such as ``params/head/kernel``, is trained; None: all are. Others
            have no gradient and no optimizer state. Statistics of their layers, which are no parameters, change all the
            same: in training, a batch norm normalizes by those of the batch whether its weights are trained or not.
        grad_accum_steps: Parts into which a batch's rows are split; their gradients are averaged before the one
            update, so that a large batch fits into a small memory.
        observe: ``(optimizer state, metrics) -> (optimizer state, metrics)``, as in ``Learner``.
    """
    divided_loss = by_rows(loss)

    def start(key, batch, variables=None):
        variables = init(key, batch) if variables is None else variables
        context = Context(key, jnp.zeros((), jnp.int32), None)
        with_average = {EMA: variables, **variables}  # ``with_ema`` adds it later; a loss may read it
        carry = jax.eval_shape(loss, with_average, batch, context)[1].carry
        params, _ = partition(variables["params"], trainable)
        return GradientState(variables, optimizer.init(params), zeros_of(carry))

    def update(state, batch, key, step):
        params, fixed = partition(state.variables["params"], trainable)
        others = {name: value for name, value in state.variables.items() if name != "params"}

        def of_part(others, batch, key, carry):
            @jax.named_scope("loss")
            def value_of(params):
                return divided_loss({**others, "params": combine(params, fixed)}, batch, Context(key, step, carry))

            (value, aux), gradients = jax.value_and_grad(value_of, has_aux=True)(params)
            return (value, gradients), aux._replace(updated={**others, **aux.updated})

        if grad_accum_steps == 1:
            (value, gradients), aux = of_part(others, batch, key, state.carry)
        else:
            (value, gradients), aux = _accumulated(of_part, grad_accum_steps, params, others, batch, key, state.carry)
        with jax.named_scope("optimizer"):
            updates, optimizer_state = promoting(optimizer).update(gradients, state.optimizer, params)
            params = optax.apply_updates(params, updates)
        variables = {**aux.updated, "params": combine(params, fixed)}
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        metrics = {"loss": value, "gradient_norm": norm, "finite": finite, **rate_of(optimizer, state.optimizer)}
        return GradientState(variables, optimizer_state, aux.carry), {**metrics, **aux.metrics}

    def observed(state, metrics):
        assert observe is not None
        optimizer_state, told = observe(state.optimizer, metrics)
        return state._replace(optimizer=optimizer_state), told

    return Learner(
        init=start,
        update=update,
        variables=lambda state: state.variables,
        layout=lambda state: GradientState("parameters", "parameters", "rows"),
        observe=observed if observe is not None else None,
    )


class Gradient(NamedTuple):
    """The arguments of ``gradient`` other than ``init`` and ``loss``; a task calls it as ``make_learner``.

    Attributes:
        optimizer, trainable, grad_accum_steps, observe: As in ``gradient``.
    """

    optimizer: optax.GradientTransformation
    trainable: Chosen | None = None
    grad_accum_steps: int = 1
    observe: Observe | None = None

    def __call__(self, init: Init, loss: Loss) -> Learner:
        return gradient(init, loss, **self._asdict())

    def only_optimizer(self) -> optax.GradientTransformation:
        """The optimizer, for a task that makes its own learner, such as one of several players.

        Raises:
            ValueError: There is more than an optimizer, which that learner does not support.
        """
        more = {
            "frozen parameters": self.trainable is not None,
            "gradients in parts of a batch": self.grad_accum_steps != 1,
            "an optimizer that observes the validation": self.observe is not None,
        }
        if any(more.values()):
            named = ", ".join(name for name, given in more.items() if given)
            raise ValueError(f"this task does not support {named}")
        return self.optimizer


def _accumulated(of_part, parts, params, others, batch, key, carry):
    """The mean of losses, gradients and metrics over parts of a batch, one after the other."""

    def add(state, inputs):
        total, others = state
        found, aux = of_part(others, *inputs)
        return (jax.tree.map(jnp.add, total, found), aux.updated), (aux.carry, aux.metrics)

    split = lambda tree: jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), tree)
    nothing = jax.tree.map(jnp.zeros_like, (jnp.float32(0), params))
    inputs = split(batch), jax.random.split(key, parts), split(carry)
    (total, others), (carry, metrics) = jax.lax.scan(add, (nothing, others), inputs)
    found = jax.tree.map(lambda a: a / parts, total)
    carry = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), carry)
    return found, Aux(carry, others, jax.tree.map(lambda a: jnp.mean(a, axis=0), metrics))
