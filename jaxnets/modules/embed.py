"""Token embedding with a check of the range of ids."""

from typing import Any

from flax import linen as nn

from jaxnets.ops.array_types import Array, ArrayLike, Bool, Float, Integer
from jaxnets.ops.embedding import embed


class Embed(nn.Embed):
    """``flax.linen.Embed`` that raises an error for ids out of range, or returns NaN within ``jax.jit``.

    It is a separate module because sharded training shards the outputs of modules by rows.
    """

    def __call__(
        self,
        inputs: Integer[ArrayLike, "*shape"],
        *,
        argument: str = "tokens",
        valid: Bool[ArrayLike, "..."] | None = None,
    ) -> Float[Array, "*shape D"]:
        """Returns the embeddings ``[..., features]`` of ids ``[...]``.

        Args:
            inputs: Integers in 0 ... num_embeddings - 1.
            argument: Name of ``inputs`` for messages.
            valid: bool, broadcastable to the shape of ``inputs``, False at padding, where an id out of range is
                replaced by 0; None: no padding.

        Raises:
            ValueError: A concrete id is out of range.
        """
        table: Any
        (table,) = self.promote_dtype(self.embedding, dtype=self.dtype, inexact=False)
        return embed(table, inputs, name=argument, valid=valid)
