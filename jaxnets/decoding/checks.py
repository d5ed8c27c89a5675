"""Argument checks of decoding: step functions, start and end tokens, prompts and sampling settings."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.checks import check_number, describe_value
from jaxnets.ops.embedding import check_ids

Step = Callable[[Any, jax.Array], tuple[Any, jax.Array]]
INT32_LIMIT = 2**31


def check_truncation(temperature: float, top_k: int, top_p: float) -> None:
    """Raises a ValueError if a setting of ``truncate`` is out of range. Traced values are not checked."""
    for name, value in (("temperature", temperature), ("top_k", top_k), ("top_p", top_p)):
        if not isinstance(value, jax.core.Tracer):
            check_number(name, value)


def check_prompt(prompt: Any) -> np.ndarray:
    """Returns the token ids ``[T]`` of a prompt; raises a ValueError if they are not ids or the prompt is empty."""
    tokens = np.asarray(prompt) if not isinstance(prompt, str) else np.empty(0)
    if tokens.ndim != 1 or len(tokens) < 1 or not np.issubdtype(tokens.dtype, np.integer):
        given = describe_value(tokens if tokens.size else prompt if isinstance(prompt, str) else [])
        raise ValueError(f"`prompt` must be token ids, integers of shape [T] with T at least 1, got {given}")
    if tokens.min() < 0:
        raise ValueError(f"`prompt` must be token ids of at least 0, got {tokens.min()} at position {tokens.argmin()}")
    return tokens


def check_step(step: Step, carry: Any, start_token: Any, loop: bool = True) -> tuple[jax.Array, int]:
    """Checks a step function together with its initial carry and token.

    Args:
        step: A function ``(carry, token []) -> (carry, logits [V])``.
        carry: The initial carry.
        start_token: The first token.
        loop: Whether the carry must have the structure, shapes and dtypes of the returned carry, for a compiled loop.

    Returns:
        The start token as int32, and the vocabulary size V.

    Raises:
        ValueError: ``step`` is not a function, the logits are not ``[V]``, the carry does not match, or ``start_token``
            is not a token.
    """
    if not callable(step):
        raise ValueError(f"`step` must be a function (carry, token) -> (carry, logits), got {step!r}")
    if (
        isinstance(start_token, (bool, str))
        or np.shape(start_token) != ()
        or not jnp.issubdtype(jnp.result_type(start_token), jnp.integer)
    ):
        given = describe_value(start_token) if isinstance(start_token, jax.Array) else repr(start_token)
        raise ValueError(f"`start_token` must be one integer, got {given}; use jax.vmap for a batch")
    result = jax.eval_shape(step, carry, jax.ShapeDtypeStruct((), jnp.int32))
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError(f"`step` must return (carry, logits), got {jax.tree.map(lambda a: a.shape, result)}")
    new_carry, logits = result
    if loop:
        _check_carry(carry, new_carry)
    if not isinstance(logits, jax.ShapeDtypeStruct) or logits.ndim != 1 or logits.shape[0] < 1:
        given = getattr(logits, "shape", type(logits).__name__)
        raise ValueError(f"`step` must return logits [V] with V at least 1, got shape {given}")
    _check_start_token(step, carry, start_token, logits.shape[0])
    return jnp.asarray(start_token, jnp.int32), logits.shape[0]


def _check_start_token(step: Step, carry: Any, start_token: Any, vocab_size: int) -> None:
    start_token = start_token if isinstance(start_token, jax.Array) else np.asarray(start_token)
    if isinstance(start_token, jax.core.Tracer) or not vocab_size <= start_token < INT32_LIMIT:
        return check_ids("start_token", start_token, vocab_size)
    # A model may accept tokens that it never outputs, such as a start token, so a step is needed to find out.
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(carry)):
        _, logits = step(carry, jnp.asarray(start_token, jnp.int32))
        if not isinstance(logits, jax.core.Tracer) and np.isnan(logits).any():
            check_ids("start_token", start_token, vocab_size)


def check_end_token(end_token: int | None, vocab_size: int) -> None:
    """Raises a ValueError unless ``end_token`` is None or in 0 ... vocab_size - 1."""
    if end_token is not None:
        check_ids("end_token", end_token if isinstance(end_token, jax.Array) else np.asarray(end_token), vocab_size)


def _check_carry(carry: Any, new_carry: Any) -> None:
    if jax.tree.structure(new_carry) != jax.tree.structure(carry):  # type: ignore[operator]
        given = "None" if carry is None else f"{jax.tree.structure(carry)}"
        raise ValueError(
            f"`carry` must have the structure that `step` returns, {jax.tree.structure(new_carry)}, got {given}"
        )
    for old, new in zip(jax.tree.leaves(carry), jax.tree.leaves(new_carry), strict=True):
        if (jnp.shape(old), jnp.result_type(old)) != (new.shape, new.dtype):
            raise ValueError(
                f"`carry` must have the arrays that `step` returns, {new.dtype} of shape {new.shape}, "
                f"got {jnp.result_type(old)} of shape {jnp.shape(old)}"
            )
