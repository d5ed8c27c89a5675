"""Closed-form fits: from sufficient statistics, such as ridge regression, and from one batch of all training data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnets.learning.contract import Learner, zeros_like_shapes


class ClosedFormState(NamedTuple):
    """State of ``closed_form``.

    Attributes:
        statistics: Sums over all batches so far.
        variables: The solution for these sums.
    """

    statistics: Any
    variables: Any


def closed_form(statistics: Callable[[Any], Any], solve: Callable[[Any], Any]) -> Learner:
    r"""Creates a learner that accumulates sufficient statistics and solves for the variables.

    For ridge regression, :math:`(X^\top X + \lambda I) w = X^\top y`, the statistics are :math:`X^\top X` and
    :math:`X^\top y`. Each update adds the statistics of its batch and solves again, so that one epoch of updates
    uses all training data. An ill-conditioned problem needs statistics in float64.

    The only metric is ``finite``, which is True if all variables are finite.

    Args:
        statistics: ``batch -> sums``, a tree of arrays. Padding must contribute zeros.
        solve: ``sums -> variables``.
    """

    def init(key, batch, variables=None):
        shapes = jax.eval_shape(statistics, batch)
        solution = zeros_like_shapes(jax.eval_shape(solve, shapes)) if variables is None else variables
        return ClosedFormState(zeros_like_shapes(shapes), solution)

    def update(state, batch, key, step):
        sums = jax.tree.map(jnp.add, state.statistics, statistics(batch))
        variables = solve(sums)
        return ClosedFormState(sums, variables), {"finite": _all_finite(variables)}

    return Learner(
        init=init,
        update=update,
        variables=lambda state: state.variables,
        layout=lambda state: ClosedFormState("replicated", "parameters"),
        closed_form=True,
    )


def fitted(init: Callable[[jax.Array, Any], Any], fit: Callable[[Any, Any], Any]) -> Learner:
    """Creates a learner that fits the variables to one batch, which holds all training data.

    Each update starts from the initial variables, such as random kernels, so that repeated updates with the same data
    change nothing. The only metric is ``finite``, as in ``closed_form``.

    Args:
        init: ``(key, batch) -> variables``, before the fit.
        fit: ``(variables, batch) -> variables``. The result must contain, unchanged, all variables that it reads.
    """

    def init_state(key, batch, variables=None):
        if variables is not None:
            return variables
        initial = init(key, batch)
        shapes = jax.eval_shape(fit, initial, batch)  # some have the number of training rows
        same = lambda leaf, shape: leaf if leaf.shape == shape.shape else jnp.zeros(shape.shape, shape.dtype)
        return jax.tree.map(same, initial, shapes)

    def update(state, batch, key, step):
        variables = fit(state, batch)
        return variables, {"finite": _all_finite(variables)}

    return Learner(
        init=init_state,
        update=update,
        variables=lambda state: state,
        layout=lambda state: "replicated",
        closed_form=True,
        full_batch=True,
    )


def _all_finite(variables: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(variables)]))
