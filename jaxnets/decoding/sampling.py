"""Sampling with any step function ``step(carry, token) -> (carry, logits)``."""

from collections.abc import Iterator, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.decoding.checks import Step, check_end_token, check_prompt, check_step, check_truncation
from jaxnets.ops.array_types import Array, ArrayLike, Float, Int, Integer, Key
from jaxnets.ops.checks import check_integer

# The result of sampling from logits that are NaN, such as those of a token out of range within ``jax.jit``.
NOT_A_TOKEN = -1


def truncate(
    logits: Float[ArrayLike, "*batch V"], temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Float[Array, "*batch V"]:
    r"""Scales logits to :math:`\mathrm{logits} / \mathrm{temperature}` and masks unlikely tokens.

    Args:
        logits: ``[..., V]``.
        temperature: At least 0. Values below 1 sharpen the distribution, 0 leaves only the most likely token.
        top_k: Keep the k most likely tokens (Fan et al. 2018); 0 keeps all.
        top_p: Keep the smallest set of tokens whose probability reaches p (nucleus sampling; Holtzman et al. 2020).

    Returns:
        ``[..., V]``, float32, minus infinity at masked tokens. The most likely token is never masked.

    Raises:
        ValueError: A setting is out of range, or V is 0.
    """
    check_truncation(temperature, top_k, top_p)
    logits = jnp.asarray(logits).astype(jnp.float32)
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise ValueError(f"`logits` must be [..., V] with V at least 1, got shape {logits.shape}")
    if temperature == 0:
        best = jnp.argmax(logits, axis=-1, keepdims=True)
        tokens = jnp.arange(logits.shape[-1], dtype=best.dtype).reshape((1,) * (logits.ndim - 1) + (-1,))
        return jnp.where(tokens == best, logits, -jnp.inf)
    # The maximum is subtracted first, so that a small temperature causes no overflow.
    logits = (logits - jnp.max(logits, axis=-1, keepdims=True)) / max(temperature, 1e-30)
    if 0 < top_k < logits.shape[-1]:
        threshold = jax.lax.top_k(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits < threshold, -jnp.inf, logits)
    if top_p < 1:
        descending = -jnp.sort(-logits, axis=-1)
        probability = jax.nn.softmax(descending, axis=-1)
        preceding = jnp.cumsum(probability, axis=-1) - probability
        threshold = jnp.min(jnp.where(preceding < top_p, descending, jnp.inf), axis=-1, keepdims=True)
        # The most likely token is kept even for top_p = 0.
        logits = jnp.where(logits < jnp.minimum(threshold, descending[..., :1]), -jnp.inf, logits)
    return logits


def stream(
    step: Step,
    carry: Any,
    prompt: Sequence[int] | Integer[np.ndarray, " T"],
    key: Key[Array, ""],
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Iterator[int]:
    """Samples the continuation of a prompt token by token, without end.

    Args:
        step: A pure function ``(carry, token []) -> (carry, logits [V])``.
        carry: Carry before the prompt.
        prompt: Token ids ``[T]``, T at least 1.
        key: Random key. Token t is sampled with ``fold_in(key, t)``.
        temperature, top_k, top_p: As in ``truncate``.

    Yields:
        Token ids.

    Raises:
        ValueError: The prompt is empty or contains an id out of range, a setting is out of range, ``step`` has wrong
            outputs, or the logits are NaN.
    """
    check_truncation(temperature, top_k, top_p)
    tokens = check_prompt(prompt)
    check_step(step, carry, tokens[0], loop=False)
    return _stream(step, carry, tokens, key, temperature, top_k, top_p)


def _stream(step, carry, prompt, key, temperature, top_k, top_p) -> Iterator[int]:
    @jax.jit
    def advance(carry, token, t):
        carry, logits = step(carry, token)
        return carry, _sample_token(logits, key, t, temperature, top_k, top_p)

    for prompt_token in prompt:
        carry, token = advance(carry, jnp.asarray(prompt_token, jnp.int32), 0)
    t = 0
    while True:
        _check_sampled(token)
        yield int(token)
        t += 1
        carry, token = advance(carry, token, t)


def _check_sampled(token: jax.Array) -> None:
    if int(token) == NOT_A_TOKEN:
        raise ValueError("`prompt` must be token ids of the model, whose parameters must be finite, got logits of NaN")


def _sample_token(logits: jax.Array, key: Any, t: Any, temperature: float, top_k: int, top_p: float) -> jax.Array:
    """Samples token t, int32; the key is not used at temperature 0."""
    chex.assert_rank(logits, 1)
    if temperature == 0:
        token = jnp.argmax(logits, axis=-1)
    else:
        truncated = truncate(logits, temperature, top_k, top_p)
        token = jax.random.categorical(jax.random.fold_in(key, t), truncated)
    return jnp.where(jnp.isnan(logits).any(axis=-1), NOT_A_TOKEN, token).astype(jnp.int32)


def sample(
    step: Step,
    carry: Any,
    start_token: Integer[ArrayLike, ""],
    key: Key[Array, ""],
    *,
    max_length: int,
    end_token: int | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Int[Array, " T"]:
    """Samples a sequence of tokens. The function is pure: it can be jitted, and mapped over a batch.

    Args:
        step: A pure function ``(carry, token []) -> (carry, logits [V])``.
        carry: Carry before ``start_token``, with the structure that ``step`` returns.
        start_token: Id of the first token passed to ``step``. It is not part of the result.
        key: Random key. Token t is sampled with ``fold_in(key, t)``.
        max_length: T, the number of tokens, at least 0.
        end_token: Id of the token that ends a sequence and fills the rest of it; None: no token does.
        temperature, top_k, top_p: As in ``truncate``; temperature 0 is greedy.

    Returns:
        int32 ``[T]``. If the logits of a token are NaN, this token and all later ones are -1.

    Raises:
        ValueError: A setting or a token is out of range, or ``step`` has wrong outputs.
    """
    check_integer("max_length", max_length, minimum=0)
    check_truncation(temperature, top_k, top_p)
    start_token, vocab_size = check_step(step, carry, start_token)
    check_end_token(end_token, vocab_size)

    def advance(state, t):
        carry, previous = state
        carry, logits = step(carry, previous)
        token = _sample_token(logits, key, t, temperature, top_k, top_p)
        if end_token is not None:
            token = jnp.where((t > 0) & (previous == end_token), jnp.int32(end_token), token)
        return (carry, token), token

    return jax.lax.scan(advance, (carry, start_token), jnp.arange(max_length, dtype=jnp.int32))[1]


def greedy(
    step: Step, carry: Any, start_token: Integer[ArrayLike, ""], *, max_length: int, end_token: int | None = None
) -> Int[Array, " T"]:
    """Generates the most likely token at each step: ``sample`` at temperature 0."""
    key = jax.random.key(0)  # not used
    return sample(step, carry, start_token, key, max_length=max_length, end_token=end_token, temperature=0.0)


def tree(
    step: Step, carry: Any, prompt: Sequence[int] | Integer[np.ndarray, " T"], num_branches: int = 5, depth: int = 2
) -> list[tuple[int, float, list]]:
    """Finds the most likely continuations of a prompt, as a tree with probabilities.

    Args:
        step: A pure function ``(carry, token []) -> (carry, logits [V])``.
        carry: Carry before the prompt.
        prompt: Token ids ``[T]``, T at least 1.
        num_branches: Number of continuations of each node.
        depth: Number of levels.

    Returns:
        A list of ``(token, probability given the preceding tokens, list of continuations)``, most likely first.

    Raises:
        ValueError: The prompt is empty or contains an id out of range, ``num_branches`` or ``depth`` is below 1, or
            ``step`` has wrong outputs.
    """
    check_integer("num_branches", num_branches)
    check_integer("depth", depth)
    tokens = check_prompt(prompt)
    check_step(step, carry, tokens[0], loop=False)
    step = jax.jit(step)
    for token in tokens:
        carry, logits = step(carry, jnp.asarray(token, jnp.int32))
    _check_sampled(_sample_token(logits, None, 0, 0.0, 0, 1.0))

    def expand(carry: Any, logits: jax.Array, depth: int) -> list[tuple[int, float, list]]:
        count = min(num_branches, logits.size)
        probabilities, best = jax.lax.top_k(jax.nn.softmax(logits.astype(jnp.float32)), count)
        nodes: list[tuple[int, float, list]] = []
        for probability, token in zip(probabilities.tolist(), best.tolist(), strict=True):
            children = []
            if depth > 1:
                child_carry, child_logits = step(carry, jnp.asarray(token, jnp.int32))
                children = expand(child_carry, child_logits, depth - 1)
            nodes.append((token, probability, children))
        return nodes

    return expand(carry, logits, depth)
