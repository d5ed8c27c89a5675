"""``EncoderDecoder``: recurrent translation, with attention (Bahdanau et al. 2014, Luong et al. 2015) and without."""

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
from jaxnets.ops.masks import valid_steps
from jaxnets.recurrent.cell import Carry, Cell
from jaxnets.recurrent.cells.gru import gru
from jaxnets.recurrent.checking import checked_lengths
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.layers.rnn import RNN, BidirectionalRNN, check_network
from jaxnets.recurrent.models.char_rnn import Logits

ATTENTION = ("none", "additive", "multiplicative")


class Encoded(NamedTuple):
    """What a decoder knows of a source, and of what it has written.

    Attributes:
        outputs: Of the encoder, both directions side by side, ``[*batch, S, 2 H]``.
        lengths: Integers ``[*batch]``, how many tokens of the source are real; None: all.
        carries: Of the decoder's layers.
    """

    outputs: jax.Array
    lengths: jax.Array | None
    carries: tuple[Carry, ...]


class EncoderDecoder(nn.Module):
    r"""An encoder reads the source both ways; a decoder, begun from its last states, predicts the target's next token.

    With attention, what the decoder's state h reads from the encoder's outputs m goes into the prediction beside it:

    .. math::
        c_t = \sum_s a_{ts} m_s, \quad a_t = \mathrm{softmax}_s\, e(h_t, m_s), \quad
        \tilde h_t = \tanh([c_t; h_t]\, W_c + b), \quad p = \mathrm{softmax}(\tilde h_t E^\top + b)

    (Luong et al. 2015, arXiv:1508.04025; e is Luong's bilinear form, or Bahdanau's network, arXiv:1409.0473). Without,
    :math:`\tilde h_t = \tanh(h_t W_c + b)` (Sutskever et al. 2014, arXiv:1409.3215). Source, target and output share
    the embedding E.

    Attributes:
        vocab_size: Number of tokens, of source and target together.
        cell: A function from H to a cell, such as ``recurrent.gru``.
        hidden_size: H, width of every layer and direction.
        num_layers: Of the encoder, and of the decoder.
        embed_dim: Width of E.
        attention: ``"none"``, ``"additive"`` or ``"multiplicative"``.
        dropout: Probability of dropping an element of the embedded tokens, between layers, and before the output.
        dtype: Compute type; parameters, carries and logits are float32.
        method: How the recurrences are computed, as in ``recurrent.scan``.
        train: Whether dropout is on; it needs ``rngs={"dropout": key}`` then.
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
        sizes = dict(
            vocabulary=self.vocab_size, hidden=self.hidden_size, layers=self.num_layers, embedding=self.embed_dim
        )
        check_network(self.cell, self.dropout, **sizes)
        if self.attention not in ATTENTION:
            raise ValueError(f"attention: one of {', '.join(ATTENTION)}; given {self.attention!r}")
        small = nn.initializers.normal(self.embed_dim**-0.5)
        self.embed = Embed(self.vocab_size, self.embed_dim, self.dtype, embedding_init=small)
        cell = self.cell(self.hidden_size)
        self.encoder = [BidirectionalRNN(cell, method=self.method) for _ in range(self.num_layers)]
        self.decoder = [RNN(cell, method=self.method) for _ in range(self.num_layers)]
        # A dense layer for every array of every carry, made where the carries are known.
        self.bridge = Bridge(self.num_layers)
        if self.attention != "none":
            self.attend = Alignment(self.attention, self.hidden_size, self.dtype)
        self.combine = nn.Dense(self.embed_dim, dtype=self.dtype)
        self.head = Logits(self.vocab_size)
        self.drop = nn.Dropout(self.dropout, deterministic=not self.train)

    def __call__(
        self,
        source: jax.Array,
        target: jax.Array,
        source_lengths: jax.Array | None = None,
        target_lengths: jax.Array | None = None,
    ) -> jax.Array:
        """Logits ``[*batch, T, vocabulary]``, float32, of the token after each of ``target``.

        Args:
            source: Integers ``[*batch, S]``.
            target: Integers ``[*batch, T]``, a start symbol first.
            source_lengths, target_lengths: Integers ``[*batch]``, how many tokens are real; None: all.
        """
        return self.decode(self.encode(source, source_lengths), target, target_lengths)[1]

    def encode(self, source: jax.Array, lengths: jax.Array | None = None) -> Encoded:
        """What the decoder needs to know of ``source [*batch, S]``."""
        xs = self._embedded(source, "source", lengths)
        lasts = []
        for number, layer in enumerate(self.encoder):
            last, xs = layer(self.drop(xs) if number else xs, lengths=lengths)
            lasts.append(last)
        return Encoded(xs, lengths, self.bridge(lasts))

    def start(self, encoded: Encoded) -> Encoded:
        """What decoding step by step begins from: the same."""
        return encoded

    @nn.nowrap
    def stepwise(self) -> Stepwise:
        """Functions that write token by token."""
        return of_encoder_decoder(self)

    def decode(
        self, encoded: Encoded, target: jax.Array, lengths: jax.Array | None = None
    ) -> tuple[Encoded, jax.Array]:
        """What is known after it, and logits of the token after each of ``target [*batch, T]``."""
        encoded, hs = self._states(encoded, target, lengths)
        if self.attention != "none":
            context, _ = self.attend(hs, encoded.outputs, encoded.lengths)
            hs = jnp.concatenate([context.astype(hs.dtype), hs], axis=-1)
        xs = self.drop(jnp.tanh(self.combine(hs)))
        return encoded, self.head(xs, self.embed.embedding.T)

    def alignment(self, encoded: Encoded, target: jax.Array) -> jax.Array | None:
        """The weights of attention ``[*batch, T, S]``; None without attention."""
        if self.attention == "none":
            return None
        encoded, hs = self._states(encoded, target, None)
        return self.attend(hs, encoded.outputs, encoded.lengths)[1]

    def _states(self, encoded, target, lengths):
        xs, carries = self._embedded(target, "target", lengths), []
        for number, layer in enumerate(self.decoder):
            last, xs = layer(self.drop(xs) if number else xs, encoded.carries[number], lengths=lengths)
            carries.append(last)
        return encoded._replace(carries=tuple(carries)), xs

    def _embedded(self, tokens: jax.Array, name: str, lengths: jax.Array | None) -> jax.Array:
        check_tokens(name, tokens)
        *batch, size = tokens.shape
        valid = None if lengths is None else valid_steps(checked_lengths(lengths, size, tuple(batch)), size)
        rows = self.embed(tokens, argument=name, valid=valid)
        return self.drop(rows)


class Alignment(nn.Module):
    """What a decoder's states read from an encoder's outputs: ``attention.attend`` with parameters of its own.

    Attributes:
        kind: ``"additive"`` or ``"multiplicative"``.
        hidden_size: Units of the additive scores.
        dtype: Compute type.
    """

    kind: str
    hidden_size: int
    dtype: Dtype

    @nn.compact
    def __call__(self, hs: jax.Array, memory: jax.Array, lengths: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        widths = hs.shape[-1], memory.shape[-1]
        if self.kind == "additive":
            scores, params = additive_scores, self.param("scores", additive_init, *widths, self.hidden_size)
        else:
            scores, params = multiplicative_scores, self.param("scores", multiplicative_init, *widths)
        params = jax.tree.map(lambda leaf: leaf.astype(self.dtype), params)
        return attend(scores, params, hs, memory, lengths)


class Bridge(nn.Module):
    """From an encoder's last carries, of both directions, to a decoder's first: ``tanh([forward; backward] W + b)``.

    Attributes:
        num_layers: How many carries.
    """

    num_layers: int

    @nn.compact
    def __call__(self, lasts: list[tuple[Carry, Carry]]) -> tuple[Carry, ...]:
        def one(*directions: Any) -> jax.Array:
            width = directions[0].shape[-1]
            return jnp.tanh(nn.Dense(width)(jnp.concatenate(directions, axis=-1)))

        return tuple(jax.tree.map(one, *last) for last in lasts)
