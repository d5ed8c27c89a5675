"""Sampling from any step function ``step(carry, token) -> (carry, logits)``."""

from collections.abc import Iterator, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.decoding.checks import Step, check_end, check_prompt, check_step, check_truncation
from jaxnets.ops.checks import check_integer

# What is drawn from logits that are NaN, such as those of a model within ``jax.jit`` for a token that it does not have.
NOT_A_TOKEN = -1


def truncate(logits: jax.Array, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> jax.Array:
    r"""Logits of the distribution to sample from: :math:`\mathrm{logits} / \mathrm{temperature}`, its tail cut off.

    Args:
        logits: ``[..., V]``.
        temperature: Above 0; below 1 sharpens. 0 leaves the most likely token only.
        top_k: Keep the k most likely tokens (Fan et al. 2018); 0 keeps all.
        top_p: Keep the smallest set of tokens whose probability reaches p (nucleus; Holtzman et al. 2020).

    Returns:
        ``[..., V]``, minus infinity where cut off; the most likely token always stays.

    Raises:
        ValueError: A setting is out of range, or there is no token.
    """
    check_truncation(temperature, top_k, top_p)
    logits = jnp.asarray(logits).astype(jnp.float32)
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise ValueError(f"`logits` must be [..., V] of at least one token, got shape {logits.shape}")
    if temperature == 0:
        best = jnp.argmax(logits, axis=-1, keepdims=True)
        tokens = jnp.arange(logits.shape[-1], dtype=best.dtype).reshape((1,) * (logits.ndim - 1) + (-1,))
        return jnp.where(tokens == best, logits, -jnp.inf)
    # From the largest down, so that no temperature, however small, makes it overflow.
    logits = (logits - jnp.max(logits, axis=-1, keepdims=True)) / max(temperature, 1e-30)
    if 0 < top_k < logits.shape[-1]:
        smallest = jax.lax.top_k(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits < smallest, -jnp.inf, logits)
    if top_p < 1:
        descending = -jnp.sort(-logits, axis=-1)
        probability = jax.nn.softmax(descending, axis=-1)
        before = jnp.cumsum(probability, axis=-1) - probability
        smallest = jnp.min(jnp.where(before < top_p, descending, jnp.inf), axis=-1, keepdims=True)
        # The most likely token stays, whatever top_p is.
        logits = jnp.where(logits < jnp.minimum(smallest, descending[..., :1]), -jnp.inf, logits)
    return logits


def stream(
    step: Step,
    carry: Any,
    prompt: Sequence[int] | np.ndarray,
    key: jax.Array,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Iterator[int]:
    """Endlessly samples the tokens that follow a prompt, one at a time.

    Args:
        step: ``(carry, token []) -> (carry, logits [V])``, pure.
        carry: Before the prompt.
        prompt: Token numbers ``[T]``, at least one.
        key: Token t is drawn with ``fold_in(key, t)``.
        temperature, top_k, top_p: As in ``truncate``.

    Yields:
        Token numbers.

    Raises:
        ValueError: The prompt is empty or has a number that is not a token, a setting is out of range, the step cannot
            be used, or its logits are NaN.
    """
    check_truncation(temperature, top_k, top_p)
    tokens = check_prompt(prompt)
    check_step(step, carry, tokens[0], loop=False)
    return _stream(step, carry, tokens, key, temperature, top_k, top_p)


def _stream(step, carry, prompt, key, temperature, top_k, top_p) -> Iterator[int]:
    @jax.jit
    def advance(carry, token, t):
        carry, logits = step(carry, token)
        return carry, _drawn(logits, key, t, temperature, top_k, top_p)

    for given in prompt:
        carry, token = advance(carry, jnp.asarray(given, jnp.int32), 0)
    t = 0
    while True:
        _check_drawn(token)
        yield int(token)
        t += 1
        carry, token = advance(carry, token, t)


def _check_drawn(token: jax.Array) -> None:
    if int(token) == NOT_A_TOKEN:
        raise ValueError(
            "`prompt` must be tokens of the model, and its parameters must be finite, got logits that are NaN"
        )


def _drawn(logits: jax.Array, key: Any, t: Any, temperature: float, top_k: int, top_p: float) -> jax.Array:
    """Token t, int32; without a random number where there is nothing to choose."""
    chex.assert_rank(logits, 1)
    if temperature == 0:
        drawn = jnp.argmax(logits, axis=-1)
    else:
        kept = truncate(logits, temperature, top_k, top_p)
        drawn = jax.random.categorical(jax.random.fold_in(key, t), kept)
    return jnp.where(jnp.isnan(logits).any(axis=-1), NOT_A_TOKEN, drawn).astype(jnp.int32)


def sample(
    step: Step,
    carry: Any,
    start: int | jax.Array,
    key: jax.Array,
    *,
    length: int,
    end: int | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> jax.Array:
    """The tokens that follow one, drawn one after the other; pure: it can be jitted and mapped over a batch.

    Args:
        step: As in ``stream``.
        carry: Before ``start``, of the structure that ``step`` returns.
        start: A token, such as a start symbol.
        key: Token t is drawn with ``fold_in(key, t)``.
        length: T, how many.
        end: The end symbol: after it there is nothing but it; None: there is none.
        temperature, top_k, top_p: As in ``truncate``; temperature 0 is greedy.

    Returns:
        int32 ``[T]``; T may be 0. It is -1 from the first token on whose logits are NaN.

    Raises:
        ValueError: An argument is out of range, ``start`` or ``end`` is not a token, or the step cannot be used.
    """
    check_integer("length", length, least=0)
    check_truncation(temperature, top_k, top_p)
    start, size = check_step(step, carry, start)
    check_end(end, size)

    def advance(state, t):
        carry, token = state
        carry, logits = step(carry, token)
        drawn = _drawn(logits, key, t, temperature, top_k, top_p)
        if end is not None:
            drawn = jnp.where((t > 0) & (token == end), jnp.int32(end), drawn)
        return (carry, drawn), drawn

    return jax.lax.scan(advance, (carry, start), jnp.arange(length, dtype=jnp.int32))[1]


def greedy(step: Step, carry: Any, start: int | jax.Array, *, length: int, end: int | None = None) -> jax.Array:
    """The most likely token after each, as ``sample`` at temperature 0."""
    return sample(step, carry, start, jax.random.key(0), length=length, end=end, temperature=0.0)


def tree(
    step: Step, carry: Any, prompt: Sequence[int] | np.ndarray, branches: int = 5, depth: int = 2
) -> list[tuple[int, float, list]]:
    """The most likely continuations of a prompt, and of each of them, with their probabilities.

    Args:
        step: As in ``stream``.
        carry: Before the prompt.
        prompt: Token numbers ``[T]``, at least one.
        branches: Continuations of each node.
        depth: Levels.

    Returns:
        ``(token, probability given what is before it, its continuations)``, most likely first.

    Raises:
        ValueError: The prompt is empty or has a number that is not a token, ``branches`` or ``depth`` is below 1, or
            the step cannot be used.
    """
    check_integer("branches", branches)
    check_integer("depth", depth)
    tokens = check_prompt(prompt)
    check_step(step, carry, tokens[0], loop=False)
    step = jax.jit(step)
    for token in tokens:
        carry, logits = step(carry, jnp.asarray(token, jnp.int32))
    _check_drawn(_drawn(logits, None, 0, 0.0, 0, 1.0))

    def grow(carry: Any, logits: jax.Array, depth: int) -> list[tuple[int, float, list]]:
        probabilities, best = jax.lax.top_k(jax.nn.softmax(logits.astype(jnp.float32)), min(branches, logits.size))
        nodes: list[tuple[int, float, list]] = []
        for probability, token in zip(probabilities.tolist(), best.tolist(), strict=True):
            below = []
            if depth > 1:
                after, following = step(carry, jnp.asarray(token, jnp.int32))
                below = grow(after, following, depth - 1)
            nodes.append((token, probability, below))
        return nodes

    return grow(carry, logits, depth)
