"""``CharRNN``: a language model over characters or bytes (Graves 2013, arXiv:1308.0850; Karpathy 2015)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.embed import Embed
from jaxnets.ops import embedding
from jaxnets.recurrent.cell import Carry, Cell, joined_rows, matmul
from jaxnets.recurrent.cells.lstm import lstm
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.layers.rnn import RNN, check_network, dropped


class Logits(nn.Module):
    """``xs @ kernel + bias`` in float32, computed in the dtype of ``xs``; the kernel is its own, or given (tied)."""

    vocab_size: int

    @nn.compact
    def __call__(self, xs: jax.Array, kernel: jax.Array | None = None) -> jax.Array:
        if kernel is None:
            kernel = self.param("kernel", nn.initializers.lecun_normal(), (xs.shape[-1], self.vocab_size), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.vocab_size,), jnp.float32)
        logits = matmul(kernel, joined_rows(xs)) + bias[None]
        return logits.reshape(*xs.shape[:-1], self.vocab_size)


class CharRNN(nn.Module):
    r"""Stacked recurrent layers that predict the next token from all tokens before it:

    .. math::
        x_t = E_{w_t}, \quad h^l_t = \mathrm{cell}^l(h^{l-1}_t, h^l_{t-1}), \quad
        p(w_{t+1} \mid w_{\le t}) = \mathrm{softmax}(h^L_t V + b)

    Attributes:
        vocab_size: Number of tokens.
        cell: A function from H to a cell, such as ``recurrent.lstm``; every layer has its own parameters.
        hidden_size: H, width of every layer.
        num_layers: L.
        embed_dim: Width of the embedding E; 0 feeds one-hot vectors.
        dropout: Probability of dropping a layer's output, between layers and before the output.
        tie_embeddings: Whether the output matrix V is the transposed embedding (Press and Wolf 2017); needs
            embed_dim = hidden_size.
        dtype: Compute type; parameters, carries and logits are float32.
        method: How the recurrences are computed, as in ``recurrent.scan``.
    """

    vocab_size: int
    cell: Callable[[int], Cell] = lstm
    hidden_size: int = 256
    num_layers: int = 1
    embed_dim: int = 64
    dropout: float = 0.0
    tie_embeddings: bool = False
    dtype: Dtype = jnp.float32
    method: str | Method = "auto"

    @nn.compact
    def __call__(
        self, tokens: jax.Array, carry: tuple[Carry, ...] | None = None, *, train: bool = False
    ) -> tuple[tuple[Carry, ...], jax.Array]:
        """Logits of the next token after every token.

        Args:
            tokens: Integers ``[*batch, T]``.
            carry: One carry per layer, or None to start afresh.
            train: Whether dropout is on; it needs ``rngs={"dropout": key}`` then.

        Returns:
            The carries after the last token, and logits ``[*batch, T, vocabulary]`` in float32.
        """
        self._check(tokens, carry)
        if self.embed_dim:
            # Tied, the embedding is also the output's matrix, whose logits must begin small.
            normal = nn.initializers.normal(self.hidden_size**-0.5 if self.tie_embeddings else 1.0)
            embed = Embed(self.vocab_size, self.embed_dim, self.dtype, embedding_init=normal, name="embed")
            xs = embed(tokens)
        else:
            xs = embedding.one_hot(tokens, self.vocab_size, dtype=self.dtype)
        carries = []
        for layer in range(self.num_layers):
            rnn = RNN(self.cell(self.hidden_size), method=self.method, name=f"layer_{layer}")
            last, xs = rnn(xs, None if carry is None else carry[layer])
            carries.append(last)
            xs = dropped(nn.Dropout(self.dropout, deterministic=not train), xs)
        logits = Logits(self.vocab_size, name="head")(xs, embed.embedding.T if self.tie_embeddings else None)
        return tuple(carries), logits

    def _check(self, tokens: jax.Array, carry: tuple[Carry, ...] | None) -> None:
        sizes = dict(vocabulary=self.vocab_size, hidden=self.hidden_size, layers=self.num_layers)
        check_network(self.cell, self.dropout, **sizes)
        if not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise ValueError(f"tokens: integers expected; given {tokens.dtype}")
        if tokens.ndim < 1:
            raise ValueError("tokens: [*batch, T] expected; given a scalar")
        if self.tie_embeddings and self.embed_dim != self.hidden_size:
            raise ValueError(
                f"tie_embeddings: embedding = hidden expected; given {self.embed_dim} and {self.hidden_size}"
            )
        if carry is not None and len(carry) != self.num_layers:
            raise ValueError(f"carry: one per layer, {self.num_layers}, expected; given {len(carry)}")
