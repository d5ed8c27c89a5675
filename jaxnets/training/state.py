"""The state of a run at one step, its keys, and its update."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnets.learning import Learner

# Every random number of a run is drawn with a key made from (seed, step, purpose).
INITIALIZE, UPDATE, SAMPLE, MEASURE = range(4)


class State(NamedTuple):
    """Attributes:
    step: Updates done so far, int32.
    learner: The learner's state.
    """

    step: jax.Array
    learner: Any


def key_for(seed: int, step: jax.Array | int, purpose: int) -> jax.Array:
    """The random key of one purpose at one step."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), purpose)


def create(learner: Learner, batch: Any, seed: int, variables: Any = None) -> State:
    """The state before the first update. Pure; ``jax.eval_shape`` of it gives what a checkpoint must hold."""
    return State(jnp.zeros((), jnp.int32), learner.init(key_for(seed, 0, INITIALIZE), batch, variables))


def first_variables(learner: Learner, batch: Any, seed: int) -> Any:
    """The model's variables before the first update."""
    return learner.variables(create(learner, batch, seed).learner)


def make_step(learner: Learner, seed: int) -> Callable[[State, Any], tuple[State, dict[str, Any]]]:
    """One update as a pure function ``(state, batch) -> (state, metrics)``."""

    def step(state: State, batch: Any) -> tuple[State, dict[str, Any]]:
        new, metrics = learner.update(state.learner, batch, key_for(seed, state.step, UPDATE), state.step)
        return State(state.step + 1, new), metrics

    return step
