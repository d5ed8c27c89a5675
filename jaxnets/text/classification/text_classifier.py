"""The common interface of models of text classification, as a Linen module."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.linear import default_embed_init
from flax.typing import Dtype, Initializer

from jaxnets.attention.checks import check_tokens
from jaxnets.modules.dropout import Dropout
from jaxnets.modules.embed import Embed
from jaxnets.ops.array_types import Array, ArrayLike, Float, Integer
from jaxnets.ops.checks import check_integer, check_probability, checked_integers
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import valid_steps


class TextClassifier(nn.Module):
    """A model that maps the tokens of a text to logits of classes.

    The tokens are embedded, then ``classify`` is applied. A subclass defines
    ``classify(xs [*batch, T, D], tokens, lengths, train) -> [*batch, C]``, where ``xs`` are the embeddings, zeros in
    padded steps, and may define submodules in it.

    Parameters: ``embed/embedding [V, D]``. A pretrained table is the result of ``embedding_init``; the setting
    ``frozen`` of an optimizer keeps it fixed.

    Attributes:
        vocab_size: V, the number of token ids.
        num_classes: C.
        embed_dim: D.
        dropout: Dropout probability, before the last layer and where the subclass states it.
        embedding_init: Initializer of the table of embeddings, ``(key, shape, dtype) -> [V, D]``.
        dtype: Compute type; parameters, the last layer and logits are float32 at least.
    """

    vocab_size: int
    num_classes: int
    embed_dim: int = 128
    dropout: float = 0.0
    embedding_init: Initializer = default_embed_init
    dtype: Dtype = jnp.float32
    classify: ClassVar[Callable[..., jax.Array]]

    @nn.compact
    def __call__(
        self,
        tokens: Integer[Array, "*batch T"],
        *,
        lengths: Integer[ArrayLike, "*batch"] | Sequence[int] | None = None,
        train: bool = False,
    ) -> Float[Array, "*batch classes"]:
        """Computes the logits of a batch of texts.

        Args:
            tokens: Integers ``[*batch, T]`` in 0 ... V - 1. The padding may have any value.
            lengths: Integers ``[*batch]`` from 0 to T, the number of tokens of each text; None means T.
            train: Whether to apply dropout, which needs ``rngs={"dropout": key}``.

        Returns:
            ``[*batch, C]``, float32 at least.

        Raises:
            ValueError: An attribute, ``tokens`` or ``lengths`` is invalid.
        """
        for name in ("vocab_size", "num_classes", "embed_dim"):
            check_integer(name, getattr(self, name))
        check_probability("dropout", self.dropout)
        check_tokens("tokens", tokens)
        *batch, size = tokens.shape
        limit = jnp.full(batch, size, jnp.int32)
        if lengths is not None:
            limit = checked_integers("lengths", lengths, tuple(batch), size)
        valid = valid_steps(limit, size)
        embed = Embed(self.vocab_size, self.embed_dim, self.dtype, embedding_init=self.embedding_init, name="embed")
        xs = embed(tokens, valid=valid)
        return self.classify(jnp.where(valid[..., None], xs, 0), tokens, limit, train)

    def head(self, features: Float[Array, "*batch F"], train: bool, **options) -> Float[Array, "*batch classes"]:
        """Applies dropout and the last layer, whose parameters have the name ``head``."""
        dropped = Dropout(self.dropout, deterministic=not train)(features)
        return nn.Dense(self.num_classes, dtype=at_least_float32(features.dtype), name="head", **options)(dropped)
