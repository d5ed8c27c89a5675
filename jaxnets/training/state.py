"""Training state, random keys and the training step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnets.learning import Learner

# Purposes of random keys: every key of a run is derived from (seed, step, purpose).
INITIALIZE, UPDATE, SAMPLE, MEASURE = range(4)


class State(NamedTuple):
    """The training state.

    Attributes:
        step: Number of completed updates, int32.
        learner: The state of the learner.
    """

    step: jax.Array
    learner: Any


def key_for(seed: int, step: jax.Array | int, purpose: int) -> jax.Array:
    """Returns the random key for a step and a purpose."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), purpose)


def create(learner: Learner, batch: Any, seed: int, variables: Any = None) -> State:
    """Returns the state before the first update. It is pure, so that ``jax.eval_shape`` gives the abstract state."""
    return State(jnp.zeros((), jnp.int32), learner.init(key_for(seed, 0, INITIALIZE), batch, variables))


def initial_variables(learner: Learner, batch: Any, seed: int) -> Any:
    """Returns the initial variables of the model."""
    return learner.variables(create(learner, batch, seed).learner)


def make_step(learner: Learner, seed: int) -> Callable[[State, Any], tuple[State, dict[str, Any]]]:
    """Returns the training step, a pure function ``(state, batch) -> (state, metrics)``."""

    def step(state: State, batch: Any) -> tuple[State, dict[str, Any]]:
        new, metrics = learner.update(state.learner, batch, key_for(seed, state.step, UPDATE), state.step)
        return State(state.step + 1, new), metrics

    return step
