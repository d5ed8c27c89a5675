"""What a run is at one step, and how it gets to the next."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnets.tasks import Task
from jaxnets.training.distributed import sharding
from jaxnets.training.parameters import divide, join

# Every random number of a run is drawn with a key made from (seed, step, purpose).
INITIALISE, DROPOUT, SAMPLE = range(3)


class State(NamedTuple):
    """Attributes:
    step: Updates done so far, int32.
    variables: The model's, ``{"params": ...}`` and what else it has, such as ``"batch_stats"``; ``"average"`` beside
        them, the moving average of those, where one is kept.
    optimizer: The optimiser's state.
    carry: What goes on from one training batch to the next.
    """

    step: jax.Array
    variables: Any
    optimizer: Any
    carry: Any


def key_for(seed: int, step: jax.Array | int, purpose: int) -> jax.Array:
    """The random key of one purpose at one step."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), purpose)


def first_variables(task: Task, batch: Any, seed: int, average: float = 0.0) -> Any:
    """The variables before the first update."""
    variables = task.init(key_for(seed, 0, INITIALISE), batch)
    return {**variables, "average": variables} if average else variables


def in_use(variables: Any) -> Any:
    """What a model is measured and used with: the average of its variables, where one is kept."""
    return variables.get("average", variables)


def create(
    task: Task,
    transform: optax.GradientTransformation,
    batch: Any,
    seed: int,
    average: float = 0.0,
    frozen: str = "",
) -> State:
    """The state before the first update. Pure; ``jax.eval_shape`` of it gives what a checkpoint must hold."""
    variables = first_variables(task, batch, seed, average)
    _, (carry, _) = jax.eval_shape(task.loss, variables, batch, key_for(seed, 0, DROPOUT), None)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), carry)
    return State(jnp.zeros((), jnp.int32), variables, transform.init(divide(variables["params"], frozen)[0]), zeros)


def make_step(
    task: Task,
    transform: optax.GradientTransformation,
    seed: int,
    accumulate: int = 1,
    average: float = 0.0,
    skip: bool = False,
    frozen: str = "",
) -> Callable[[State, Any], tuple[State, dict[str, jax.Array]]]:
    r"""One update as a pure function ``(state, batch) -> (state, {"loss", "gradient_norm"})``.

    Args:
        task: What is learned.
        transform: The optimiser.
        seed: Of the run.
        accumulate: Parts into which a batch's rows are split; their gradients are averaged before the one update, so
            that a large batch fits into a small memory.
        average: d of the average of parameters and statistics that is kept beside them, 0: none. After update t it is
            :math:`\bar\theta \leftarrow d_t \bar\theta + (1 - d_t) \theta` with :math:`d_t = \min(d, t / (t + 9))`,
            so that the first updates do not stay in it.
        skip: Whether an update is left out where its loss or the norm of its gradient is not finite: only the step goes
            on, and all else, the optimiser's state, statistics and carry included, stays as it was.
        frozen: A regular expression. The parameters in whose path, such as ``params/head/kernel``, it is found stay as
            they are: they have no gradient and no optimiser state. Statistics of their layers, which are no parameters,
            move all the same: while training, a batch norm measures by them whether its weights are frozen or not.
    """

    loss_of = sharding.by_rows(task.loss)

    def step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        params, fixed = divide(state.variables["params"], frozen)
        others = {name: value for name, value in state.variables.items() if name not in ("params", "average")}
        key = key_for(seed, state.step, DROPOUT)

        def gradient(others, batch, key, carry):
            @jax.named_scope("loss")
            def loss(params):
                return loss_of({**others, "params": join(params, fixed)}, batch, key, carry)

            (value, (carry, changed)), gradients = jax.value_and_grad(loss, has_aux=True)(params)
            return (value, gradients), carry, {**others, **changed}

        if accumulate == 1:
            (loss, gradients), carry, others = gradient(others, batch, key, state.carry)
        else:

            def part(state, inputs):
                total, others = state
                found, carry, others = gradient(others, *inputs)
                return (jax.tree.map(jnp.add, total, found), others), carry

            split = lambda tree: jax.tree.map(lambda a: a.reshape(accumulate, -1, *a.shape[1:]), tree)
            nothing = jax.tree.map(jnp.zeros_like, (jnp.float32(0), params))
            parts = split(batch), jax.random.split(key, accumulate), split(state.carry)
            (total, others), carry = jax.lax.scan(part, (nothing, others), parts)
            loss, gradients = jax.tree.map(lambda a: a / accumulate, total)
            carry = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), carry)

        with jax.named_scope("optimizer"):
            updates, optimizer = transform.update(gradients, state.optimizer, params)
            params = optax.apply_updates(params, updates)
        variables = {**others, "params": join(params, fixed)}
        if average:
            done = (state.step + 1).astype(jnp.float32)
            kept = jnp.minimum(average, done / (done + 9))
            mean = optax.incremental_update(variables, state.variables["average"], 1 - kept)
            # The mean of what stays is that, without the rounding.
            variables["average"] = {**mean, "params": join(divide(mean["params"], frozen)[0], fixed)}
        norm = optax.tree.norm(gradients)
        found = State(state.step + 1, variables, optimizer, carry)
        if skip:
            finite = jnp.isfinite(loss) & jnp.isfinite(norm)
            same = state._replace(step=state.step + 1)
            found = jax.tree.map(lambda new, old: jnp.where(finite, new, old), found, same)
        return found, {"loss": loss, "gradient_norm": norm}

    return step
