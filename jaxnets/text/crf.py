r"""Linear-chain conditional random fields (Lafferty, McCallum and Pereira 2001): likelihood, best tags and marginals.

The tags y of the valid steps 1, ..., n of a sequence have the score

.. math::
    s(x, y) = \mathrm{start}_{y_1} + \sum_t E_{t, y_t} + \sum_{t > 1} T_{y_{t-1}, y_t} + \mathrm{end}_{y_n},
    \quad \log p(y \mid x) = s(x, y) - \log Z(x)

Arguments of all functions:

- ``emissions`` E, ``[B, T, K]``: the score of each tag at each step.
- ``transitions`` T, ``[K, K]``: the score of each transition, from the tag of the row to the tag of the column.
- ``start`` and ``end``, ``[K]``: the scores of the first and of the last tag; None: zeros.
- ``mask``, bool ``[B, T]``: True at valid steps; None: all. It may have holes. A step that is not valid is skipped: the
  transition is from the last valid step. Its emissions and its tag have no effect, even if they are NaN or -100. A row
  without a valid step has the score and the log-likelihood 0.

Constraints are scores of minus infinity, as ``constrained`` returns them. Tags that violate a constraint have the score
and the log-likelihood minus infinity, and the gradient of this log-likelihood is zero. If all sequences of a row
violate one, its log Z and its best score are minus infinity and its marginals are zeros. No gradient is NaN.

Results are float32, or float64 if a score is.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxnets.ops.array_types import Array, Bool, Float, Int, Integer
from jaxnets.ops.checks import check_floating, describe_value
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.embedding import check_ids, in_range
from jaxnets.ops.meshes import call_auto_sharded, spec_of
from jaxnets.text.crf_sums import Scores, expected_counts, first_valid, log_partition


def constrained(
    transitions: Float[Array, "K K"],
    start: Float[Array, " K"] | None = None,
    end: Float[Array, " K"] | None = None,
    allowed_transitions: Bool[Array, "K K"] | None = None,
    allowed_start: Bool[Array, " K"] | None = None,
    allowed_end: Bool[Array, " K"] | None = None,
) -> tuple[Float[Array, "K K"], Float[Array, " K"], Float[Array, " K"]]:
    """Replaces the scores of transitions, first and last tags that are not allowed by minus infinity.

    Args:
        transitions: ``[K, K]``.
        start: ``[K]``; None: zeros.
        end: ``[K]``; None: zeros.
        allowed_transitions: bool ``[K, K]``; None: all are allowed.
        allowed_start: bool ``[K]``, the tags that may be the first; None: all.
        allowed_end: bool ``[K]``, the tags that may be the last; None: all.

    Returns:
        ``transitions``, ``start`` and ``end``, for the other functions. A replaced score has a gradient of zero.

    Raises:
        ValueError: A shape or a dtype is wrong.
    """
    transitions, start, end = _shared_scores(transitions, start, end)

    def replaced(scores: jax.Array, name: str, allowed: Any) -> jax.Array:
        return scores if allowed is None else jnp.where(_checked_bools(name, allowed, scores.shape), scores, -jnp.inf)

    transitions = replaced(transitions, "allowed_transitions", allowed_transitions)
    return transitions, replaced(start, "allowed_start", allowed_start), replaced(end, "allowed_end", allowed_end)


def crf_score(
    emissions: Float[Array, "B T K"],
    tags: Integer[Array, "B T"],
    transitions: Float[Array, "K K"],
    start: Float[Array, " K"] | None = None,
    end: Float[Array, " K"] | None = None,
    mask: Bool[Array, "B T"] | None = None,
) -> Float[Array, " B"]:
    """Computes the score s(x, y) of given tags.

    Args:
        emissions, transitions, start, end, mask: As in the text above.
        tags: Integers ``[B, T]`` in 0 ... K - 1; any value at steps that are not valid.

    Returns:
        ``[B]``. Within ``jax.jit``, a tag out of range yields NaN.

    Raises:
        ValueError: A shape or a dtype is wrong, or a concrete tag is out of range.
    """
    scores, valid = _checked(emissions, transitions, start, end, mask)
    return _by_rows(_score, scores, _checked_tags(tags, scores, valid), valid)


def crf_log_partition(
    emissions: Float[Array, "B T K"],
    transitions: Float[Array, "K K"],
    start: Float[Array, " K"] | None = None,
    end: Float[Array, " K"] | None = None,
    mask: Bool[Array, "B T"] | None = None,
) -> Float[Array, " B"]:
    r"""Computes :math:`\log Z = \log \sum_y \exp s(x, y)`, ``[B]``, by the forward algorithm.

    Args:
        emissions, transitions, start, end, mask: As in the text above.

    Raises:
        ValueError: A shape or a dtype is wrong.
    """
    return _by_rows(log_partition, *_checked(emissions, transitions, start, end, mask))


def crf_log_likelihood(
    emissions: Float[Array, "B T K"],
    tags: Integer[Array, "B T"],
    transitions: Float[Array, "K K"],
    start: Float[Array, " K"] | None = None,
    end: Float[Array, " K"] | None = None,
    mask: Bool[Array, "B T"] | None = None,
) -> Float[Array, " B"]:
    r"""Computes :math:`\log p(y \mid x) = s(x, y) - \log Z`, which is at most 0; the loss is its negative.

    Args:
        emissions, transitions, start, end, mask: As in the text above.
        tags: Integers ``[B, T]`` in 0 ... K - 1; any value at steps that are not valid.

    Returns:
        ``[B]``. Within ``jax.jit``, a tag out of range yields NaN.

    Raises:
        ValueError: A shape or a dtype is wrong, or a concrete tag is out of range.
    """
    scores, valid = _checked(emissions, transitions, start, end, mask)
    score = _by_rows(_score, scores, _checked_tags(tags, scores, valid), valid)
    possible = score != -jnp.inf
    difference = jnp.where(possible, score, 0) - jnp.where(possible, _by_rows(log_partition, scores, valid), 0)
    difference -= jax.lax.stop_gradient(jnp.maximum(difference, 0))  # of rounding
    return jnp.where(possible, difference, -jnp.inf)


def crf_viterbi(
    emissions: Float[Array, "B T K"],
    transitions: Float[Array, "K K"],
    start: Float[Array, " K"] | None = None,
    end: Float[Array, " K"] | None = None,
    mask: Bool[Array, "B T"] | None = None,
) -> tuple[Int[Array, "B T"], Float[Array, " B"]]:
    """Computes the tags with the highest score by the Viterbi algorithm.

    Args:
        emissions, transitions, start, end, mask: As in the text above.

    Returns:
        The tags, int32 ``[B, T]``, 0 at steps that are not valid; and their score ``[B]``, whose gradient is that of
        ``crf_score`` for these tags.

    Raises:
        ValueError: A shape or a dtype is wrong.
    """
    scores, valid = _checked(emissions, transitions, start, end, mask)
    tags = _by_rows(_best_tags, jax.lax.stop_gradient(scores), valid)
    return tags, _by_rows(_score, scores, tags, valid)


def crf_marginals(
    emissions: Float[Array, "B T K"],
    transitions: Float[Array, "K K"],
    start: Float[Array, " K"] | None = None,
    end: Float[Array, " K"] | None = None,
    mask: Bool[Array, "B T"] | None = None,
) -> Float[Array, "B T K"]:
    r"""Computes :math:`p(y_t = k \mid x)`, ``[B, T, K]``, the gradient of log Z in the emissions.

    Args:
        emissions, transitions, start, end, mask: As in the text above.

    Returns:
        Probabilities that sum to 1 over the tags of each valid step; zeros at the other steps.

    Raises:
        ValueError: A shape or a dtype is wrong.
    """
    marginals = lambda scores, mask: expected_counts(scores, mask)[1].emissions
    return _by_rows(marginals, *_checked(emissions, transitions, start, end, mask))


def _by_rows(f: Callable, scores: Scores, *arrays: jax.Array) -> jax.Array:
    """Calls ``f(scores, *arrays)``; on an explicit mesh, the result is sharded over rows as the emissions are."""
    return call_auto_sharded(f, PartitionSpec(spec_of(scores.emissions)[0]), scores, *arrays)


def _score(scores: Scores, tags: jax.Array, mask: jax.Array) -> jax.Array:
    num_tags = scores.start.shape[0]
    out_of_range = jnp.any(mask & ~in_range(tags, num_tags), axis=1)
    tags = jnp.where(mask & in_range(tags, num_tags), tags, 0).astype(jnp.int32)
    # Comparisons are faster than gather and scatter, and ignore emissions of minus infinity of other tags.
    is_tag = tags[..., None] == jax.lax.broadcasted_iota(jnp.int32, scores.emissions.shape, 2)
    emissions = jnp.sum(jnp.where(is_tag & mask[..., None], scores.emissions, 0), axis=(1, 2))
    first = first_valid(mask)
    before = jnp.take_along_axis(tags, jnp.maximum(_previous_valid(mask), 0), axis=1)
    moves = scores.transitions.reshape(-1)[before * num_tags + tags]
    total = emissions + jnp.sum(jnp.where(mask & ~first, moves, 0), axis=1)
    if mask.shape[1]:
        some = jnp.any(mask, axis=1)
        first_tag = jnp.take_along_axis(tags, jnp.argmax(mask, axis=1)[:, None], axis=1)[:, 0]
        last = mask.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
        last_tag = jnp.take_along_axis(tags, last[:, None], axis=1)[:, 0]
        total += jnp.where(some, scores.start[first_tag] + scores.end[last_tag], 0)
    return jnp.where(out_of_range, jnp.nan, total)


def _previous_valid(mask: jax.Array) -> jax.Array:
    """Returns the index of the last valid step before each step, -1 if there is none."""
    steps = jnp.where(mask, jax.lax.broadcasted_iota(jnp.int32, mask.shape, 1), -1)
    latest = jax.lax.cummax(steps, axis=1)
    return jnp.concatenate([jnp.full_like(latest[:, :1], -1), latest[:, :-1]], axis=1)


@jax.jit
def _best_tags(scores: Scores, mask: jax.Array) -> jax.Array:
    first = first_valid(mask)
    rows, num_tags = mask.shape[0], scores.start.shape[0]

    def forward(best, inputs):
        emission, valid, is_first = inputs
        following = jnp.max(best[:, :, None] + scores.transitions[None], axis=1)
        following = emission + jnp.where(is_first[:, None], scores.start[None], following)
        return jnp.where(valid[:, None], following, best), best

    inputs = (jnp.swapaxes(scores.emissions, 0, 1), mask.T, first.T)
    best, history = jax.lax.scan(forward, jnp.zeros((rows, num_tags), scores.start.dtype), inputs)
    into = scores.transitions.T

    # The maxima are enough: the argument of the maximum is needed for one tag per row.
    def backward(tag, inputs):
        best, is_follower = inputs
        before = jnp.argmax(best + into[tag], axis=-1).astype(jnp.int32)
        return jnp.where(is_follower, before, tag), tag

    last = jnp.argmax(best + scores.end[None], axis=-1).astype(jnp.int32)
    _, tags = jax.lax.scan(backward, last, (history, (mask & ~first).T), reverse=True)
    return jnp.where(mask, tags.T, 0)


# ---- checks of arguments


def _checked(emissions: Any, transitions: Any, start: Any, end: Any, mask: Any) -> tuple[Scores, jax.Array]:
    """Checks the arguments; returns the scores, with zeros as emissions of steps that are not valid, and the mask."""
    check_floating("emissions", emissions, "[B, T, K]", 3)
    emissions = jnp.asarray(emissions)
    if emissions.ndim != 3 or not emissions.shape[2]:
        raise ValueError(f"`emissions` must have the shape [B, T, K], K at least 1, got {emissions.shape}")
    rows, length, num_tags = emissions.shape
    shared = _shared_scores(transitions, start, end)
    if shared[0].shape[0] != num_tags:
        raise ValueError(f"`transitions` must have the shape {(num_tags, num_tags)}, got {shared[0].shape}")
    if mask is None:
        valid = jnp.ones((rows, length), bool)
    else:
        valid = _checked_bools("mask", mask, (rows, length))
        # Selected before the cast: under jax_debug_nans, a cast of NaN in the padding is an error.
        emissions = jnp.where(valid[..., None], emissions, 0)
    dtype = at_least_float32(emissions.dtype, *(a.dtype for a in shared))
    return Scores(emissions.astype(dtype), *(a.astype(dtype) for a in shared)), valid


def _shared_scores(transitions: Any, start: Any, end: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    check_floating("transitions", transitions, "[K, K]", 2)
    transitions = jnp.asarray(transitions)
    size = transitions.shape[-1]
    if transitions.shape != (size, size):
        raise ValueError(f"`transitions` must have the shape [K, K], got {transitions.shape}")
    vectors = []
    for name, scores in (("start", start), ("end", end)):
        if scores is None:
            scores = jnp.zeros(size, transitions.dtype)
        check_floating(name, scores, "[K]", 1)
        if scores.shape != (size,):
            raise ValueError(f"`{name}` must have the shape {(size,)}, got {scores.shape}")
        vectors.append(jnp.asarray(scores))
    return transitions, vectors[0], vectors[1]


def _checked_tags(tags: Any, scores: Scores, mask: jax.Array) -> jax.Array:
    if jnp.shape(tags) != mask.shape:
        raise ValueError(f"`tags` must be integers of shape {mask.shape}, got {describe_value(tags)}")
    check_ids("tags", tags, scores.start.shape[0], mask)
    return jnp.asarray(tags)


def _checked_bools(name: str, values: Any, shape: tuple[int, ...]) -> jax.Array:
    array = jnp.asarray(values)
    if array.dtype != bool or array.shape != shape:
        raise ValueError(f"`{name}` must be bool of shape {shape}, got {describe_value(array)}")
    return array
