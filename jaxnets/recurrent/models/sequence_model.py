"""``SequenceModel``: from a sequence to one answer, or to one answer per step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.dense import Dense
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.cell import Cell
from jaxnets.recurrent.cells.gru import gru
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.layers.pooling import attention_pool, pool
from jaxnets.recurrent.layers.rnn import StackedRNN, check_network, dropped


class SequenceModel(nn.Module):
    r"""Recurrent layers, pooling over time, and a linear output: many to one, or aligned many to many.

    .. math::
        y = \mathrm{RNN}(x), \quad p = \mathrm{pool}_t\, y_t, \quad \mathrm{output} = p\, W + b

    Attributes:
        num_outputs: Numbers of one answer, such as the logits of classes.
        cell: A function from H to a cell, such as ``recurrent.gru``; every layer has its own parameters.
        hidden_size: H, width of every layer and direction.
        num_layers: How many.
        bidirectional: Whether every layer reads both ways; their outputs are concatenated.
        pooling: ``"last"`` (each direction's, after its last real step), ``"max"``, ``"mean"``, ``"attention"``
            (weights from a layer of H tanh units), or ``"none"``: an answer per step.
        dropout: Probability of dropping an element between layers and before the output.
        dtype: Compute type; parameters, carries and answers are float32.
        method: How the recurrences are computed, as in ``recurrent.scan``.
    """

    num_outputs: int
    cell: Callable[[int], Cell] = gru
    hidden_size: int = 128
    num_layers: int = 1
    bidirectional: bool = False
    pooling: str = "last"
    dropout: float = 0.0
    dtype: Dtype = jnp.float32
    method: str | Method = "auto"

    @nn.compact
    def __call__(self, xs: jax.Array, *, lengths: jax.Array | None = None, train: bool = False) -> jax.Array:
        """From ``xs [*batch, T, D]`` to ``[*batch, outputs]``, or ``[*batch, T, outputs]`` without pooling, float32.

        Dropout is on when ``train``; it needs ``rngs={"dropout": key}`` then.
        """
        self._check()
        network = StackedRNN(
            self.cell(self.hidden_size),
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            dtype=self.dtype,
            method=self.method,
            name="rnn",
        )
        _, ys = network(xs, lengths=lengths, train=train)
        pooled = self._pooled(ys, lengths)
        pooled = dropped(nn.Dropout(self.dropout, deterministic=not train), pooled)
        return nn.Dense(self.num_outputs, dtype=at_least_float32(pooled.dtype), name="head")(pooled)

    def _pooled(self, ys: jax.Array, lengths: jax.Array | None) -> jax.Array:
        if self.pooling == "none":
            return ys
        if self.pooling == "attention":
            units = nn.tanh(Dense(self.hidden_size, dtype=self.dtype, name="attention")(ys))
            return attention_pool(ys, nn.Dense(1, use_bias=False, name="score")(units)[..., 0], lengths)
        if self.pooling == "last" and self.bidirectional:
            forward, backward = jnp.split(ys, 2, axis=-1)
            first = backward[..., :1, :]  # where a backward pass ends, in a row of any length
            return jnp.concatenate([pool(forward, "last", lengths), pool(first, "max")], axis=-1)
        return pool(ys, self.pooling, lengths)

    def _check(self) -> None:
        check_network(
            self.cell, self.dropout, outputs=self.num_outputs, hidden_size=self.hidden_size, num_layers=self.num_layers
        )
        if self.pooling not in ("last", "max", "mean", "attention", "none"):
            raise ValueError(f"pooling: last, max, mean, attention or none expected; given {self.pooling!r}")
