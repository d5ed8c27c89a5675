"""Learner wrappers: exponential moving averages and skipping of non-finite updates."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnets.learning.contract import EMA, Learner
from jaxnets.learning.parameters import PathFilter, combine, partition


def with_ema(learner: Learner, decay: float, *, trainable: PathFilter | None = None) -> Learner:
    r"""Adds an exponential moving average of the variables to a learner.

    The average is evaluated, exported and reported. After update :math:`t = 1, 2, \dots` it is
    :math:`\bar\theta \leftarrow d_t \bar\theta + (1 - d_t) \theta` with :math:`d_t = \min(d, t / (t + 9))`, so that
    the initial values are forgotten quickly. Integers, such as counts, are copied. The average is stored in the
    variable collection ``"ema"``, where a loss can use it, for example as a teacher.

    Args:
        learner: A learner whose state has a field ``variables``.
        decay: The decay rate d, in [0, 1).
        trainable: As in ``gradient``. Frozen parameters are copied exactly.

    Raises:
        ValueError: ``decay`` is out of range, or the learner is a solution in closed form.
    """
    if learner.closed_form:
        raise ValueError("`learner` must not be a solution in closed form, which a moving average would only blur")
    if not 0 <= decay < 1:
        raise ValueError(f"`decay` must be in [0, 1), got {decay}")

    def init(key, batch, variables=None):
        state = learner.init(key, batch, variables)
        return state._replace(variables={**state.variables, EMA: state.variables})

    def update(state, batch, key, step):
        new, metrics = learner.update(state, batch, key, step)
        variables = {name: value for name, value in new.variables.items() if name != EMA}
        count = (step + 1).astype(jnp.float32)
        current_decay = jnp.minimum(decay, count / (count + 9))
        average = jax.tree.map(
            lambda new, old: optax.incremental_update(new, old, 1 - current_decay) if _is_floating(new) else new,
            variables,
            state.variables[EMA],
        )
        if trainable is not None:  # the average of a constant would have rounding errors
            fixed = partition(variables["params"], trainable)[1]
            average = {**average, "params": combine(partition(average["params"], trainable)[0], fixed)}
        return new._replace(variables={**variables, EMA: average}), metrics

    return learner._replace(init=init, update=update, variables=lambda state: learner.variables(state)[EMA])


def _is_floating(array: jax.Array) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)


class SkipState(NamedTuple):
    """State of ``skip_nonfinite``.

    Attributes:
        state: The state of the wrapped learner.
        skipped: Number of consecutive skipped updates, int32.
    """

    state: Any
    skipped: jax.Array


def skip_nonfinite(learner: Learner) -> Learner:
    """Skips the updates of a learner whose metric ``finite`` is False.

    A skipped update leaves the whole state unchanged, including batch statistics and carry. ``optax.apply_if_finite``
    protects neither, and accepts non-finite updates after a given number of them. The metric ``skipped`` is the number
    of consecutive skipped updates.
    """

    def init(key, batch, variables=None):
        return SkipState(learner.init(key, batch, variables), jnp.zeros((), jnp.int32))

    def update(state, batch, key, step):
        new, metrics = learner.update(state.state, batch, key, step)
        finite = metrics["finite"]
        selected = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state.state)
        skipped = jnp.where(finite, 0, state.skipped + 1)
        return SkipState(selected, skipped), {**metrics, "skipped": skipped}

    def observe(state, metrics):
        assert learner.observe is not None
        new, logged = learner.observe(state.state, metrics)
        return state._replace(state=new), logged

    return learner._replace(
        init=init,
        update=update,
        variables=lambda state: learner.variables(state.state),
        layout=lambda state: state._replace(state=learner.layout(state.state), skipped="replicated"),
        observe=observe if learner.observe is not None else None,
    )
