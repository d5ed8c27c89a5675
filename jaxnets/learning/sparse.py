"""Sparse updates: only the rows of tables that occur in a batch are read and written."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnets.learning.contract import Init, Learner, Mean
from jaxnets.learning.optimizers import PlainSGD, learning_rate_metric, with_standard_promotion
from jaxnets.learning.partitioning import count_rows


class RowLoss(NamedTuple):
    """A loss that depends on a few rows of tables.

    Attributes:
        prepare: ``(batch, key) -> batch``, for example with random negatives. The first axis of all arrays is rows.
        rows: ``example -> {name: ids [...]}``, the rows of each table that a row of a batch reads.
        loss: ``(example, {name: [..., D]}) -> (total, count)``, the sum over the items of a row of a batch, and their
            number.
    """

    prepare: Callable[[Any, jax.Array], Any]
    rows: Callable[[Any], dict[str, jax.Array]]
    loss: Callable[[Any, dict[str, jax.Array]], tuple[jax.Array, jax.Array]]


class SparseState(NamedTuple):
    """State of ``sparse``.

    Attributes:
        variables: ``{"params": {name: table [V, D]}}``.
        squares: Sums of squared updates of AdaGrad, one for each parameter; empty without AdaGrad.
        optimizer: The optimizer state, which counts the updates.
    """

    variables: Any
    squares: Any
    optimizer: Any


def sparse(
    init: Init, row_loss: RowLoss, optimizer: optax.GradientTransformation, group: int = 1, adagrad: bool = False
) -> Learner:
    r"""Creates a learner that updates only the rows of tables that a batch reads.

    A dense gradient has the size of the tables; here the cost of an update does not depend on it. A batch is processed
    in groups of a few rows, one after the other, and each group updates the tables by the sum of its gradients,

    .. math:: \theta_i \leftarrow \theta_i - \eta \sum_{j: r_j = i} g_j

    The gradient is of the sum of the loss and not of its mean, so that the learning rate does not depend on the batch
    size. A large group sums many gradients of a frequent row, which diverges.

    With AdaGrad (Duchi et al. 2011), as in the program of GloVe, the sums of squares start at 1:

    .. math::
        s_i \leftarrow s_i + \sum_{j: r_j = i} (\eta g_j)^2, \quad
        \theta_i \leftarrow \theta_i - \sum_{j: r_j = i} \eta g_j / \sqrt{s_i}

    The metrics are ``loss``, the mean over the items of a batch, each before its update; ``finite``; and
    ``learning_rate``.

    Args:
        init: ``(key, batch) -> variables``.
        row_loss: The loss.
        optimizer: ``learning.optimizers.linear_sgd``, which sets the learning rate.
        group: Rows of a batch for each update.
        adagrad: Whether to divide by the root of the sum of squares.

    Raises:
        ValueError: The optimizer is not plain SGD. ``Learner.init`` raises it if the batch size is not divisible by
            ``group``.
    """
    if not isinstance(optimizer, PlainSGD):
        raise ValueError("the optimizer of sparse updates must be optimizers.linear_sgd, got another one")

    def start(key, batch, variables=None):
        initial = init(key, batch)
        if count_rows(batch) % group:
            raise ValueError(f"the batch size must be divisible by `group`, {group}, got {count_rows(batch)}")
        variables = initial if variables is None else variables
        squares = jax.tree.map(jnp.ones_like, variables["params"]) if adagrad else {}
        return SparseState(variables, squares, optimizer.init({}))

    def update(state, batch, key, step):
        rate = optimizer.learning_rate(state.optimizer)
        batch = row_loss.prepare(batch, key)

        def advance(carry, examples):
            params, squares = carry
            ids, gradients, total, count = _gradients(row_loss, params, examples, group)
            steps = {name: rate.astype(each.dtype) * each for name, each in gradients.items()}
            if adagrad:
                squares = _added(squares, ids, {name: each**2 for name, each in steps.items()})
                steps = {name: each / jnp.sqrt(squares[name][ids[name]]) for name, each in steps.items()}
            params = _added(params, ids, {name: -each for name, each in steps.items()})
            return (params, squares), (total, count)

        split = (lambda a: a) if group == 1 else (lambda a: a.reshape(-1, group, *a.shape[1:]))
        carry = state.variables["params"], state.squares
        (params, squares), (totals, counts) = jax.lax.scan(advance, carry, jax.tree.map(split, batch))
        _, counted = with_standard_promotion(optimizer).update({}, state.optimizer, {})
        total = jnp.sum(totals)
        metrics = {"loss": Mean(total, jnp.sum(counts)), "finite": jnp.isfinite(total)}
        variables = {**state.variables, "params": params}
        return SparseState(variables, squares, counted), {
            **metrics,
            **learning_rate_metric(optimizer, state.optimizer),
        }

    return Learner(
        init=start,
        update=update,
        variables=lambda state: state.variables,
        layout=lambda state: SparseState("parameters", "parameters", "replicated"),
    )


def mean_loss(row_loss: RowLoss, variables: Any, batch: Any, key: jax.Array) -> Mean:
    """Computes the loss of a batch, row by row, which bounds the memory."""
    params = variables["params"]

    def one(example):
        return row_loss.loss(example, {name: params[name][ids] for name, ids in row_loss.rows(example).items()})

    totals, counts = jax.lax.map(one, row_loss.prepare(batch, key))
    return Mean(jnp.sum(totals), jnp.sum(counts))


def _gradients(row_loss, params, examples, group):
    """Returns the ids of rows, their gradients, and the sum of the loss and its count, for one group."""
    rows, loss = row_loss.rows, row_loss.loss
    if group > 1:
        rows, each_loss = jax.vmap(rows), jax.vmap(row_loss.loss)
        loss = lambda examples, gathered: jax.tree.map(jnp.sum, each_loss(examples, gathered))
    ids = rows(examples)
    gathered = {name: params[name][each] for name, each in ids.items()}
    (total, count), gradients = jax.value_and_grad(lambda given: loss(examples, given), has_aux=True)(gathered)
    return ids, gradients, total, count


def _added(tables, ids, updates):
    return tables | {name: tables[name].at[ids[name]].add(update) for name, update in updates.items()}
