"""SegRNN: a recurrent network over segments of a series (Lin et al. 2023, arXiv:2308.11200)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.modules.dense import Dense
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.checks import check_divisor, check_integer, check_probability
from jaxnets.recurrent.cells.gru import gru
from jaxnets.recurrent.scan import scan, step
from jaxnets.series.forecasting.forecaster import Forecaster


class SegRNN(Forecaster):
    r"""A GRU over segments of w steps, which forecasts all segments of the horizon at once.

    Each segment becomes :math:`e = \mathrm{relu}(W x + b)`. The last state of the GRU is the initial state of one more
    step for every segment of the horizon, whose input is a learned vector for its position and its channel. A linear
    layer maps the result to w values. Channels are independent and share all other parameters.

    Parameters: ``embedding``, ``rnn`` (of ``recurrent.gru``), ``positions [H / w, D / 2]``, ``channels [C, D / 2]``,
    ``head``.

    Attributes:
        segment: w, a divisor of T and of H.
        hidden_size: D, even.
        dropout: Dropout probability before the head.
    """

    normalization: str = "last"
    segment: int = 24
    hidden_size: int = 512
    dropout: float = 0.5

    @nn.compact
    def forecast(self, xs: jax.Array, *, train: bool = False) -> jax.Array:
        check_divisor("segment", self.segment, "horizon", self.horizon)
        check_divisor("segment", self.segment, "context", xs.shape[-2])
        check_integer("hidden_size", self.hidden_size, 2)
        if self.hidden_size % 2:
            raise ValueError(f"`hidden_size` must be even, got {self.hidden_size}")
        check_probability("dropout", self.dropout)
        batch, length, channels = xs.shape
        half, count = self.hidden_size // 2, self.horizon // self.segment
        segments = jnp.swapaxes(xs, 1, 2).reshape(batch, channels, length // self.segment, self.segment)
        embedded = nn.relu(Dense(self.hidden_size, dtype=self.dtype, name="embedding")(segments))
        cell = gru(self.hidden_size, reset="after")
        params = self.param("rnn", lambda key: cell.init(key, self.hidden_size))
        state, _ = scan(cell, params, embedded)
        normal = nn.initializers.normal(1.0)
        positions = self.param("positions", normal, (count, half), jnp.float32)
        of_channels = self.param("channels", normal, (channels, half), jnp.float32)
        shape = (batch, channels, count, half)
        inputs = jnp.concatenate(
            [
                jnp.broadcast_to(positions[None, None], shape),
                jnp.broadcast_to(of_channels[None, :, None], shape),
            ],
            axis=-1,
        )
        states = jnp.broadcast_to(state[..., None, :], (batch, channels, count, self.hidden_size))
        _, hs = step(cell, params, states, inputs.astype(self.dtype))
        hs = Dropout(self.dropout, deterministic=not train)(hs)
        ys = self.head(self.segment * self.num_outputs, name="head")(hs)
        return self.split(ys.reshape(batch, channels, self.horizon * self.num_outputs))
