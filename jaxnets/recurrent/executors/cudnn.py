"""The cuDNN executor: NVIDIA's own LSTM, through ``jax.experimental.rnn``, for whole sequences in float32."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
from jax.experimental import rnn

from jaxnets.recurrent.cell import Carry, Cell, Params, matmul
from jaxnets.recurrent.cells.lstm import lstm_project, lstm_step
from jaxnets.recurrent.executors.method import Given, Traversal
from jaxnets.recurrent.executors.steps import Control


@dataclasses.dataclass(frozen=True)
class CuDNN:
    """NVIDIA's own LSTM, for a plain ``recurrent.lstm(H)`` on whole float32 sequences, forward in time."""

    def check(self, cell: Cell, traversal: Traversal, control: Control) -> None:
        """Raises a ValueError if cuDNN has no such recurrence, or there is no cuDNN here."""
        if cell.step is not lstm_step or cell.product is not matmul or cell.project is not lstm_project:
            raise ValueError('method: "cudnn" needs recurrent.lstm(H), neither projected nor coupled nor wrapped')
        if (backend := jax.default_backend()) != "gpu":
            raise ValueError(f'method: "cudnn" needs an NVIDIA GPU; the default backend is {backend}')
        wrong = {
            "inputs of another type than float32": traversal.dtype != jnp.float32,
            "lengths": control.active is not None,
            "resets": control.reset is not None,
            "reverse": traversal.reverse,
        }
        for what in [what for what, given in wrong.items() if given]:
            raise ValueError(f'method: "cudnn" cannot serve {what}; "auto" and "sequential" can')

    def run(self, cell: Cell, traversal: Traversal, given: Given) -> tuple[Carry, jax.Array]:
        """As ``Method.run``."""
        params, xs, carry, _, _ = given
        features, hidden = params["input"]["kernel"].shape[0], params["recurrent"]["kernel"].shape[0]
        xs = jnp.moveaxis(xs, traversal.axis, -2)
        batch, length = xs.shape[:-2], xs.shape[-2]
        rows = xs.reshape(-1, length, features)
        h, c = (a.reshape(1, -1, hidden) for a in carry)
        lengths = jnp.full(len(rows), length, jnp.int32)
        ys, h, c = rnn.lstm(rows, h, c, packed(params), lengths, features, hidden, 1, 0.0, False)
        h, c = (a.reshape(*batch, hidden) for a in (h, c))
        return (h, c), jnp.moveaxis(ys.reshape(*batch, length, hidden), -2, traversal.axis)


def packed(params: Params) -> jax.Array:
    """An LSTM's parameters in cuDNN's order: both kernels as ``[4 H, features]``, then both biases; ours is the first.

    The order of the gates, i, f, g, o, is the same.
    """
    bias = params["input"]["bias"]
    hidden = params["recurrent"]["kernel"].shape[0]
    chex.assert_shape([params["input"]["kernel"], params["recurrent"]["kernel"]], (None, 4 * hidden))
    chex.assert_shape(bias, (4 * hidden,))
    parts = [params["input"]["kernel"].T, params["recurrent"]["kernel"].T, bias, jnp.zeros_like(bias)]
    return jnp.concatenate([part.reshape(-1) for part in parts])
