"""Sets that do not fit: their summaries chunk by chunk, equal to those of the whole."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.meshes import auto_sharded, per_feature, per_set
from jaxnets.ops.set_reductions import Validity, check_valid, set_max, set_min, set_sizes, set_sum
from jaxnets.sets.histogram import Bins, histogram

Carry = Any


class Fold(NamedTuple):
    """A summary of sets that is made chunk by chunk.

    Attributes:
        start: ``(xs, valid) -> carry`` before the first chunk, which gives the shapes only.
        add: ``(carry, xs, valid) -> carry``: with one more chunk, elements and valid as in ``pooling``.
        result: ``carry -> summary``.
        merge: ``(carry, carry) -> carry``: from those of some elements and of others to that of all; None where chunks
            can only be read one after the other.
    """

    start: Callable[[jax.Array, Validity], Carry]
    add: Callable[[Carry, jax.Array, Validity], Carry]
    result: Callable[[Carry], jax.Array]
    merge: Callable[[Carry, Carry], Carry] | None = None


_total = auto_sharded(per_feature)(set_sum)
_largest: Callable = auto_sharded(per_feature)(set_max)
_smallest = auto_sharded(per_feature)(set_min)
_sizes = auto_sharded(per_set)(lambda xs, valid: set_sizes(valid))


def _count_and(what: Callable, join: Callable, begin: float, result: Callable) -> Fold:
    """A fold whose carry is a summary ``what`` of the chunks so far, and how many elements they had."""

    def start(xs, valid):
        valid = check_valid(xs, valid)
        shape = jax.eval_shape(what, xs, valid)
        return jnp.full_like(shape, begin), jnp.zeros_like(_sizes(xs, valid))

    def merge(carry, other):
        (found, count), (more, others) = carry, other
        # What is of no element takes no part: joined with an equal number it would take half of the gradient.
        has, have = (_like(n > 0, found) for n in (count, others))
        return jnp.where(has, jnp.where(have, join(found, more), found), more), count + others

    def add(carry, xs, valid):
        valid = check_valid(xs, valid)
        return merge(carry, (what(xs, valid), _sizes(xs, valid)))

    return Fold(start, add, lambda carry: result(*carry), merge)


_like = lambda count, found: count.reshape(*count.shape, *(1,) * (found.ndim - count.ndim))
_or_zero = lambda found, count: jnp.where(count > 0, found, 0)
_mean = lambda found, count: found / jnp.maximum(_like(count, found).astype(found.dtype), 1)
sum_fold = _count_and(_total, jnp.add, 0.0, lambda found, _: found)
mean_fold = _count_and(_total, jnp.add, 0.0, _mean)
max_fold = _count_and(_largest, jnp.maximum, -np.inf, _or_zero)
min_fold = _count_and(_smallest, jnp.minimum, np.inf, _or_zero)

FOLDS: dict[str, Fold] = {"sum": sum_fold, "mean": mean_fold, "max": max_fold, "min": min_fold}


def histogram_fold(bins: Bins, kind: str = "linear", cumulative: bool = False) -> Fold:
    """Of ``histogram``, whose arguments these are."""

    def votes(xs, valid):
        valid = check_valid(xs, valid)
        found = histogram(xs, bins, valid, kind=kind, cumulative=cumulative)
        return found * _like(_sizes(xs, valid), found).astype(found.dtype)

    return _count_and(votes, jnp.add, 0.0, _mean)


class Reading(NamedTuple):
    """What queries have read of keys and values so far (Milakov and Gimelshein 2018, arXiv:1805.02867).

    Attributes:
        highest: The largest score, ``[*batch, N, T, 1]``.
        normalizer: The sum of ``exp(score - highest)``.
        weighted: The sum of values with these weights, ``[*batch, N, T, E]``.
    """

    highest: jax.Array
    normalizer: jax.Array
    weighted: jax.Array


def nothing_read(query: jax.Array, features: int) -> Reading:
    """Before the first chunk, of queries ``[*batch, T, N, D]`` and values of so many features."""
    *batch, length, heads, _ = query.shape
    zeros = jnp.zeros((*batch, heads, length, 1), at_least_float32(query.dtype))
    return Reading(zeros - np.inf, zeros, jnp.tile(zeros, features))


def read_on(
    reading: Reading, query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array, scale: float
) -> Reading:
    """With keys and values ``[*batch, S, N, D]`` of one more chunk, of which ``mask [*batch, S]`` are real."""
    chex.assert_equal_shape_prefix([key, value], mask.ndim + 1)
    chex.assert_equal_shape_prefix([key, mask], mask.ndim)
    scores = scale * jnp.einsum("...tnd,...snd->...nts", query, key, preferred_element_type=reading.highest.dtype)
    scores = jnp.where(mask[..., None, None, :], scores, -jnp.inf)
    highest = jnp.maximum(reading.highest, jnp.max(scores, axis=-1, keepdims=True, initial=-jnp.inf))
    finite = jnp.where(jnp.isneginf(highest), 0, highest)
    weights, before = jnp.exp(scores - finite), jnp.exp(reading.highest - finite)
    new = jnp.einsum("...nts,...sne->...nte", weights, value.astype(weights.dtype))
    normalizer = before * reading.normalizer + jnp.sum(weights, axis=-1, keepdims=True)
    return Reading(highest, normalizer, before * reading.weighted + new)


def what_was_read(reading: Reading) -> jax.Array:
    """``[*batch, T, N, E]``, zeros where there was nothing to read."""
    chex.assert_equal_shape([reading.highest, reading.normalizer])
    found = reading.weighted / jnp.where(reading.normalizer > 0, reading.normalizer, 1)
    return jnp.swapaxes(found, -3, -2)


def apply_in_chunks(
    model: Any, variables: Any, chunks: Callable[[], Iterable[tuple[jax.Array, Validity]]]
) -> jax.Array:
    """A model of sets that are read chunk by chunk, equal to ``model.apply`` of the whole; not differentiated.

    Args:
        model: ``DeepSets`` (all poolings but the median), ``HistNetQ``, or ``SetTransformer`` with inducing points and
            without set norm: it reads the set once for each block.
        variables: Its variables.
        chunks: Makes an iterable of ``(xs [*batch, n, D], mask or None)``, anew for each time the set is read.
            Chunks of one shape are compiled once.

    Raises:
        ValueError: The model needs all of a set at once, or there is no chunk.
    """
    if not hasattr(model, "passes"):
        raise ValueError(f"`model` must be a DeepSets, HistNetQ or SetTransformer, got {type(model).__name__}")
    if not callable(chunks):
        raise ValueError(
            f"`chunks` must be a function that returns an iterable, as `lambda: chunks`, got {type(chunks).__name__}"
        )
    update = jax.jit(lambda *given: model.apply(variables, *given, method="update"))
    seen: tuple = ()
    for number in range(model.passes()):
        carry = None
        for xs, valid in chunks():
            carry = update(carry, xs, valid, seen)
        if carry is None:
            raise ValueError(
                f"`chunks` must give at least one chunk, got none in pass {number + 1} of {model.passes()}: "
                "the function must return a new iterable whenever it is called"
            )
        seen = (*seen, model.apply(variables, carry, seen, method="finish"))
    return model.apply(variables, seen, method="answer")
