"""Beam search over any step function ``step(carry, token) -> (carry, logits)``."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxnets.decoding.checks import Step, check_end, check_step
from jaxnets.ops.checks import check_integer


class Hypotheses(NamedTuple):
    """Attributes:
    tokens: int32 ``[K, T]``, best first; the end symbol and what would come after it are ``end``.
    lengths: int32 ``[K]``, without the end symbol.
    scores: ``[K]``, logarithm of the probability, end symbol included, over the penalty of its length; minus infinity
        where there are fewer than K.
    """

    tokens: jax.Array
    lengths: jax.Array
    scores: jax.Array


def length_penalty(length: jax.Array | int, alpha: float) -> jax.Array:
    r""":math:`((5 + n) / 6)^\alpha` (Wu et al. 2016, arXiv:1609.08144)."""
    return ((5 + jnp.asarray(length, jnp.float32)) / 6) ** alpha


def beam_search(
    step: Step, carry: Any, start: int | jax.Array, *, end: int, num_beams: int, length: int, alpha: float = 0.6
) -> Hypotheses:
    r"""The most likely sequences that follow a start symbol, by keeping the best K beginnings of each length.

    .. math:: \mathrm{score}(w_1 \ldots w_n) = \frac{\log p(w_1 \ldots w_n)}{((5 + n) / 6)^\alpha}

    Pure: it can be jitted, and mapped over a batch with ``jax.vmap``.

    Args:
        step: ``(carry, token []) -> (carry, logits [V])``, pure.
        carry: Before the start symbol, of the structure that ``step`` returns.
        start: Its number.
        end: The number of the end symbol.
        num_beams: K.
        length: T, the most tokens of a sequence; one that has not ended by then counts as it is.
        alpha: 0 prefers short sequences, 1 nearly none.

    Raises:
        ValueError: ``num_beams`` or ``length`` is below 1, ``start`` or ``end`` is not a token, or the step cannot be
            used. (Within ``jax.jit``, a ``start`` that the model does not have gives scores of NaN.)
    """
    check_integer("num_beams", num_beams)
    check_integer("length", length)
    if end is None:
        raise ValueError("`end` must be a token number, got None")
    start, size = check_step(step, carry, start)
    check_end(end, size)
    changing, advanced = _changing(step, carry, start)

    def advance(state, t):
        alive, done = state
        carry, last, tokens, scores = alive
        carry, logits = jax.vmap(advanced)(carry, last)
        found = scores[:, None] + jax.nn.log_softmax(logits.astype(jnp.float32))
        size = found.shape[-1]
        # Of the best 2 K at most K end, so that K go on.
        best, at = jax.lax.top_k(found.reshape(-1), min(2 * num_beams, found.size))
        parent, token = at // size, (at % size).astype(jnp.int32)
        written = tokens[parent].at[:, t].set(token)
        ended = token == end

        penalized = jnp.where(ended, best / length_penalty(t + 1, alpha), -jnp.inf)
        done = _best(num_beams, done, Hypotheses(written, jnp.full_like(token, t), penalized))

        best, chosen = jax.lax.top_k(jnp.where(ended, -jnp.inf, best), num_beams)
        carry = jax.tree.map(lambda leaf: leaf[parent[chosen]], carry)
        return ((carry, token[chosen], written[chosen], best), done), None

    every = lambda leaf: jnp.broadcast_to(leaf, (num_beams, *jnp.shape(leaf)))
    nothing = jnp.full((num_beams, length), end, jnp.int32)
    impossible = jnp.full(num_beams, -jnp.inf, jnp.float32)
    alive = (jax.tree.map(every, changing), every(start), nothing, impossible.at[0].set(0.0))
    done = Hypotheses(nothing, jnp.zeros(num_beams, jnp.int32), impossible)
    (alive, done), _ = jax.lax.scan(advance, (alive, done), jnp.arange(length, dtype=jnp.int32))
    _, _, tokens, scores = alive
    whole = Hypotheses(tokens, jnp.full(num_beams, length, jnp.int32), scores / length_penalty(length, alpha))
    return _best(num_beams, done, whole)


def _changing(step: Step, carry: Any, start: int | jax.Array) -> tuple[list[jax.Array], Step]:
    """The leaves of a carry that a step changes, and the step for them.

    What it passes on as it is, such as the keys of an encoded source, is one for all beams then.
    """
    leaves, tree = jax.tree.flatten(carry)
    jaxpr = jax.make_jaxpr(step)(carry, jnp.asarray(start, jnp.int32)).jaxpr
    same = [new is old for new, old in zip(jaxpr.outvars, jaxpr.invars[: len(leaves)], strict=False)]
    chosen = lambda leaves: [leaf for leaf, alike in zip(leaves, same, strict=True) if not alike]

    def advanced(changing, token):
        given = iter(changing)
        whole = [leaf if alike else next(given) for leaf, alike in zip(leaves, same, strict=True)]
        after, logits = step(jax.tree.unflatten(tree, whole), token)
        return chosen(jax.tree.leaves(after)), logits

    return chosen(leaves), advanced


def _best(count: int, left: Hypotheses, right: Hypotheses) -> Hypotheses:
    """The best of two sets of hypotheses."""
    for one in (left, right):
        chex.assert_rank([one.tokens, one.lengths, one.scores], [2, 1, 1])
        chex.assert_equal_shape_prefix([one.tokens, one.lengths, one.scores], 1)
    tokens, lengths, scores = (jnp.concatenate(pair) for pair in zip(left, right, strict=True))
    scores, at = jax.lax.top_k(scores, count)
    return Hypotheses(tokens[at], lengths[at], scores)
