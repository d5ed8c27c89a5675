"""Conditions of generative models of images: classes, captions or none, and classifier-free guidance."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnets.data.targets import Classes, Unlabeled
from jaxnets.tasks.generative.labels import check_num_classes

Condition = Mapping[str, jax.Array]  # arguments of a model by name, with the batch as first axis; empty: none
Network = Callable[[jax.Array, jax.Array], jax.Array]  # (noisy images, times) -> predictions


class Conditions(NamedTuple):
    """The condition of a model.

    Attributes:
        names: Inputs of ``generate``: ``("labels",)``, or none.
        of_batch: Batch of the data to condition.
        of_inputs: Inputs of ``generate`` and their number to condition.
        without: Condition to that of no condition.
    """

    names: tuple[str, ...]
    of_batch: Callable[[Mapping[str, Any]], Condition]
    of_inputs: Callable[[Mapping[str, Any]], Condition]
    without: Callable[[Condition], Condition]


NONE = Conditions((), lambda batch: {}, lambda inputs: {}, lambda condition: condition)


def conditions_of(module: Any, spec: Any) -> Conditions:
    """Returns the condition of a model that is trained on data with this spec.

    Args:
        module: A model of classes has ``num_classes`` and the argument ``labels``, where the label ``num_classes``
            stands for no class.
        spec: Spec of the data.

    Raises:
        ValueError: The model has other classes than the data.
    """
    if not isinstance(spec, Classes | Unlabeled):
        raise ValueError(f"the data must have classes or no labels, got {type(spec).__name__.lower()}")
    check_num_classes(module, spec)
    num_classes = module.num_classes
    if not num_classes:
        return NONE
    return Conditions(
        ("labels",),
        lambda batch: {"labels": batch["targets"]},
        lambda inputs: {"labels": jnp.asarray(inputs["labels"])},
        lambda condition: {"labels": jnp.full_like(condition["labels"], num_classes)},
    )


def dropped(conditions: Conditions, condition: Condition, key: jax.Array, probability: float) -> Condition:
    """Replaces the condition of a random fraction of the rows by none, for classifier-free guidance."""
    if not condition:
        return condition
    (count,) = {len(values) for values in condition.values()}
    drop = jax.random.bernoulli(key, probability, (count,))
    select = lambda without, given: jnp.where(drop.reshape(-1, *(1,) * (given.ndim - 1)), without, given)
    return jax.tree.map(select, conditions.without(condition), condition)


def guided(
    apply: Callable[[jax.Array, jax.Array, Condition], jax.Array],
    conditions: Conditions,
    condition: Condition,
    guidance: float,
) -> Network:
    r"""Returns the network of a condition with classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598).

    .. math:: (1 + w) f(x, t, c) - w f(x, t)

    Args:
        apply: f, ``(noisy images, times, condition) -> predictions``.
        conditions: The condition of the model.
        condition: c.
        guidance: w; 0 computes :math:`f(x, t, c)` only.
    """
    if not guidance or not condition:
        return lambda xs, times: apply(xs, times, condition)
    both = jax.tree.map(lambda *parts: jnp.concatenate(parts), condition, conditions.without(condition))

    def network(xs: jax.Array, times: jax.Array) -> jax.Array:
        twice = lambda array: jnp.concatenate([array, array])
        given, without = jnp.split(apply(twice(xs), twice(times), both), 2)
        return (1 + guidance) * given - guidance * without

    return network
