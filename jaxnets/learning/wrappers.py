"""Learners made from learners: a moving average of the variables, and updates left out where they are not finite."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnets.learning.contract import EMA, Learner
from jaxnets.learning.parameters import Chosen, combine, partition


def with_ema(learner: Learner, decay: float, *, trainable: Chosen | None = None) -> Learner:
    r"""A learner that also keeps an exponential moving average of its variables, and uses that in their place.

    After update t (from 1 on) it is :math:`\bar\theta \leftarrow d_t \bar\theta + (1 - d_t) \theta` with
    :math:`d_t = \min(d, t / (t + 9))`, so that the first updates do not stay in it. It lies beside the variables, as
    the collection ``"ema"``, where a loss finds it: as those of a teacher, for example.

    Args:
        learner: Its state has a field ``variables``.
        decay: d, from 0 to below 1.
        trainable: As in ``gradient``: the others stay as they are to the bit.

    Raises:
        ValueError: ``decay`` is out of range.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"`decay` must be from 0 to below 1, got {decay}")

    def init(key, batch, variables=None):
        state = learner.init(key, batch, variables)
        return state._replace(variables={**state.variables, EMA: state.variables})

    def update(state, batch, key, step):
        new, metrics = learner.update(state, batch, key, step)
        variables = {name: value for name, value in new.variables.items() if name != EMA}
        done = (step + 1).astype(jnp.float32)
        kept = jnp.minimum(decay, done / (done + 9))
        mean = optax.incremental_update(variables, state.variables[EMA], 1 - kept)
        if trainable is not None:  # the mean of what stays is that, without the rounding
            fixed = partition(variables["params"], trainable)[1]
            mean = {**mean, "params": combine(partition(mean["params"], trainable)[0], fixed)}
        return new._replace(variables={**variables, EMA: mean}), metrics

    return learner._replace(init=init, update=update, variables=lambda state: learner.variables(state)[EMA])


class SkipState(NamedTuple):
    """Attributes:
    state: The learner's.
    skipped: Updates that were left out in a row, int32.
    """

    state: Any
    skipped: jax.Array


def skip_nonfinite(learner: Learner) -> Learner:
    """A learner that leaves an update out where its metric ``finite`` is False.

    Its whole state stays, statistics and carry included. ``optax.apply_if_finite`` keeps neither, and accepts an update
    that is not finite after some of them. The metric ``skipped`` counts those left out in a row.
    """

    def init(key, batch, variables=None):
        return SkipState(learner.init(key, batch, variables), jnp.zeros((), jnp.int32))

    def update(state, batch, key, step):
        new, metrics = learner.update(state.state, batch, key, step)
        finite = metrics["finite"]
        kept = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state.state)
        skipped = jnp.where(finite, 0, state.skipped + 1)
        return SkipState(kept, skipped), {**metrics, "skipped": skipped}

    def observe(state, metrics):
        assert learner.observe is not None
        new, told = learner.observe(state.state, metrics)
        return state._replace(state=new), told

    return Learner(
        init=init,
        update=update,
        variables=lambda state: learner.variables(state.state),
        layout=lambda state: state._replace(state=learner.layout(state.state), skipped="replicated"),
        observe=observe if learner.observe is not None else None,
    )
