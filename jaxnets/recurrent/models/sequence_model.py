"""Recurrent model with one output per sequence or per step."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.dense import Dense
from jaxnets.ops.array_types import Array, ArrayLike, Float, Integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.cell import Cell
from jaxnets.recurrent.cells.gru import gru
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.layers.pooling import attention_pool, pool, pool_directions
from jaxnets.recurrent.layers.rnn import StackedRNN, apply_dropout, check_network


class SequenceModel(nn.Module):
    r"""A recurrent model for sequence classification, regression and labeling.

    It consists of a ``StackedRNN``, pooling over time and a dense layer:

    .. math::
        y = \mathrm{RNN}(x), \quad p = \mathrm{pool}_t\, y_t, \quad \mathrm{output} = p\, W + b

    Attributes:
        num_outputs: Number of output features, such as the logits of classes.
        cell: A function from ``hidden_size`` to a cell, such as ``recurrent.gru``. The layers do not share parameters.
        hidden_size: H, the number of hidden units of every layer and direction.
        num_layers: Number of layers.
        bidirectional: Whether the layers are bidirectional, with concatenated outputs.
        pooling: ``"last"`` (the output of each direction after its last valid step), ``"max"``, ``"mean"``,
            ``"attention"`` (scores from a hidden layer of H tanh units), or ``"none"`` for one output per step.
        dropout: Dropout rate between layers and before the dense layer.
        dtype: Compute dtype. Parameters, carries and outputs are float32.
        method: The algorithm of the recurrences, as in ``recurrent.scan``.
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
    def __call__(
        self,
        xs: Float[ArrayLike, "*batch T D"],
        *,
        lengths: Integer[ArrayLike, "*batch"] | Sequence[int] | None = None,
        train: bool = False,
    ) -> Float[Array, "..."]:
        """Computes the outputs of a batch of sequences.

        Args:
            xs: ``[*batch, T, D]``.
            lengths: Integers ``[*batch]`` from 0 to T, the number of valid steps of each row; None means T.
            train: Whether to apply dropout, which requires ``rngs={"dropout": key}``.

        Returns:
            ``[*batch, num_outputs]``, or ``[*batch, T, num_outputs]`` without pooling, in float32.

        Raises:
            ValueError: An attribute, ``xs`` or ``lengths`` is invalid.
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
        pooled = apply_dropout(nn.Dropout(self.dropout, deterministic=not train), pooled)
        return nn.Dense(self.num_outputs, dtype=at_least_float32(pooled.dtype), name="head")(pooled)

    def _pooled(self, ys: jax.Array, lengths: Any) -> jax.Array:
        if self.pooling == "none":
            return ys
        if self.pooling == "attention":
            units = nn.tanh(Dense(self.hidden_size, dtype=self.dtype, name="attention")(ys))
            score = nn.Dense(1, use_bias=False, dtype=at_least_float32(units.dtype), name="score")
            return attention_pool(ys, score(units)[..., 0], lengths)
        if self.pooling == "last" and self.bidirectional:
            return pool_directions(ys, lengths)
        return pool(ys, self.pooling, lengths)

    def _check(self) -> None:
        check_network(
            self.cell,
            self.dropout,
            num_outputs=self.num_outputs,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
        )
        if self.pooling not in ("last", "max", "mean", "attention", "none"):
            raise ValueError(f"`pooling` must be last, max, mean, attention or none, got {self.pooling!r}")
