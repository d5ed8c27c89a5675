"""Checks of what decoding is called with: its step function, start, prompt and settings."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.checks import check_number
from jaxnets.ops.embedding import check_ids

Step = Callable[[Any, jax.Array], tuple[Any, jax.Array]]
NUMBERS = 2**31  # of int32 that are not negative


def check_truncation(temperature: float, top_k: int, top_p: float) -> None:
    """Raises a ValueError unless these are settings of ``truncate``; what is traced is not looked at."""
    for name, value in (("temperature", temperature), ("top_k", top_k), ("top_p", top_p)):
        if not isinstance(value, jax.core.Tracer):
            check_number(name, value)


def check_prompt(prompt: Any) -> np.ndarray:
    """The prompt's tokens ``[T]``, T at least 1; else a ``ValueError``."""
    tokens = np.asarray(prompt) if not isinstance(prompt, str) else np.empty(0)
    if tokens.ndim != 1 or len(tokens) < 1 or not np.issubdtype(tokens.dtype, np.integer):
        given = (
            f"{tokens.dtype} of shape {tokens.shape}"
            if tokens.size
            else repr(prompt)
            if isinstance(prompt, str)
            else "none"
        )
        raise ValueError(f"`prompt` must be token numbers, integers of shape [T] with at least one, got {given}")
    if tokens.min() < 0:
        raise ValueError(f"`prompt` must be token numbers, at least 0, got {tokens.min()} at {tokens.argmin()}")
    return tokens


def check_step(step: Step, carry: Any, start: int | jax.Array, loop: bool = True) -> tuple[jax.Array, int]:
    """The start token as int32, and the number of tokens V that a step has logits for.

    Args:
        step, carry, start: What decoding begins with.
        loop: Whether the carry must be like the one that the step returns, as in a compiled loop.

    Raises:
        ValueError: The step is not a function, its logits are not ``[V]``, its carry is not like the one that it is
            given, or ``start`` is not one of its tokens.
    """
    if not callable(step):
        raise ValueError(f"`step` must be a function (carry, token) -> (carry, logits), got {step!r}")
    if (
        isinstance(start, (bool, str))
        or np.shape(start) != ()
        or not jnp.issubdtype(jnp.result_type(start), jnp.integer)
    ):
        given = f"{start.dtype} of shape {start.shape}" if isinstance(start, jax.Array) else repr(start)
        raise ValueError(f"`start` must be one token, an integer, got {given}; map over a batch with jax.vmap")
    result = jax.eval_shape(step, carry, jax.ShapeDtypeStruct((), jnp.int32))
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError(f"`step` must return (carry, logits), got {jax.tree.map(lambda a: a.shape, result)}")
    after, logits = result
    if loop:
        _check_carry(carry, after)
    if not isinstance(logits, jax.ShapeDtypeStruct) or logits.ndim != 1 or logits.shape[0] < 1:
        given = getattr(logits, "shape", type(logits).__name__)
        raise ValueError(f"`step` must return logits [V] of at least one token, got shape {given}")
    _check_start(step, carry, start, logits.shape[0])
    return jnp.asarray(start, jnp.int32), logits.shape[0]


def _check_start(step: Step, carry: Any, start: Any, size: int) -> None:
    start = start if isinstance(start, jax.Array) else np.asarray(start)
    if isinstance(start, jax.core.Tracer) or not size <= start < NUMBERS:
        return check_ids("start", start, size)
    # A model may read symbols that it does not write: only the step itself can tell.
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(carry)):
        _, logits = step(carry, jnp.asarray(start, jnp.int32))
        if not isinstance(logits, jax.core.Tracer) and np.isnan(logits).any():
            check_ids("start", start, size)


def check_end(end: int | None, size: int) -> None:
    """A ``ValueError`` where an end symbol is not one of the tokens 0 ... size - 1 that are written."""
    if end is not None:
        check_ids("end", end if isinstance(end, jax.Array) else np.asarray(end), size)


def _check_carry(carry: Any, after: Any) -> None:
    if jax.tree.structure(after) != jax.tree.structure(carry):  # type: ignore[operator]
        given = "None" if carry is None else f"{jax.tree.structure(carry)}"
        raise ValueError(
            f"`carry` must be like the one that the step returns, {jax.tree.structure(after)}, got {given}"
        )
    for old, new in zip(jax.tree.leaves(carry), jax.tree.leaves(after), strict=True):
        if (jnp.shape(old), jnp.result_type(old)) != (new.shape, new.dtype):
            raise ValueError(
                f"`carry` must be like the one that the step returns, {new.dtype} of shape {new.shape}, "
                f"got {jnp.result_type(old)} of shape {jnp.shape(old)}"
            )
