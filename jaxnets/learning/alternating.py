"""Alternating updates of several players, as in adversarial training."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnets.learning.contract import Context, Init, Learner, Loss
from jaxnets.learning.optimizers import learning_rate_metric, with_standard_promotion
from jaxnets.learning.parameters import PathFilter, combine, partition
from jaxnets.learning.partitioning import count_rows, with_row_sharding


class Player(NamedTuple):
    """One player of ``alternating``: a loss, an optimizer and the parameters that they update.

    Attributes:
        loss: ``(variables, batch, Context) -> (loss, Aux)``.
        optimizer: The optimizer of the player's parameters.
        parameters: Maps the path of a parameter, such as ``params/generator/kernel``, to True if the player owns it.
        steps: Number of updates of this player in one update of the learner, each on an equal share of the batch.
    """

    loss: Loss
    optimizer: optax.GradientTransformation
    parameters: PathFilter
    steps: int = 1


class AlternatingState(NamedTuple):
    """State of ``alternating``.

    Attributes:
        variables: The variables of all players.
        optimizers: The optimizer state of each player.
    """

    variables: Any
    optimizers: dict[str, Any]


def alternating(init: Init, players: Mapping[str, Player]) -> Learner:
    """Creates a learner that updates its players one after the other.

    Each player starts from the variables that the previous player produced. Players can have opposing losses: a
    discriminator with five steps and a generator with one step (Gulrajani et al. 2017, arXiv:1704.00028) are
    ``Player(..., steps=5)`` and ``Player(...)``. For a player with several steps the batch is split into equal
    microbatches, so that every row is used once.

    The metrics of each player carry its name: ``NAME_loss``, ``NAME_learning_rate`` (see ``gradient``) and
    ``NAME_METRIC`` for each metric of the loss, averaged over the player's steps. ``finite`` is True if all losses and
    all gradient norms are finite. Losses cannot use a carry.

    Args:
        init: ``(key, batch) -> variables``.
        players: The players by name, in the order of their updates. Parameters without a player are not trained.

    Raises:
        ValueError: There are no players or a player has fewer than one step. ``Learner.init`` raises it if a player
            has no parameters, if two players share a parameter, or if the batch size is not divisible by a player's
            number of steps.
    """
    if not players or any(player.steps < 1 for player in players.values()):
        raise ValueError(f"`players` must hold at least one player, each with at least 1 step, got {dict(players)}")

    def start(key, batch, variables=None):
        variables = init(key, batch) if variables is None else variables
        rows, owned = count_rows(batch), []
        for name, player in players.items():
            if rows % player.steps:
                raise ValueError(f"the batch size must be divisible by the {player.steps} steps of {name}, got {rows}")
            player_params, _ = partition(variables["params"], player.parameters)
            if not player_params:
                raise ValueError(f"each player must own at least one parameter, got none for {name}")
            owned += [path for path, _ in jax.tree.leaves_with_path(player_params)]
        if len(set(owned)) < len(owned):
            raise ValueError("`players` must not share parameters, got a parameter that two players own")
        optimizers = {
            name: player.optimizer.init(partition(variables["params"], player.parameters)[0])
            for name, player in players.items()
        }
        return AlternatingState(variables, optimizers)

    def update(state, batch, key, step):
        variables, optimizers, finite = state.variables, dict(state.optimizers), jnp.bool_(True)
        metrics: dict[str, jax.Array] = {}
        for index, (name, player) in enumerate(players.items()):
            keys = jax.random.split(jax.random.fold_in(key, index), player.steps)
            microbatches = jax.tree.map(lambda a, steps=player.steps: a.reshape(steps, -1, *a.shape[1:]), batch)
            inputs, carry = (microbatches, keys), (variables, optimizers[name])
            (variables, optimizers[name]), by_step = jax.lax.scan(_player_step(player, step), carry, inputs)
            finite &= jnp.all(by_step.pop("finite"))
            metrics |= {f"{name}_{metric}": jax.tree.map(jnp.mean, values) for metric, values in by_step.items()}
        return AlternatingState(variables, optimizers), {**metrics, "finite": finite}

    return Learner(
        init=start,
        update=update,
        variables=lambda state: state.variables,
        layout=lambda state: AlternatingState("parameters", dict.fromkeys(players, "parameters")),
    )


def _player_step(player: Player, step: jax.Array):
    """Returns one update of a player: ``((variables, opt_state), (batch, key)) -> (state, metrics)``."""
    sharded_loss = with_row_sharding(player.loss)

    def player_step(state, inputs):
        (variables, optimizer), (batch, key) = state, inputs
        trained, others = partition(variables["params"], player.parameters)

        @jax.named_scope("loss")
        def loss_of(trained):
            return sharded_loss({**variables, "params": combine(trained, others)}, batch, Context(key, step, ()))

        (value, aux), gradients = jax.value_and_grad(loss_of, has_aux=True)(trained)
        rate = learning_rate_metric(player.optimizer, optimizer)
        updates, optimizer = with_standard_promotion(player.optimizer).update(gradients, optimizer, trained)
        trained = optax.apply_updates(trained, updates)
        finite = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(gradients))
        variables = {**variables, **aux.updated, "params": combine(trained, others)}
        return (variables, optimizer), {"loss": value, "finite": finite, **rate, **aux.metrics}

    return player_step
