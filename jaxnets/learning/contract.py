"""``Learner``: the functions by which a problem is learned, whatever its losses, optimizers and models."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Learner(NamedTuple):
    """Pure functions of a state, which is a pytree of arrays and holds all that affects training.

    Attributes:
        init: ``(key, batch, variables=None) -> state``, before the first update. ``variables`` are those to begin with,
            such as those of another run; None initializes them.
        update: ``(state, batch, key, step) -> (state, metrics)``. A metric is a scalar or a ``Mean``. One name is
            reserved: ``finite``, bool, is False where the update met a number that is not finite.
        variables: ``state -> variables``, a choice of the state's own leaves: what is evaluated, exported and reported.
        layout: ``state -> tree``, a prefix of the state with leaves ``"parameters"`` (divided over devices as the
            parameters are), ``"rows"`` (the first axis is that of a batch) or ``"replicated"``.
        observe: ``(state, metrics) -> (state, metrics)`` after scheduled evaluations, for what training learns from
            them, and what is to be written of it; None: nothing.
    """

    init: Callable[..., Any]
    update: Callable[[Any, Any, jax.Array, jax.Array], tuple[Any, dict[str, Any]]]
    variables: Callable[[Any], Any]
    layout: Callable[[Any], Any]
    observe: Callable[[Any, dict[str, float]], tuple[Any, dict[str, jax.Array]]] | None = None


class Context(NamedTuple):
    """Attributes:
    key: Random key of this update.
    step: Updates done before it, int32, for what changes over training.
    carry: State that goes on from one training batch to the next, such as a recurrent state; None asks for a first one,
        and ``()`` is none.
    """

    key: jax.Array
    step: jax.Array
    carry: Any


class Aux(NamedTuple):
    """Results of a loss beside its value.

    Attributes:
        carry: As in ``Context``, for the next batch.
        updated: Variables that training changes otherwise than by gradients, such as ``{"batch_stats": ...}``.
        metrics: To be written beside the loss.
    """

    carry: Any = ()
    updated: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    metrics: dict[str, Any] = {}  # noqa: RUF012


class Mean(NamedTuple):
    """A metric that is a mean over a number of items: means of several steps are added up before they are divided.

    Attributes:
        total: Sum over the items, a scalar.
        count: How many there were; with 0 the metric is left out.
    """

    total: jax.Array
    count: jax.Array  # type: ignore[assignment]  # hides the method of tuples


EMA = "ema"  # the collection of variables in which ``with_ema`` keeps their average

Init = Callable[[jax.Array, Any], Any]
Loss = Callable[[Any, Any, Context], tuple[jax.Array, Aux]]
MakeLearner = Callable[[Init, Loss], Learner]  # such as ``Gradient(optimizer)``


def zeros_of(shapes: Any) -> Any:
    """Arrays of zeros of these shapes and types."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
