"""Recurrent language model over characters or bytes (Graves 2013, arXiv:1308.0850; Karpathy 2015)."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.embed import Embed
from jaxnets.ops import embedding
from jaxnets.ops.array_types import Array, ArrayLike, Float, Integer
from jaxnets.recurrent.cell import Carry, Cell, flatten_rows, matmul
from jaxnets.recurrent.cells.lstm import lstm
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.layers.rnn import RNN, apply_dropout, check_network


class Logits(nn.Module):
    """A dense layer that computes logits in float32.

    Attributes:
        vocab_size: Number of logits.
    """

    vocab_size: int

    @nn.compact
    def __call__(
        self, xs: Float[Array, "*batch D"], kernel: Float[Array, "D V"] | None = None
    ) -> Float[Array, "*batch V"]:
        """Computes ``xs @ kernel + bias``.

        Args:
            xs: ``[..., D]``; the product is computed in its dtype and accumulated in float32.
            kernel: A tied kernel ``[D, vocab_size]``. If None, the layer has its own kernel.

        Returns:
            Logits ``[..., vocab_size]``.
        """
        if kernel is None:
            kernel = self.param("kernel", nn.initializers.lecun_normal(), (xs.shape[-1], self.vocab_size), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.vocab_size,), jnp.float32)
        logits = matmul(kernel, flatten_rows(xs)) + bias[None]
        return logits.reshape(*xs.shape[:-1], self.vocab_size)


class CharRNN(nn.Module):
    r"""A recurrent language model: a stack of recurrent layers that predicts the next token.

    .. math::
        x_t = E_{w_t}, \quad h^l_t = \mathrm{cell}^l(h^{l-1}_t, h^l_{t-1}), \quad
        p(w_{t+1} \mid w_{\le t}) = \mathrm{softmax}(h^L_t V + b)

    Attributes:
        vocab_size: Number of tokens.
        cell: A function from ``hidden_size`` to a cell, such as ``recurrent.lstm``. The layers do not share parameters.
        hidden_size: H, the number of hidden units of every layer.
        num_layers: L, the number of layers.
        embed_dim: Number of features of the embedding E; 0 means one-hot vectors.
        dropout: Dropout rate of the outputs of every layer.
        tie_embeddings: Whether the output matrix V is the transposed embedding (Press and Wolf 2017). Requires
            ``embed_dim == hidden_size``.
        dtype: Compute dtype. Parameters, carries and logits are float32.
        method: The algorithm of the recurrences, as in ``recurrent.scan``.
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
        self, tokens: Integer[ArrayLike, "*batch T"], carry: tuple[Carry, ...] | None = None, *, train: bool = False
    ) -> tuple[tuple[Carry, ...], Float[Array, "*batch T V"]]:
        """Computes the logits of the next token at each position.

        Args:
            tokens: Integers ``[*batch, T]``.
            carry: One carry per layer. If None, the initial carries of the cells.
            train: Whether to apply dropout, which requires ``rngs={"dropout": key}``.

        Returns:
            The carry of every layer after the last token, and logits ``[*batch, T, vocab_size]`` in float32.

        Raises:
            ValueError: An attribute, ``tokens`` or ``carry`` is invalid.
        """
        self._check(tokens, carry)
        if self.embed_dim:
            # A tied embedding is also the output matrix, and its initial logits must be small.
            normal = nn.initializers.normal(self.hidden_size**-0.5 if self.tie_embeddings else 1.0)
            embed: Any = Embed(self.vocab_size, self.embed_dim, self.dtype, embedding_init=normal, name="embed")
            xs = embed(tokens)
        else:
            xs = embedding.one_hot(tokens, self.vocab_size, dtype=self.dtype)
        carries = []
        for layer in range(self.num_layers):
            rnn = RNN(self.cell(self.hidden_size), method=self.method, name=f"layer_{layer}")
            last, xs = rnn(xs, None if carry is None else carry[layer])
            carries.append(last)
            xs = apply_dropout(nn.Dropout(self.dropout, deterministic=not train), xs)
        logits = Logits(self.vocab_size, name="head")(xs, embed.embedding.T if self.tie_embeddings else None)
        return tuple(carries), logits

    def _check(self, tokens: Any, carry: tuple[Carry, ...] | None) -> None:
        sizes = dict(vocab_size=self.vocab_size, hidden_size=self.hidden_size, num_layers=self.num_layers)
        check_network(self.cell, self.dropout, **sizes)
        if not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise ValueError(f"`tokens` must be integers, got {tokens.dtype}")
        if tokens.ndim < 1:
            raise ValueError("`tokens` must have the shape [*batch, T], got a scalar")
        if self.tie_embeddings and self.embed_dim != self.hidden_size:
            raise ValueError(
                "`embed_dim` must equal `hidden_size` with `tie_embeddings`, "
                f"got {self.embed_dim} and {self.hidden_size}"
            )
        if carry is not None and len(carry) != self.num_layers:
            raise ValueError(f"`carry` must have one item per layer ({self.num_layers}), got {len(carry)}")
