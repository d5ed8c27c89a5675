"""A recurrent predictor of the next steps, at every step of a series (Malhotra et al. 2015)."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.cell import Cell
from jaxnets.recurrent.cells.lstm import lstm
from jaxnets.recurrent.layers.rnn import StackedRNN, check_network


class StepPredictor(nn.Module):
    r"""Stacked recurrent layers that predict the next l steps at every step:

    .. math:: (\hat x_{t+1}, \dots, \hat x_{t+l}) = W h_t + b

    "Long Short Term Memory Networks for Anomaly Detection in Time Series", Malhotra et al. 2015.

    Parameters: ``rnn`` (of ``recurrent.StackedRNN``), ``head``.

    Attributes:
        hidden_size: Number of hidden units of each layer.
        num_layers: Number of layers.
        num_ahead: l, the number of predicted steps.
        cell: A function from ``hidden_size`` to a cell, such as ``recurrent.gru``.
        dropout: Dropout probability between layers.
        dtype: Compute type; parameters and outputs are float32.
    """

    hidden_size: int = 64
    num_layers: int = 2
    num_ahead: int = 3
    cell: Callable[[int], Cell] = lstm
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, xs: Float[Array, "B T C"], *, train: bool = False) -> Float[Array, "B T l C"]:
        """Predicts the steps after every step.

        Args:
            xs: ``[B, T, C]``.
            train: Whether dropout is active.

        Returns:
            ``[B, T, l, C]``, float32; ``[:, t, k - 1]`` is the prediction of ``xs[:, t + k]``.
        """
        check_network(self.cell, self.dropout, hidden_size=self.hidden_size, num_layers=self.num_layers)
        check_integer("num_ahead", self.num_ahead)
        network = StackedRNN(
            self.cell(self.hidden_size),
            num_layers=self.num_layers,
            dropout=self.dropout,
            dtype=self.dtype,
            name="rnn",
        )
        _, hs = network(xs, train=train)
        ys = nn.Dense(self.num_ahead * xs.shape[-1], dtype=at_least_float32(self.dtype), name="head")(hs)
        return ys.reshape(*xs.shape[:2], self.num_ahead, xs.shape[-1])
