"""Recurrent encoder and decoder for translation, with or without attention."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.attention.alignment import (
    additive_init,
    additive_scores,
    attend,
    multiplicative_init,
    multiplicative_scores,
)
from jaxnets.attention.checks import check_tokens
from jaxnets.modules.embed import Embed
from jaxnets.modules.stepwise import Stepwise, of_encoder_decoder
from jaxnets.ops.array_types import Array, ArrayLike, Float, Integer
from jaxnets.ops.masks import valid_steps
from jaxnets.recurrent.cell import Carry, Cell
from jaxnets.recurrent.cells.gru import gru
from jaxnets.recurrent.checking import checked_lengths
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.layers.rnn import RNN, BidirectionalRNN, check_network
from jaxnets.recurrent.models.char_rnn import Logits

ATTENTION = ("none", "additive", "multiplicative")


class Encoded(NamedTuple):
    """The state of a decoder: an encoded source, and the carries after the tokens decoded so far.

    Attributes:
        outputs: Outputs of the encoder, both directions concatenated, ``[*batch, S, 2 H]``.
        lengths: Integers ``[*batch]``, the number of valid source tokens; None means S.
        carries: The carry of every decoder layer.
    """

    outputs: Float[Array, "*batch S E"]
    lengths: Integer[ArrayLike, "*batch"] | None
    carries: tuple[Carry, ...]


class EncoderDecoder(nn.Module):
    r"""A sequence-to-sequence model of a bidirectional encoder and a decoder.

    The decoder starts from the last carries of the encoder and predicts the next target token. With attention, the
    prediction depends on the decoder's output h and on a context c, a weighted mean of the encoder's outputs m:

    .. math::
        c_t = \sum_s a_{ts} m_s, \quad a_t = \mathrm{softmax}_s\, e(h_t, m_s), \quad
        \tilde h_t = \tanh([c_t; h_t]\, W_c + b), \quad p = \mathrm{softmax}(\tilde h_t E^\top + b)

    (Luong et al. 2015, arXiv:1508.04025). The scores e are Luong's bilinear form (``"multiplicative"``) or the network
    of Bahdanau et al. 2014, arXiv:1409.0473 (``"additive"``). Without attention, :math:`\tilde h_t = \tanh(h_t W_c +
    b)` (Sutskever et al. 2014, arXiv:1409.3215). Source, target and output share the embedding E.

    Attributes:
        vocab_size: Number of tokens of the joint vocabulary of source and target.
        cell: A function from ``hidden_size`` to a cell, such as ``recurrent.gru``.
        hidden_size: H, the number of hidden units of every layer and direction.
        num_layers: Number of layers of the encoder, and of the decoder.
        embed_dim: Number of features of E.
        attention: ``"none"``, ``"additive"`` or ``"multiplicative"``.
        dropout: Dropout rate of the embedded tokens, between layers, and before the output.
        dtype: Compute dtype. Parameters, carries and logits are float32.
        method: The algorithm of the recurrences, as in ``recurrent.scan``.
        train: Whether to apply dropout, which requires ``rngs={"dropout": key}``.
    """

    vocab_size: int
    cell: Callable[[int], Cell] = gru
    hidden_size: int = 256
    num_layers: int = 1
    embed_dim: int = 256
    attention: str = "multiplicative"
    dropout: float = 0.1
    dtype: Dtype = jnp.float32
    method: str | Method = "auto"
    train: bool = False

    def setup(self):
        check_network(
            self.cell,
            self.dropout,
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            embed_dim=self.embed_dim,
        )
        if self.attention not in ATTENTION:
            raise ValueError(f"`attention` must be one of {', '.join(ATTENTION)}, got {self.attention!r}")
        small = nn.initializers.normal(self.embed_dim**-0.5)
        self.embed = Embed(self.vocab_size, self.embed_dim, self.dtype, embedding_init=small)
        cell = self.cell(self.hidden_size)
        self.encoder = [BidirectionalRNN(cell, method=self.method) for _ in range(self.num_layers)]
        self.decoder = [RNN(cell, method=self.method) for _ in range(self.num_layers)]
        self.bridge = Bridge(self.num_layers)
        if self.attention != "none":
            self.attend = Alignment(self.attention, self.hidden_size, self.dtype)
        self.combine = nn.Dense(self.embed_dim, dtype=self.dtype)
        self.head = Logits(self.vocab_size)
        self.drop = nn.Dropout(self.dropout, deterministic=not self.train)

    def __call__(
        self,
        source: Integer[ArrayLike, "*batch S"],
        target: Integer[ArrayLike, "*batch T"],
        source_lengths: Integer[ArrayLike, "*batch"] | None = None,
        target_lengths: Integer[ArrayLike, "*batch"] | None = None,
    ) -> Float[Array, "*batch T V"]:
        """Computes the logits of the token after each target token.

        Args:
            source: Integers ``[*batch, S]``.
            target: Integers ``[*batch, T]``; the first token is a start token.
            source_lengths, target_lengths: Integers ``[*batch]``, the number of valid tokens; None means S and T.

        Returns:
            Logits ``[*batch, T, vocab_size]`` in float32.

        Raises:
            ValueError: An attribute or argument is invalid.
        """
        return self.decode(self.encode(source, source_lengths), target, target_lengths)[1]

    def encode(
        self, source: Integer[ArrayLike, "*batch S"], lengths: Integer[ArrayLike, "*batch"] | None = None
    ) -> Encoded:
        """Encodes a source, and returns the state of the decoder before the first target token.

        Args:
            source: Integers ``[*batch, S]``.
            lengths: Integers ``[*batch]``, the number of valid tokens; None means S.

        Returns:
            The state of the decoder.
        """
        xs = self._embedded(source, "source", lengths)
        lasts = []
        for i, layer in enumerate(self.encoder):
            last, xs = layer(self.drop(xs) if i else xs, lengths=lengths)
            lasts.append(last)
        return Encoded(xs, lengths, self.bridge(lasts))

    def start(self, encoded: Encoded) -> Encoded:
        """Returns the state from which token by token decoding starts: ``encoded`` itself."""
        return encoded

    @nn.nowrap
    def stepwise(self) -> Stepwise:
        """Returns the functions for decoding token by token."""
        return of_encoder_decoder(self)

    def decode(
        self,
        encoded: Encoded,
        target: Integer[ArrayLike, "*batch T"],
        lengths: Integer[ArrayLike, "*batch"] | None = None,
    ) -> tuple[Encoded, Float[Array, "*batch T V"]]:
        """Runs the decoder over target tokens.

        Args:
            encoded: The state of the decoder.
            target: Integers ``[*batch, T]``.
            lengths: Integers ``[*batch]``, the number of valid tokens; None means T.

        Returns:
            The state after the last token, and the logits ``[*batch, T, vocab_size]`` of the token after each token.
        """
        encoded, hs = self._states(encoded, target, lengths)
        if self.attention != "none":
            context, _ = self.attend(hs, encoded.outputs, encoded.lengths)
            hs = jnp.concatenate([context.astype(hs.dtype), hs], axis=-1)
        xs = self.drop(jnp.tanh(self.combine(hs)))
        return encoded, self.head(xs, self.embed.embedding.T)

    def alignment(self, encoded: Encoded, target: Integer[ArrayLike, "*batch T"]) -> Float[Array, "*batch T S"] | None:
        """Computes the attention weights of target tokens.

        Args:
            encoded: The state of the decoder.
            target: Integers ``[*batch, T]``.

        Returns:
            ``[*batch, T, S]``, or None without attention.
        """
        if self.attention == "none":
            return None
        encoded, hs = self._states(encoded, target, None)
        return self.attend(hs, encoded.outputs, encoded.lengths)[1]

    def _states(self, encoded, target, lengths):
        """Runs the recurrent layers of the decoder: the new state, and their outputs."""
        xs, carries = self._embedded(target, "target", lengths), []
        for i, layer in enumerate(self.decoder):
            last, xs = layer(self.drop(xs) if i else xs, encoded.carries[i], lengths=lengths)
            carries.append(last)
        return encoded._replace(carries=tuple(carries)), xs

    def _embedded(self, tokens: Any, name: str, lengths: Any) -> jax.Array:
        check_tokens(name, tokens)
        *batch, size = tokens.shape
        valid = None if lengths is None else valid_steps(checked_lengths(lengths, size, tuple(batch)), size)
        rows = self.embed(tokens, argument=name, valid=valid)
        return self.drop(rows)


class Alignment(nn.Module):
    """Attention of a decoder to the outputs of an encoder: ``attention.attend`` with the parameters of its scores.

    Attributes:
        kind: ``"additive"`` or ``"multiplicative"`` scores.
        hidden_size: Number of hidden units of additive scores.
        dtype: Compute dtype.
    """

    kind: str
    hidden_size: int
    dtype: Dtype

    @nn.compact
    def __call__(
        self,
        hs: Float[Array, "*batch T D"],
        memory: Float[Array, "*batch S E"],
        lengths: Any,
    ) -> tuple[Float[Array, "*batch T E"], Float[Array, "*batch T S"]]:
        """Computes the contexts ``[*batch, T, E]`` and the attention weights ``[*batch, T, S]``."""
        features = hs.shape[-1], memory.shape[-1]
        if self.kind == "additive":
            scores, params = additive_scores, self.param("scores", additive_init, *features, self.hidden_size)
        else:
            scores, params = multiplicative_scores, self.param("scores", multiplicative_init, *features)
        params = jax.tree.map(lambda leaf: leaf.astype(self.dtype), params)
        return attend(scores, params, hs, memory, lengths)


class Bridge(nn.Module):
    """Maps the last carries of a bidirectional encoder to the first carries of a decoder.

    Each array of each carry becomes ``tanh([forward; backward] W + b)``, with its own W and b.

    Attributes:
        num_layers: Number of layers of the encoder and the decoder.
    """

    num_layers: int

    @nn.compact
    def __call__(self, lasts: list[tuple[Carry, Carry]]) -> tuple[Carry, ...]:
        """Computes one carry per layer from pairs of carries, forward and backward."""

        def bridge(*directions: Any) -> jax.Array:
            return jnp.tanh(nn.Dense(directions[0].shape[-1])(jnp.concatenate(directions, axis=-1)))

        return tuple(jax.tree.map(bridge, *last) for last in lasts)
