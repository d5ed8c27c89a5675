"""Linen's embedding with token ids that are checked."""

from typing import Any

import jax
from flax import linen as nn

from jaxnets.ops.embedding import embed


class Embed(nn.Embed):
    """``flax.linen.Embed``, of which an id out of range is an error, and gives NaN within ``jax.jit``.

    It is a module of its own, as training on several devices divides by rows what a module gives.
    """

    def __call__(self, inputs: jax.Array, *, argument: str = "tokens", valid: jax.Array | None = None) -> jax.Array:
        """Rows ``[..., features]`` of the integers ``inputs [...]``.

        Args:
            inputs: Integers in 0 ... num_embeddings - 1.
            argument: Name of ``inputs``, for messages.
            valid: bool, of a shape that broadcasts to that of ``inputs``: False at padding, where a number out of range
                is read as 0; None: no padding.

        Raises:
            ValueError: An id whose value is known is out of range.
        """
        table: Any
        (table,) = self.promote_dtype(self.embedding, dtype=self.dtype, inexact=False)
        return embed(table, inputs, name=argument, valid=valid)
