"""Beam search with any step function ``step(carry, token) -> (carry, logits)``."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxnets.decoding.checks import Step, check_end_token, check_step
from jaxnets.ops.array_types import Array, ArrayLike, Float, Int, Integer
from jaxnets.ops.checks import check_integer


class Hypotheses(NamedTuple):
    """Sequences found by beam search, best first.

    Attributes:
        tokens: int32 ``[K, T]``; all positions from the end token on hold the end token.
        lengths: int32 ``[K]``, without the end token.
        scores: ``[K]``, log-probability of the sequence, end token included, divided by the length penalty; minus
            infinity if fewer than K sequences exist.
    """

    tokens: Int[Array, "K T"]
    lengths: Int[Array, " K"]
    scores: Float[Array, " K"]


def length_penalty(length: Integer[ArrayLike, "..."], alpha: float) -> Float[Array, "..."]:
    r"""Computes the length penalty :math:`((5 + n) / 6)^\alpha` (Wu et al. 2016, arXiv:1609.08144)."""
    return ((5 + jnp.asarray(length, jnp.float32)) / 6) ** alpha


def beam_search(
    step: Step,
    carry: Any,
    start_token: Integer[ArrayLike, ""],
    *,
    end_token: int,
    num_beams: int,
    max_length: int,
    alpha: float = 0.6,
) -> Hypotheses:
    r"""Searches for the most likely sequences, keeping the best K prefixes of each length.

    .. math:: \mathrm{score}(w_1 \ldots w_n) = \frac{\log p(w_1 \ldots w_n)}{((5 + n) / 6)^\alpha}

    The function is pure. It can be jitted, and mapped over a batch with ``jax.vmap``.

    Args:
        step: A pure function ``(carry, token []) -> (carry, logits [V])``.
        carry: Carry before the start token, with the structure that ``step`` returns.
        start_token: Id of the first token passed to ``step``. It is not part of the sequences.
        end_token: Id of the token that ends a sequence.
        num_beams: K.
        max_length: T, the maximum number of tokens. Longer sequences are truncated, and scored without an end token.
        alpha: Exponent of the length penalty. 0 prefers short sequences, 1 hardly does.

    Returns:
        The best K sequences.

    Raises:
        ValueError: ``num_beams`` or ``max_length`` is below 1, a token is out of range, or ``step`` has wrong outputs.
            Within ``jax.jit``, a start token out of range yields scores of NaN instead.
    """
    check_integer("num_beams", num_beams)
    check_integer("max_length", max_length)
    if end_token is None:
        raise ValueError("`end_token` must be a token id, got None")
    start_token, vocab_size = check_step(step, carry, start_token)
    check_end_token(end_token, vocab_size)
    changing, step_changing = _split_constant(step, carry, start_token)

    def advance(state, t):
        alive, finished = state
        carry, last, tokens, scores = alive
        carry, logits = jax.vmap(step_changing)(carry, last)
        candidates = scores[:, None] + jax.nn.log_softmax(logits.astype(jnp.float32))
        vocab_size = candidates.shape[-1]
        # At most K of the best 2 K candidates end, so at least K continue.
        best, index = jax.lax.top_k(candidates.reshape(-1), min(2 * num_beams, candidates.size))
        parent, token = index // vocab_size, (index % vocab_size).astype(jnp.int32)
        extended = tokens[parent].at[:, t].set(token)
        has_ended = token == end_token

        penalized = jnp.where(has_ended, best / length_penalty(t + 1, alpha), -jnp.inf)
        finished = _best(num_beams, finished, Hypotheses(extended, jnp.full_like(token, t), penalized))

        best, chosen = jax.lax.top_k(jnp.where(has_ended, -jnp.inf, best), num_beams)
        carry = jax.tree.map(lambda leaf: leaf[parent[chosen]], carry)
        return ((carry, token[chosen], extended[chosen], best), finished), None

    repeat = lambda leaf: jnp.broadcast_to(leaf, (num_beams, *jnp.shape(leaf)))
    empty = jnp.full((num_beams, max_length), end_token, jnp.int32)
    impossible = jnp.full(num_beams, -jnp.inf, jnp.float32)
    # All beams are equal at the start, so only the first one may be extended.
    alive = (jax.tree.map(repeat, changing), repeat(start_token), empty, impossible.at[0].set(0.0))
    finished = Hypotheses(empty, jnp.zeros(num_beams, jnp.int32), impossible)
    (alive, finished), _ = jax.lax.scan(advance, (alive, finished), jnp.arange(max_length, dtype=jnp.int32))
    _, _, tokens, scores = alive
    lengths = jnp.full(num_beams, max_length, jnp.int32)
    return _best(num_beams, finished, Hypotheses(tokens, lengths, scores / length_penalty(max_length, alpha)))


def _split_constant(step: Step, carry: Any, start_token: int | jax.Array) -> tuple[list[jax.Array], Step]:
    """Returns the leaves of the carry that ``step`` changes, and ``step`` as a function of these leaves.

    Leaves that ``step`` returns unchanged, such as the keys of an encoded source, are then shared by all beams.
    """
    leaves, tree = jax.tree.flatten(carry)
    jaxpr = jax.make_jaxpr(step)(carry, jnp.asarray(start_token, jnp.int32)).jaxpr
    is_constant = [new is old for new, old in zip(jaxpr.outvars, jaxpr.invars[: len(leaves)], strict=False)]
    select_changing = lambda leaves: [leaf for leaf, constant in zip(leaves, is_constant, strict=True) if not constant]

    def step_changing(changing, token):
        remaining = iter(changing)
        merged = [leaf if constant else next(remaining) for leaf, constant in zip(leaves, is_constant, strict=True)]
        carry, logits = step(jax.tree.unflatten(tree, merged), token)
        return select_changing(jax.tree.leaves(carry)), logits

    return select_changing(leaves), step_changing


def _best(count: int, left: Hypotheses, right: Hypotheses) -> Hypotheses:
    """Selects the ``count`` hypotheses with the highest scores."""
    for hypotheses in (left, right):
        chex.assert_rank(list(hypotheses), [2, 1, 1])
        chex.assert_equal_shape_prefix(list(hypotheses), 1)
    tokens, lengths, scores = (jnp.concatenate(pair) for pair in zip(left, right, strict=True))
    scores, index = jax.lax.top_k(scores, count)
    return Hypotheses(tokens[index], lengths[index], scores)
