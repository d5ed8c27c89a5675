"""Vectors of words from their characters, by a recurrent or a convolutional network."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.conv import Conv
from jaxnets.modules.dropout import Dropout
from jaxnets.modules.embed import Embed
from jaxnets.ops.array_types import Array, ArrayLike, Float, Integer
from jaxnets.ops.checks import check_choice, check_integer, check_probability, describe_value
from jaxnets.ops.masks import valid_steps
from jaxnets.ops.pooling import max_pool
from jaxnets.recurrent.cell import Cell
from jaxnets.recurrent.cells.lstm import lstm
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.layers.pooling import pool_directions
from jaxnets.recurrent.layers.rnn import BidirectionalRNN

# The limits of the uniform distribution are +-sqrt(3 / D), as in both papers.
uniform_embeddings = nn.initializers.variance_scaling(1.0, "fan_in", "uniform", out_axis=0)


class CharacterEncoder(nn.Module):
    r"""A vector for each word from the embeddings e of its characters, id 0 being padding at the end of a word.

    - ``"rnn"``: the last outputs of both directions of a bidirectional recurrent layer, ``2 features`` (Lample et al.
      2016, arXiv:1603.01360).
    - ``"cnn"``: :math:`\max_i \tanh(W [e_{i-1}, e_i, e_{i+1}] + b)`, ``features``, with zeros around the word (Ma and
      Hovy 2016, arXiv:1603.01354).

    Parameters: ``embed``, and ``rnn`` or ``conv``.

    Attributes:
        num_characters: Number of ids of characters, padding included: rows of the table.
        kind: ``"rnn"`` or ``"cnn"``.
        embed_dim: Features of a character.
        features: Hidden units of each direction, or maps of the convolution.
        cell: A function from ``features`` to the cell of ``"rnn"``.
        kernel_size: Width of the convolution of ``"cnn"``.
        dropout: Dropout rate of the embeddings.
        dtype: Compute dtype.
        method: The algorithm of the recurrences, as in ``recurrent.scan``.
    """

    num_characters: int
    kind: str = "rnn"
    embed_dim: int = 25
    features: int = 25
    cell: Callable[[int], Cell] = lstm
    kernel_size: int = 3
    dropout: float = 0.0
    dtype: Dtype = jnp.float32
    method: str | Method = "auto"

    @nn.compact
    def __call__(self, characters: Integer[ArrayLike, "*batch W"], *, train: bool = False) -> Float[Array, "*batch F"]:
        """Computes the vectors of a batch of words.

        Args:
            characters: Integers ``[*batch, W]``: the ids of the characters of each word, then zeros.
            train: Whether to apply dropout, which requires ``rngs={"dropout": key}``.

        Returns:
            ``[*batch, features]``, or ``[*batch, 2 features]`` for ``"rnn"``; zeros for a word without characters.

        Raises:
            ValueError: An attribute or a character is invalid.
        """
        self._check(characters)
        ids: Any = jnp.asarray(characters)
        lengths = jnp.sum(ids != 0, axis=-1, dtype=jnp.int32)
        embed = Embed(self.num_characters, self.embed_dim, self.dtype, embedding_init=uniform_embeddings, name="embed")
        xs = embed(characters, argument="characters")
        xs = Dropout(self.dropout, deterministic=not train)(xs)
        valid = valid_steps(lengths, ids.shape[-1])
        if self.kind == "rnn":
            layer = BidirectionalRNN(self.cell(self.features), dtype=self.dtype, method=self.method, name="rnn")
            return pool_directions(layer(xs, lengths=lengths)[1], lengths)
        xs = jnp.where(valid[..., None], xs, 0)
        maps = nn.tanh(Conv(self.features, (self.kernel_size,), dtype=self.dtype, name="conv")(xs))
        return max_pool(maps, valid)

    def _check(self, characters: Any) -> None:
        check_choice("kind", self.kind, ("rnn", "cnn"))
        for name in ("num_characters", "embed_dim", "features", "kernel_size"):
            check_integer(name, getattr(self, name))
        check_probability("dropout", self.dropout)
        if jnp.ndim(characters) < 1:
            raise ValueError(f"`characters` must have the shape [*batch, W], got {describe_value(characters)}")
