"""``Learner``: the interface between a learning problem and the training loop."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Int, Key, Num


class Learner(NamedTuple):
    """A tuple of pure functions that defines one learning problem for the training loop.

    The state is a pytree of arrays that contains everything that affects training.

    Attributes:
        init: ``(key, batch, variables=None) -> state``, called before the first update. ``variables`` are initial
            variables, for example from another run. With None, the learner initializes them.
        update: ``(state, batch, key, step) -> (state, metrics)``. A metric is a scalar or a ``Mean``. The metric
            ``finite``, bool, is reserved: it is False if the loss or its gradient is not finite.
        variables: ``state -> variables``, the variables to evaluate, export and report. They must be leaves of the
            state.
        layout: ``state -> tree``, a prefix tree of the state with leaves ``"parameters"`` (sharded like the
            parameters), ``"rows"`` (the first axis is the batch axis) or ``"replicated"``.
        observe: ``(state, metrics) -> (state, metrics)``, called after scheduled evaluations, for example to reduce
            the learning rate on a plateau. The returned metrics are logged. None: not called.
        closed_form: Whether the variables are a solution in closed form. Settings of gradient descent, such as
            frozen parameters and moving averages, do not apply to it.
        full_batch: Whether each batch must hold all training rows.
    """

    init: Callable[..., Any]
    update: Callable[[Any, Any, jax.Array, jax.Array], tuple[Any, dict[str, Any]]]
    variables: Callable[[Any], Any]
    layout: Callable[[Any], Any]
    observe: Callable[[Any, dict[str, float]], tuple[Any, dict[str, jax.Array]]] | None = None
    closed_form: bool = False
    full_batch: bool = False


class Context(NamedTuple):
    """Inputs of a loss besides the variables and the batch.

    Attributes:
        key: The random key of this update.
        step: The number of previous updates, int32, for schedules.
        carry: State that passes from one training batch to the next, such as a recurrent state. With None, the loss
            creates the initial carry. ``()`` means that the loss has no carry.
    """

    key: Key[Array, ""]
    step: Int[Array, ""]
    carry: Any


class Aux(NamedTuple):
    """Auxiliary outputs of a loss.

    Attributes:
        carry: The carry for the next batch, as in ``Context``.
        updated: Variables that are not updated by gradients, such as ``{"batch_stats": ...}``.
        metrics: Further metrics to log.
    """

    carry: Any = ()
    updated: dict[str, Any] = {}  # noqa: RUF012  (never mutated)
    metrics: dict[str, Any] = {}  # noqa: RUF012


class Mean(NamedTuple):
    """A metric that is a mean over items, such as tokens.

    Totals and counts are summed over steps or batches before the division.

    Attributes:
        total: Sum over the items, a scalar.
        count: Number of items, a scalar. With 0 the metric is omitted.
    """

    total: Num[Array, ""]
    count: Num[Array, ""]  # type: ignore[assignment]  # hides the method of tuples


EMA = "ema"  # the variable collection in which ``with_ema`` stores the moving average

Init = Callable[[jax.Array, Any], Any]
Loss = Callable[[Any, Any, Context], tuple[jax.Array, Aux]]
MakeLearner = Callable[[Init, Loss], Learner]  # such as ``Gradient(optimizer)``


def zeros_like_shapes(shapes: Any) -> Any:
    """Returns arrays of zeros for a tree of ``jax.ShapeDtypeStruct``."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
