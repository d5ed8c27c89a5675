"""Three ways to read a window: all steps at once, the last step alone, and step by step with a recurrent cell."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.modules.mlp import MLP
from jaxnets.recurrent.cell import Cell
from jaxnets.recurrent.cells.gru import gru
from jaxnets.recurrent.layers.rnn import StackedRNN, check_network
from jaxnets.series.forecasting.forecaster import COVARIATES, Forecaster


class WindowMLP(Forecaster):
    """A multilayer perceptron on the concatenated window.

    Parameters: ``network`` (of ``modules.MLP``).

    Attributes:
        hidden_sizes, activation, dropout: As in ``modules.MLP``.
    """

    normalization: str = "last"
    hidden_sizes: Sequence[int] = (256,)
    activation: str = "relu"
    dropout: float = 0.0
    covariates: ClassVar[tuple[str, ...]] = COVARIATES

    @nn.compact
    def forecast(self, xs: jax.Array, *, train: bool = False, **covariates: Any) -> jax.Array:
        flat = [array.reshape(len(xs), -1) for array in (xs, *_arrays(covariates))]
        return _mlp(self, jnp.concatenate(flat, axis=-1), xs.shape[-1], train)


class Memoryless(Forecaster):
    """A multilayer perceptron on the last step of the window, without memory of the steps before.

    Parameters: ``network`` (of ``modules.MLP``).

    Attributes:
        hidden_sizes, activation, dropout: As in ``modules.MLP``.
    """

    hidden_sizes: Sequence[int] = (256,)
    activation: str = "relu"
    dropout: float = 0.0

    @nn.compact
    def forecast(self, xs: jax.Array, *, train: bool = False) -> jax.Array:
        return _mlp(self, xs[:, -1], xs.shape[-1], train)


class RecurrentForecaster(Forecaster):
    """A recurrent network over the window; a linear layer maps its last output to all steps of the horizon.

    Past covariates, and future covariates up to the present, are further features of each step. The future covariates
    of the horizon and static covariates are inputs of the linear layer.

    Parameters: ``rnn`` (of ``recurrent.StackedRNN``), ``head``.

    Attributes:
        cell: A function from ``hidden_size`` to a cell, such as ``recurrent.lstm``.
        hidden_size: Number of hidden units of each layer.
        num_layers: Number of layers.
        dropout: Dropout probability between layers.
    """

    normalization: str = "last"
    cell: Callable[[int], Cell] = gru
    hidden_size: int = 128
    num_layers: int = 1
    dropout: float = 0.0
    covariates: ClassVar[tuple[str, ...]] = COVARIATES

    @nn.compact
    def forecast(self, xs: jax.Array, *, train: bool = False, **covariates: Any) -> jax.Array:
        check_network(self.cell, self.dropout, hidden_size=self.hidden_size, num_layers=self.num_layers)
        batch, length, channels = xs.shape
        known = [covariates["past"]] if "past" in covariates else []
        known += [covariates["future"][:, :length]] if "future" in covariates else []
        inputs = jnp.concatenate([xs, *known], axis=-1)
        network = StackedRNN(
            self.cell(self.hidden_size),
            num_layers=self.num_layers,
            dropout=self.dropout,
            dtype=self.dtype,
            name="rnn",
        )
        _, hs = network(inputs, train=train)
        rest = [covariates["future"][:, length:]] if "future" in covariates else []
        rest += [covariates["static"]] if "static" in covariates else []
        last = jnp.concatenate([hs[:, -1], *(array.reshape(batch, -1) for array in rest)], axis=-1)
        ys = self.head(channels * self.horizon * self.num_outputs, name="head")(last)
        return self.split(ys.reshape(batch, channels, self.horizon * self.num_outputs))


def _mlp(model: Any, flat: jax.Array, channels: int, train: bool) -> jax.Array:
    """Applies the network of a model to ``[B, features]``."""
    outputs = channels * model.horizon * model.num_outputs
    network = MLP(outputs, model.hidden_sizes, model.activation, model.dropout, model.dtype, name="network")
    ys = network(flat, train=train)
    return model.split(ys.reshape(len(flat), channels, model.horizon * model.num_outputs))


def _arrays(covariates: dict[str, Any]) -> list[jax.Array]:
    return [covariates[name] for name in COVARIATES if name in covariates]
