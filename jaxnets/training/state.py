"""What a run is at one step, and how it gets to the next."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnets.tasks import Task

# Every random number of a run is drawn with a key made from (seed, step, purpose).
INITIALISE, DROPOUT, SAMPLE = range(3)


class State(NamedTuple):
    """Attributes:
    step: Updates done so far, int32.
    variables: The model's, ``{"params": ...}``.
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


def create(task: Task, transform: optax.GradientTransformation, batch: Any, seed: int) -> State:
    """The state before the first update. Pure; ``jax.eval_shape`` of it gives what a checkpoint must hold."""
    key = key_for(seed, 0, INITIALISE)
    variables = task.init(key, batch)
    carry = jax.eval_shape(task.loss, variables, batch, key, None)[1]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), carry)
    return State(jnp.zeros((), jnp.int32), variables, transform.init(variables["params"]), zeros)


def make_step(
    task: Task, transform: optax.GradientTransformation, seed: int, accumulate: int = 1
) -> Callable[[State, Any], tuple[State, dict[str, jax.Array]]]:
    """One update as a pure function ``(state, batch) -> (state, {"loss", "gradient_norm"})``.

    Args:
        task: What is learned.
        transform: The optimiser.
        seed: Of the run.
        accumulate: Parts into which a batch's rows are split; their gradients are averaged before the one update, so
            that a large batch fits into a small memory.
    """

    def step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        params = state.variables["params"]
        key = key_for(seed, state.step, DROPOUT)

        def gradient(batch, key, carry):
            loss = lambda params: task.loss({**state.variables, "params": params}, batch, key, carry)
            (value, carry), gradients = jax.value_and_grad(loss, has_aux=True)(params)
            return (value, gradients), carry

        if accumulate == 1:
            (loss, gradients), carry = gradient(batch, key, state.carry)
        else:

            def part(total, inputs):
                found, carry = gradient(*inputs)
                return jax.tree.map(jnp.add, total, found), carry

            split = lambda tree: jax.tree.map(lambda a: a.reshape(accumulate, -1, *a.shape[1:]), tree)
            nothing = jax.tree.map(jnp.zeros_like, (jnp.float32(0), params))
            parts = split(batch), jax.random.split(key, accumulate), split(state.carry)
            total, carry = jax.lax.scan(part, nothing, parts)
            loss, gradients = jax.tree.map(lambda a: a / accumulate, total)
            carry = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), carry)

        updates, optimizer = transform.update(gradients, state.optimizer, params)
        variables = {**state.variables, "params": optax.apply_updates(params, updates)}
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(gradients)}
        return State(state.step + 1, variables, optimizer, carry), metrics

    return step
