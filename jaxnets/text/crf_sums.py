r"""Sums over all tag sequences of a conditional random field: log Z and its derivatives, the expected counts.

The forward algorithm,

.. math:: \alpha_t[j] = E_t[j] + \log \sum_i \exp(\alpha_{t-1}[i] + T[i, j]),

takes B K^2 exponentials per step. Here the carry is exp(alpha) divided by its maximum, so that a step is a product with
exp(T), whose columns are divided by their maxima, and all exponentials are computed before the loop. The product is
exact to rounding unless a sum underflows: unless all sequences that reach a tag are e^-71 times less likely than the
most likely one so far (e^-672 in float64). If a sum of the batch underflows, the equation above is evaluated instead.

The derivatives are computed by a loop over the steps in reverse and one product over all steps. Automatic
differentiation of the forward loop gives the same numbers in two to ten times the time (benchmarks).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Scores(NamedTuple):
    """The scores of a batch of sequences, of one dtype.

    Attributes:
        emissions: ``[B, T, K]``; not NaN in steps that are not valid.
        transitions: ``[K, K]``.
        start: ``[K]``.
        end: ``[K]``.
    """

    emissions: jax.Array
    transitions: jax.Array
    start: jax.Array
    end: jax.Array


class _Forward(NamedTuple):
    log_z: jax.Array  # [B]
    exact: jax.Array  # []: whether no sum underflowed
    previous: jax.Array  # [T, B, K]: the carry before each step
    sums: jax.Array  # [T, B, K]: sum_i previous[i] factors[i, j]
    last: jax.Array  # [B, K]: probabilities of the last tag
    factors: jax.Array  # [K, K]: exp(transitions), divided by the maxima of the columns


def first_valid(mask: jax.Array) -> jax.Array:
    """Returns a mask of the first valid step of each row of a mask ``[B, T]``."""
    return mask & (jnp.cumsum(mask, axis=1) == 1)


@jax.custom_jvp
@jax.jit
def log_partition(scores: Scores, mask: jax.Array) -> jax.Array:
    """Computes log Z ``[B]``, 0 for a row without a valid step; ``mask`` is bool ``[B, T]``."""
    found = _forward(scores, mask)
    return jax.lax.cond(found.exact, lambda: found.log_z, lambda: _log_space(_per_row(scores), mask))


@log_partition.defjvp
def _log_partition_jvp(primals, tangents):
    scores, mask = primals
    log_z, counts = expected_counts(scores, mask)
    change = tangents[0]
    terms = [
        jnp.einsum("btk,btk->b", counts.emissions, change.emissions),
        jnp.einsum("bij,ij->b", counts.transitions, change.transitions),
        counts.start @ change.start,
        counts.end @ change.end,
    ]
    return log_z, sum(terms[1:], start=terms[0])


@jax.jit
def expected_counts(scores: Scores, mask: jax.Array) -> tuple[jax.Array, Scores]:
    """Computes log Z ``[B]`` and its derivatives.

    Returns:
        log Z, and the derivatives of that of each row: the probabilities of the tags of each step ``[B, T, K]``, the
        expected number of each transition ``[B, K, K]``, and the probabilities of the first and the last tag
        ``[B, K]``. They are zeros if no sequence is possible.
    """
    found = _forward(scores, mask)
    return jax.lax.cond(
        found.exact, lambda: (found.log_z, _backward(found, mask)), lambda: log_space_counts(scores, mask)
    )


def _forward(scores: Scores, mask: jax.Array) -> _Forward:
    dtype = scores.emissions.dtype
    smallest = jnp.finfo(dtype).tiny / jnp.finfo(dtype).eps  # of a sum whose terms may have underflowed
    first = first_valid(mask)
    highest = jnp.max(scores.transitions, axis=0)
    factors = jnp.exp(scores.transitions - _finite(highest)[None])
    log_weights = scores.emissions + jnp.where(first[..., None], scores.start[None, None], highest[None, None])
    shift = _finite(jnp.max(log_weights, axis=-1))
    weights = jnp.swapaxes(jnp.exp(log_weights - shift[..., None]), 0, 1)

    def step(carry, inputs):
        weight, valid, is_first = inputs
        sums = jnp.where(is_first[:, None], 1, carry @ factors)
        unscaled = sums * weight
        scale = jnp.max(unscaled, axis=-1)
        scaled = unscaled / _positive(scale)[:, None]
        return jnp.where(valid[:, None], scaled, carry), (carry, sums, scale)

    nothing = jnp.zeros((mask.shape[0], factors.shape[0]), dtype)
    carry, (previous, sums, scales) = jax.lax.scan(step, nothing, (weights, mask.T, first.T))
    shift_of_end = _finite(jnp.max(scores.end))
    unscaled = carry * jnp.exp(scores.end - shift_of_end)[None]
    total = jnp.sum(unscaled, axis=-1)
    some = jnp.any(mask, axis=1)
    log_scales = jnp.where(mask, shift + jnp.log(_positive(scales)).T, 0)
    log_z = jnp.where(some, jnp.sum(log_scales, axis=1) + jnp.log(_positive(total)) + shift_of_end, 0)
    is_sum = (mask & ~first).T[..., None] & (highest > -jnp.inf)[None, None]
    enough = jnp.all((sums >= smallest) | ~is_sum) & jnp.all((scales >= smallest) | ~mask.T)
    exact = enough & jnp.all((total >= smallest) | ~some)
    return _Forward(log_z, exact, previous, sums, unscaled / _positive(total)[:, None], factors)


def _backward(found: _Forward, mask: jax.Array) -> Scores:
    first = first_valid(mask)
    follows = mask & ~first

    def step(probabilities, inputs):
        sums, carry, is_follower = inputs
        ratios = probabilities / _positive(sums)
        before = carry * (ratios @ found.factors.T)
        return jnp.where(is_follower[:, None], before, probabilities), probabilities

    _, steps = jax.lax.scan(step, found.last, (found.sums, found.previous, follows.T), reverse=True)
    ratios = jnp.where(follows.T[..., None], steps / _positive(found.sums), 0)
    transitions = found.factors[None] * jnp.einsum("tbi,tbj->bij", found.previous, ratios)
    emissions = jnp.where(mask[..., None], jnp.swapaxes(steps, 0, 1), 0)
    start = jnp.sum(jnp.where(first[..., None], emissions, 0), axis=1)
    return Scores(emissions, transitions, start, found.last)


def _per_row(scores: Scores) -> Scores:
    """Repeats the scores that all rows share."""
    rows = scores.emissions.shape[0]
    return Scores(scores.emissions, *(jnp.broadcast_to(a[None], (rows, *a.shape)) for a in scores[1:]))


def _log_space(scores: Scores, mask: jax.Array) -> jax.Array:
    """Computes log Z ``[B]`` by the forward algorithm in log space, with scores per row."""

    @jax.checkpoint  # saves alpha, not B K^2 terms per step
    def step(alpha, inputs):
        emission, valid, is_first = inputs
        following = _logsumexp(alpha[:, :, None] + scores.transitions)
        following = emission + jnp.where(is_first[:, None], scores.start, following)
        return jnp.where(valid[:, None], following, alpha), None

    inputs = (jnp.swapaxes(scores.emissions, 0, 1), mask.T, first_valid(mask).T)
    alpha, _ = jax.lax.scan(step, jnp.zeros_like(scores.start), inputs)
    return jnp.where(jnp.any(mask, axis=1), _logsumexp((alpha + scores.end)[:, :, None])[:, 0], 0)


def log_space_counts(scores: Scores, mask: jax.Array) -> tuple[jax.Array, Scores]:
    """Computes ``expected_counts`` by differentiation of the forward algorithm in log space."""
    log_z, pullback = jax.vjp(lambda scores: _log_space(scores, mask), _per_row(scores))
    return log_z, pullback(jnp.ones_like(log_z))[0]


def _logsumexp(terms: jax.Array) -> jax.Array:
    """Sums over the second axis; minus infinity, with gradients of zero, if all terms are minus infinity."""
    highest = jax.lax.stop_gradient(jnp.max(terms, axis=1))
    possible = highest != -jnp.inf
    shift = jnp.where(possible, highest, 0)
    total = jnp.sum(jnp.exp(terms - shift[:, None]), axis=1)
    return jnp.where(possible, jnp.log(jnp.where(possible, total, 1)) + shift, -jnp.inf)


def _finite(highest: jax.Array) -> jax.Array:
    """A maximum to subtract: 0 if all scores are minus infinity. The results do not depend on it."""
    return jax.lax.stop_gradient(jnp.where(highest == -jnp.inf, 0, highest))


def _positive(sums: jax.Array) -> jax.Array:
    """A divisor: 1 instead of the sum of an impossible or skipped step."""
    return jnp.where(sums > 0, sums, 1)
