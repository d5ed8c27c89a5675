"""Argument checks of transformers."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.ops.checks import check_integer, check_probability, describe_value


def check_sizes(model: Any) -> None:
    """Raises a ``ValueError`` if an attribute of a model is out of range."""
    for name in ("vocab_size", "embed_dim", "max_seq_len"):
        check_integer(name, getattr(model, name))
    check_probability("dropout", model.dropout)


def check_tokens(name: str, tokens: jax.Array) -> None:
    """Raises a ``ValueError`` unless tokens are integers ``[*batch, T]``."""
    if not hasattr(tokens, "dtype") or not jnp.issubdtype(tokens.dtype, jnp.integer) or tokens.ndim < 1:
        given = describe_value(tokens) if hasattr(tokens, "dtype") else type(tokens).__name__
        raise ValueError(f"`{name}` must be an array of integers [*batch, T], got {given}")
