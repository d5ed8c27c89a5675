"""Streaming of large sets: reductions and models applied chunk by chunk, with the results of the whole set."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.array_types import Array, Bool, Float
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.meshes import auto_sharded, per_feature, per_set
from jaxnets.ops.set_reductions import Validity, check_valid, set_max, set_min, set_sizes, set_sum
from jaxnets.sets.histogram import Bins, histogram

Carry = Any


class Fold(NamedTuple):
    """A reduction over sets that is computed chunk by chunk.

    Attributes:
        init: ``(xs, valid) -> carry``, the initial carry; only the shapes of the first chunk are used.
        update: ``(carry, xs, valid) -> carry``, adds a chunk; elements and ``valid`` as in ``pooling``.
        result: ``carry -> summary``.
        merge: ``(carry, carry) -> carry``, merges the carries of two disjoint sets of elements; None if chunks can only
            be processed sequentially.
    """

    init: Callable[[jax.Array, Validity], Carry]
    update: Callable[[Carry, jax.Array, Validity], Carry]
    result: Callable[[Carry], jax.Array]
    merge: Callable[[Carry, Carry], Carry] | None = None


_sum = auto_sharded(per_feature)(set_sum)
_max: Callable = auto_sharded(per_feature)(set_max)
_min = auto_sharded(per_feature)(set_min)
_sizes = auto_sharded(per_set)(lambda xs, valid: set_sizes(valid))


def _fold_with_count(reduce: Callable, combine: Callable, initial: float, result: Callable) -> Fold:
    """Makes a fold whose carry is the reduction of the chunks so far and the number of their elements."""

    def init(xs, valid):
        valid = check_valid(xs, valid)
        shape = jax.eval_shape(reduce, xs, valid)
        return jnp.full_like(shape, initial), jnp.zeros_like(_sizes(xs, valid))

    def merge(left, right):
        (left_value, left_count), (right_value, right_count) = left, right
        # The value of an empty chunk is not combined: if equal, it would receive half of the gradient.
        has_left, has_right = (_expand_like(count > 0, left_value) for count in (left_count, right_count))
        both = jnp.where(has_right, combine(left_value, right_value), left_value)
        return jnp.where(has_left, both, right_value), left_count + right_count

    def update(carry, xs, valid):
        valid = check_valid(xs, valid)
        return merge(carry, (reduce(xs, valid), _sizes(xs, valid)))

    return Fold(init, update, lambda carry: result(*carry), merge)


_expand_like = lambda count, value: count.reshape(*count.shape, *(1,) * (value.ndim - count.ndim))
_value_or_zero = lambda value, count: jnp.where(count > 0, value, 0)
_mean = lambda value, count: value / jnp.maximum(_expand_like(count, value).astype(value.dtype), 1)
sum_fold = _fold_with_count(_sum, jnp.add, 0.0, lambda value, _: value)
mean_fold = _fold_with_count(_sum, jnp.add, 0.0, _mean)
max_fold = _fold_with_count(_max, jnp.maximum, -np.inf, _value_or_zero)
min_fold = _fold_with_count(_min, jnp.minimum, np.inf, _value_or_zero)

FOLDS: dict[str, Fold] = {"sum": sum_fold, "mean": mean_fold, "max": max_fold, "min": min_fold}


def histogram_fold(bins: Bins, kind: str = "linear", cumulative: bool = False) -> Fold:
    """Makes the fold of ``histogram``; arguments as there."""

    def vote_sums(xs, valid):
        valid = check_valid(xs, valid)
        mean = histogram(xs, bins, valid, kind=kind, cumulative=cumulative)
        return mean * _expand_like(_sizes(xs, valid), mean).astype(mean.dtype)

    return _fold_with_count(vote_sums, jnp.add, 0.0, _mean)


class SoftmaxState(NamedTuple):
    """State of an online softmax over keys (Milakov and Gimelshein 2018, arXiv:1805.02867).

    Attributes:
        maximum: Largest score so far, ``[*batch, N, T, 1]``.
        normalizer: Sum of ``exp(score - maximum)``, ``[*batch, N, T, 1]``.
        weighted_sum: Sum of values with these weights, ``[*batch, N, T, E]``.
    """

    maximum: jax.Array
    normalizer: jax.Array
    weighted_sum: jax.Array


def init_softmax(query: Float[Array, "*batch T heads D"], features: int) -> SoftmaxState:
    """Returns the initial state for queries ``[*batch, T, N, D]`` and values with ``features`` features."""
    *batch, length, heads, _ = query.shape
    zeros = jnp.zeros((*batch, heads, length, 1), at_least_float32(query.dtype))
    return SoftmaxState(zeros - np.inf, zeros, jnp.tile(zeros, features))


def update_softmax(
    state: SoftmaxState,
    query: Float[Array, "*batch T heads D"],
    key: Float[Array, "*batch S heads D"],
    value: Float[Array, "*batch S heads E"],
    mask: Bool[Array, "*batch S"],
    scale: float,
) -> SoftmaxState:
    """Updates the state with a chunk of keys and values ``[*batch, S, N, D]``, valid where ``mask [*batch, S]``."""
    chex.assert_equal_shape_prefix([key, value], mask.ndim + 1)
    chex.assert_equal_shape_prefix([key, mask], mask.ndim)
    scores = scale * jnp.einsum("...tnd,...snd->...nts", query, key, preferred_element_type=state.maximum.dtype)
    scores = jnp.where(mask[..., None, None, :], scores, -jnp.inf)
    maximum = jnp.maximum(state.maximum, jnp.max(scores, axis=-1, keepdims=True, initial=-jnp.inf))
    shift = jnp.where(jnp.isneginf(maximum), 0, maximum)
    weights, rescale = jnp.exp(scores - shift), jnp.exp(state.maximum - shift)
    chunk_sum = jnp.einsum("...nts,...sne->...nte", weights, value.astype(weights.dtype))
    normalizer = rescale * state.normalizer + jnp.sum(weights, axis=-1, keepdims=True)
    return SoftmaxState(maximum, normalizer, rescale * state.weighted_sum + chunk_sum)


def softmax_result(state: SoftmaxState) -> Float[Array, "*batch T heads E"]:
    """Returns the attention outputs ``[*batch, T, N, E]``, zeros if no key was valid."""
    chex.assert_equal_shape([state.maximum, state.normalizer])
    outputs = state.weighted_sum / jnp.where(state.normalizer > 0, state.normalizer, 1)
    return jnp.swapaxes(outputs, -3, -2)


def apply_in_chunks(
    model: Any, variables: Any, chunks: Callable[[], Iterable[tuple[jax.Array, Validity]]]
) -> Float[Array, "..."]:
    """Applies a set model chunk by chunk, with the result of ``model.apply`` on the whole set. It has no gradient.

    Args:
        model: ``DeepSets`` (with any pooling but the median), ``HistNetQ``, or ``SetTransformer`` with inducing points
            and without set norm, which needs one pass over the set per block.
        variables: Variables of the model.
        chunks: A function that returns a new iterable of ``(xs [*batch, n, D], mask or None)`` for each pass over the
            set. Chunks of equal shape are compiled once.

    Returns:
        The output of the model.

    Raises:
        ValueError: The model needs the whole set at once, or there is no chunk.
    """
    if not hasattr(model, "num_passes"):
        raise ValueError(f"`model` must be a DeepSets, HistNetQ or SetTransformer, got {type(model).__name__}")
    if not callable(chunks):
        raise ValueError(
            f"`chunks` must be a function that returns an iterable, as `lambda: chunks`, got {type(chunks).__name__}"
        )
    update = jax.jit(lambda *arguments: model.apply(variables, *arguments, method="update"))
    summaries: tuple = ()
    for index in range(model.num_passes()):
        carry = None
        for xs, valid in chunks():
            carry = update(carry, xs, valid, summaries)
        if carry is None:
            raise ValueError(
                f"`chunks` must return at least one chunk, got none in pass {index + 1} of {model.num_passes()}: "
                "the function must return a new iterable in each call"
            )
        summaries = (*summaries, model.apply(variables, carry, summaries, method="finalize"))
    return model.apply(variables, summaries, method="decode")
