"""The learner of several players, each with a loss, an optimizer and parameters of its own: adversarial networks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnets.learning.contract import Context, Init, Learner, Loss
from jaxnets.learning.optimizers import promoting, rate_of
from jaxnets.learning.parameters import Chosen, combine, partition
from jaxnets.learning.partitioning import by_rows, count_rows


class Player(NamedTuple):
    """Attributes:
    loss: ``(variables, batch, Context) -> (loss, Aux)``.
    optimizer: Of its parameters.
    parameters: Whether the parameter of a path, such as ``params/generator/kernel``, is its own.
    steps: Parts of a batch that it is updated on, one after the other, in one update of the learner.
    """

    loss: Loss
    optimizer: optax.GradientTransformation
    parameters: Chosen
    steps: int = 1


class AlternatingState(NamedTuple):
    """Attributes:
    variables: Those of all players.
    optimizers: States by player.
    """

    variables: Any
    optimizers: dict[str, Any]


def alternating(init: Init, players: Mapping[str, Player]) -> Learner:
    """The learner in which players are updated in turns, each with the variables that those before it left.

    With one optimizer the loss of one player could not be the negative of another's; here a discriminator of five steps
    and a generator of one (Gulrajani et al. 2017, arXiv:1704.00028) are ``Player(..., steps=5)`` and ``Player(...)``.
    A player of several steps sees every row once: the batch is split into as many parts.

    Its metrics are ``NAME_loss`` by player, the mean over its steps; those of a loss as ``NAME_METRIC``, and so its
    ``learning_rate``, as in ``gradient``; and ``finite``, whether all losses and the norms of all gradients are. Losses
    have no carry.

    Args:
        init: ``(key, batch) -> variables``.
        players: By name, in the order of their turns. Together they may leave parameters to nobody.

    Raises:
        ValueError: There are no players, or one has no steps; when training begins: a player has no parameters, two
            have the same, or a batch cannot be divided into the parts of a player.
    """
    if not players or any(player.steps < 1 for player in players.values()):
        raise ValueError(f"`players` must be at least one, of at least 1 step each, got {dict(players)}")

    def start(key, batch, variables=None):
        variables = init(key, batch) if variables is None else variables
        rows, taken = count_rows(batch), []
        for name, player in players.items():
            if rows % player.steps:
                raise ValueError(f"the batch must be divisible by the {player.steps} steps of {name}, got {rows} rows")
            own, _ = partition(variables["params"], player.parameters)
            if not own:
                raise ValueError(f"`players`: {name} has no parameters")
            taken += [path for path, _ in jax.tree.leaves_with_path(own)]
        if len(set(taken)) < len(taken):
            raise ValueError("`players` must have parameters of their own, got some that two of them have")
        optimizers = {
            name: player.optimizer.init(partition(variables["params"], player.parameters)[0])
            for name, player in players.items()
        }
        return AlternatingState(variables, optimizers)

    def update(state, batch, key, step):
        variables, optimizers, finite = state.variables, dict(state.optimizers), jnp.bool_(True)
        metrics: dict[str, jax.Array] = {}
        for number, (name, player) in enumerate(players.items()):
            keys = jax.random.split(jax.random.fold_in(key, number), player.steps)
            parts = jax.tree.map(lambda a, steps=player.steps: a.reshape(steps, -1, *a.shape[1:]), batch)
            turn = _turn(player, step)
            (variables, optimizers[name]), found = jax.lax.scan(turn, (variables, optimizers[name]), (parts, keys))
            finite &= jnp.all(found.pop("finite"))
            metrics |= {f"{name}_{metric}": jax.tree.map(jnp.mean, values) for metric, values in found.items()}
        return AlternatingState(variables, optimizers), {**metrics, "finite": finite}

    return Learner(
        init=start,
        update=update,
        variables=lambda state: state.variables,
        layout=lambda state: AlternatingState("parameters", dict.fromkeys(players, "parameters")),
    )


def _turn(player: Player, step: jax.Array):
    """One step of a player: ``((variables, optimizer state), (batch, key)) -> (the same, metrics)``."""
    divided_loss = by_rows(player.loss)

    def turn(state, inputs):
        (variables, optimizer), (batch, key) = state, inputs
        own, others = partition(variables["params"], player.parameters)

        @jax.named_scope("loss")
        def value_of(own):
            return divided_loss({**variables, "params": combine(own, others)}, batch, Context(key, step, ()))

        (value, aux), gradients = jax.value_and_grad(value_of, has_aux=True)(own)
        rate = rate_of(player.optimizer, optimizer)
        updates, optimizer = promoting(player.optimizer).update(gradients, optimizer, own)
        own = optax.apply_updates(own, updates)
        finite = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(gradients))
        variables = {**variables, **aux.updated, "params": combine(own, others)}
        return (variables, optimizer), {"loss": value, "finite": finite, **rate, **aux.metrics}

    return turn
