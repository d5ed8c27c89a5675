"""Autoregressive generation: the interface between models and decoding, token by token."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn


class Stepwise(NamedTuple):
    """Pure functions that generate one sequence token by token. Their arrays have no batch axis.

    A model with a method ``stepwise() -> Stepwise`` defines its own.

    Attributes:
        begin: ``(variables, *source) -> carry``, the carry before the first token. A language model has no source; an
            encoder-decoder model has ``source [S]`` and ``length []``.
        step: ``(variables, carry, token []) -> (carry, logits [V])``.
        prepare: ``variables -> variables``, called once before many calls of the other functions.
        carry_axes: ``carry -> tree``, a prefix of the carry with the batch axis of stacked carries for ``jax.vmap``: 0
            for most leaves, None for leaves that all sequences share.
    """

    begin: Callable[..., Any]
    step: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]
    prepare: Callable[[Any], Any] = lambda variables: variables
    carry_axes: Callable[[Any], Any] = lambda carry: 0


def of_language_model(model: nn.Module) -> Stepwise:
    """Makes the functions of a model ``(tokens [1, T], carry) -> (carry, logits [1, T, V])``."""

    def step(variables: Any, carry: Any, token: jax.Array) -> tuple[Any, jax.Array]:
        result: Any = model.apply(variables, token[None, None], carry)
        return result[0], result[1][0, -1]

    def begin(variables: Any) -> Any:
        result: Any = model.apply(variables, jnp.zeros((1, 0), jnp.int32))
        return result[0]

    return Stepwise(begin, step)


def of_encoder_decoder(model: Any) -> Stepwise:
    """Makes the functions of a model with methods ``encode``, ``start`` and ``decode``."""

    def begin(variables: Any, source: jax.Array, length: jax.Array) -> Any:
        return model.start(model.apply(variables, source[None], length[None], method="encode"))

    def step(variables: Any, carry: Any, token: jax.Array) -> tuple[Any, jax.Array]:
        result: Any = model.apply(variables, carry, token[None, None], method="decode")
        return result[0], result[1][0, -1]

    return Stepwise(begin, step)
