"""Conditions of generative models of images: classes, captions or none, and classifier-free guidance."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Classes, Unlabeled
from jaxnets.data.tokens.captions import Captions
from jaxnets.tasks.generative.labels import check_num_classes, labels_in_turn
from jaxnets.tasks.models import check_spec

Condition = Mapping[str, Any]  # arguments of a model by name, with the batch as first axis; empty: none
Network = Callable[[jax.Array, jax.Array], jax.Array]  # (noisy images, times) -> predictions


class Conditions(NamedTuple):
    """The kind of condition of a model.

    Attributes:
        names: Inputs of ``generate``: ``("labels",)``, ``("tokens", "lengths")``, or none.
        of_batch: Batch of the data to condition.
        of_inputs: Inputs of ``generate`` to condition.
        examples: ``(batch, number) -> condition``, for reports: classes in turn, or the first captions of the batch.
        without: Condition to that of no condition.
    """

    names: tuple[str, ...]
    of_batch: Callable[[Mapping[str, Any]], Condition]
    of_inputs: Callable[[Mapping[str, Any]], Condition]
    examples: Callable[[Mapping[str, Any], int], Condition]
    without: Callable[[Condition], Condition]


def conditions_of(task: str, module: Any, spec: Any) -> Conditions:
    """Returns the condition of a model that is trained on data with this spec.

    Args:
        task: Name of the task.
        module: A model of classes has ``num_classes`` and the argument ``labels``, where the label ``num_classes``
            stands for no class. A model of captions has the arguments ``tokens`` and ``lengths``, where a length of 0
            stands for no caption.
        spec: Spec of the data.

    Raises:
        ValueError: The spec is of another kind, or the model has other classes than the data.
    """
    check_spec(task, spec, Classes, Captions, Unlabeled)
    if isinstance(spec, Captions):
        return _captions()
    check_num_classes(module, spec)
    if module.num_classes:
        return _classes(module.num_classes)
    return Conditions((), lambda batch: {}, lambda inputs: {}, lambda batch, count: {}, lambda condition: condition)


def _classes(num_classes: int) -> Conditions:
    in_turn = lambda count: jnp.asarray(labels_in_turn(count, num_classes))
    return Conditions(
        ("labels",),
        lambda batch: {"labels": batch["targets"]},
        lambda inputs: {"labels": jnp.asarray(inputs["labels"]) if "labels" in inputs else in_turn(len(inputs["key"]))},
        lambda batch, count: {"labels": in_turn(count)},
        lambda condition: {"labels": jnp.full_like(condition["labels"], num_classes)},
    )


def _captions() -> Conditions:
    names = ("tokens", "lengths")
    select = lambda arrays: {name: jnp.asarray(arrays[name]) for name in names}

    def examples(batch: Mapping[str, Any], count: int) -> Condition:
        valid = np.flatnonzero(np.asarray(batch["mask"]))
        return {name: jnp.asarray(np.asarray(batch[name])[np.resize(valid, count)]) for name in names}

    without = lambda condition: {**condition, "lengths": jnp.zeros_like(condition["lengths"])}
    return Conditions(names, select, select, examples, without)


def dropped(conditions: Conditions, condition: Condition, key: jax.Array, probability: float) -> Condition:
    """Replaces the condition of a random fraction of the rows by none, for classifier-free guidance."""
    if not condition or not probability:
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
        conditions: The kind of condition.
        condition: c.
        guidance: w; 0 computes :math:`f(x, t, c)` only.
    """
    if not guidance or not condition:
        return lambda xs, times: apply(xs, times, condition)
    twice = lambda array: jnp.concatenate([array, array])
    both = jax.tree.map(lambda *parts: jnp.concatenate(parts), condition, conditions.without(condition))

    def network(xs: jax.Array, times: jax.Array) -> jax.Array:
        given, without = jnp.split(apply(twice(xs), twice(times), both), 2)
        return (1 + guidance) * given - guidance * without

    return network
