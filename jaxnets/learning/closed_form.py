"""The learner of models whose best parameters follow from sums over the data, such as ridge regression."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnets.learning.contract import Learner, zeros_of


class ClosedFormState(NamedTuple):
    """Attributes:
    statistics: Sums over all batches so far.
    variables: The solution for them.
    """

    statistics: Any
    variables: Any


def closed_form(statistics: Callable[[Any], Any], solve: Callable[[Any], Any]) -> Learner:
    r"""The learner that adds up sufficient statistics and solves for the variables.

    For ridge regression, :math:`(X^\top X + \lambda I) w = X^\top y`, the statistics are :math:`X^\top X` and
    :math:`X^\top y`. Every update adds those of its batch: with N batches of training data, N updates see them all.
    Statistics should be computed in float64 where the solution asks for it.

    Args:
        statistics: ``batch -> sums``, a tree of arrays; those of padding are zero.
        solve: ``sums -> variables``.

    Its only metric is ``finite``, whether all variables are.
    """

    def init(key, batch, variables=None):
        shapes = jax.eval_shape(statistics, batch)
        solution = zeros_of(jax.eval_shape(solve, shapes)) if variables is None else variables
        return ClosedFormState(zeros_of(shapes), solution)

    def update(state, batch, key, step):
        sums = jax.tree.map(jnp.add, state.statistics, statistics(batch))
        variables = solve(sums)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(variables)]))
        return ClosedFormState(sums, variables), {"finite": finite}

    return Learner(
        init=init,
        update=update,
        variables=lambda state: state.variables,
        layout=lambda state: ClosedFormState("replicated", "parameters"),
    )
