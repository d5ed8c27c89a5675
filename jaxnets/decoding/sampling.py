"""Sampling from any step function ``step(carry, token) -> (carry, logits)``."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.embedding import check_ids

Step = Callable[[Any, jax.Array], tuple[Any, jax.Array]]


def truncate(logits: jax.Array, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> jax.Array:
    r"""Logits of the distribution to sample from: :math:`\mathrm{logits} / \mathrm{temperature}`, its tail cut off.

    Args:
        logits: ``[..., V]``.
        temperature: Above 0; below 1 sharpens. 0 leaves the most likely token only.
        top_k: Keep the k most likely tokens (Fan et al. 2018); 0 keeps all.
        top_p: Keep the smallest set of tokens whose probability reaches p (nucleus; Holtzman et al. 2020).

    Returns:
        ``[..., V]``, minus infinity where cut off; the most likely token always stays.
    """
    logits = logits.astype(jnp.float32)
    if temperature == 0:
        best = jnp.argmax(logits, axis=-1, keepdims=True)
        return jnp.where(jnp.arange(logits.shape[-1]) == best, logits, -jnp.inf)
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
        ValueError: The prompt is empty or has a number that is no token, or the logits of a step are NaN.
    """

    @jax.jit
    def advance(carry, token, t):
        carry, logits = step(carry, token)
        return carry, _drawn(logits, key, t, temperature, top_k, top_p)

    for given in check_prompt(prompt):
        carry, token = advance(carry, jnp.asarray(given, jnp.int32), 0)
    t = 0
    while True:
        _check_drawn(token)
        yield int(token)
        t += 1
        carry, token = advance(carry, token, t)


def check_prompt(prompt: Sequence[int] | np.ndarray) -> np.ndarray:
    """A prompt as an array; a ``ValueError`` where it is empty or has a number that is no token."""
    tokens = np.asarray(prompt)
    if tokens.ndim != 1 or not len(tokens) or not np.issubdtype(tokens.dtype, np.integer):
        given = f"{tokens.dtype} of shape {tokens.shape}" if tokens.size else "none"
        raise ValueError(f"`prompt` must be token numbers [T], at least one, got {given}")
    if tokens.min() < 0:
        raise ValueError(f"`prompt` must be token numbers, at least 0, got {tokens.min()} at {tokens.argmin()}")
    return tokens


def _check_drawn(token: jax.Array) -> None:
    if int(token) == NOT_A_TOKEN:
        raise ValueError(
            "`prompt` must be tokens of the model, and its parameters must be finite, got logits that are NaN"
        )


# What is drawn from logits that are NaN, such as those of a model within ``jax.jit`` for a token that it does not have.
NOT_A_TOKEN = -1
NUMBERS = 2**31  # of int32 that are not negative


def _drawn(logits: jax.Array, key: Any, t: Any, temperature: float, top_k: int, top_p: float) -> jax.Array:
    """Token t, int32; without a random number where there is nothing to choose."""
    if temperature == 0:
        drawn = jnp.argmax(logits, axis=-1)
    else:
        kept = truncate(logits, temperature, top_k, top_p)
        drawn = jax.random.categorical(jax.random.fold_in(key, t), kept)
    return jnp.where(jnp.isnan(logits).any(axis=-1), NOT_A_TOKEN, drawn).astype(jnp.int32)


def check_carry(step: Step, carry: Any, start: Any) -> int:
    """How many tokens a step has logits for.

    Raises:
        ValueError: It does not return a carry of the structure that it is given, or ``start`` is none of its tokens.
    """
    after, logits = jax.eval_shape(step, carry, jax.ShapeDtypeStruct((), jnp.int32))
    if jax.tree.structure(after) != jax.tree.structure(carry):  # type: ignore[operator]
        given = "None" if carry is None else f"{jax.tree.structure(carry)}"
        raise ValueError(
            f"carry: one like that which the step returns expected, {jax.tree.structure(after)}; given {given}"
        )
    size = logits.shape[-1]
    start = start if isinstance(start, jax.Array) else np.asarray(start)
    known = not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((carry, start)))
    # A model may read symbols that it does not write: only the step itself can tell.
    if isinstance(start, jax.core.Tracer) or not size <= start < NUMBERS:
        check_ids("start", start, size)
    elif known:
        _, logits = step(carry, jnp.asarray(start, jnp.int32))
        if not isinstance(logits, jax.core.Tracer) and np.isnan(logits).any():
            check_ids("start", start, size)
    return size


def check_end(end: int | None, size: int) -> None:
    """A ``ValueError`` where an end symbol is none of the tokens 0 ... size - 1 that are written."""
    if end is not None:
        check_ids("end", end if isinstance(end, jax.Array) else np.asarray(end), size)


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
        int32 ``[T]``; -1 from the first token on whose logits are NaN.

    Raises:
        ValueError: ``start`` or ``end`` is no token, or ``step`` returns a carry of another structure.
    """

    check_end(end, check_carry(step, carry, start))

    def advance(state, t):
        carry, token = state
        carry, logits = step(carry, token)
        drawn = _drawn(logits, key, t, temperature, top_k, top_p)
        if end is not None:
            drawn = jnp.where((t > 0) & (token == end), end, drawn)
        return (carry, drawn), drawn

    return jax.lax.scan(advance, (carry, jnp.asarray(start, jnp.int32)), jnp.arange(length))[1]


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
        ValueError: The prompt is empty or has a number that is no token.
    """
    step = jax.jit(step)
    for token in check_prompt(prompt):
        carry, logits = step(carry, jnp.asarray(token, jnp.int32))
    _check_drawn(_drawn(logits, None, 0, 0.0, 0, 1.0))

    def grow(carry: Any, logits: jax.Array, depth: int) -> list[tuple[int, float, list]]:
        probabilities, tokens = jax.lax.top_k(jax.nn.softmax(logits.astype(jnp.float32)), min(branches, logits.size))
        nodes: list[tuple[int, float, list]] = []
        for probability, token in zip(probabilities.tolist(), tokens.tolist(), strict=True):
            below = []
            if depth > 1:
                after, following = step(carry, jnp.asarray(token, jnp.int32))
                below = grow(after, following, depth - 1)
            nodes.append((token, probability, below))
        return nodes

    return grow(carry, logits, depth)
