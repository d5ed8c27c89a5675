"""cuDNN executor: the LSTM of NVIDIA's cuDNN, through ``jax.experimental.rnn``."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
from jax.experimental import rnn

from jaxnets.recurrent.cell import Carry, Cell, Params, matmul
from jaxnets.recurrent.cells.lstm import lstm_project, lstm_step
from jaxnets.recurrent.executors.method import Arguments, Traversal
from jaxnets.recurrent.executors.steps import StepMasks


@dataclasses.dataclass(frozen=True)
class CuDNN:
    """cuDNN method: the LSTM of cuDNN, for ``recurrent.lstm(H)`` on NVIDIA GPUs.

    It supports float32 sequences without lengths and resets, forward in time.
    """

    def check(self, cell: Cell, traversal: Traversal, masks: StepMasks) -> None:
        """Raises a ValueError if cuDNN does not support the cell, the traversal, the masks or the backend."""
        if cell.step is not lstm_step or cell.product is not matmul or cell.project is not lstm_project:
            raise ValueError(
                '`cell` of method "cudnn" must be recurrent.lstm(H) without projection, coupling and wrappers'
            )
        if (backend := jax.default_backend()) != "gpu":
            raise ValueError(f'the default backend of method "cudnn" must be an NVIDIA GPU, got {backend}')
        unsupported = {
            f"inputs in {jnp.dtype(traversal.dtype).name} instead of float32": traversal.dtype != jnp.float32,
            "lengths": masks.valid is not None,
            "resets": masks.reset is not None,
            "reverse": traversal.reverse,
        }
        for name in [name for name, passed in unsupported.items() if passed]:
            raise ValueError(f'method "cudnn" does not support {name}; use "auto" or "sequential"')

    def run(self, cell: Cell, traversal: Traversal, arguments: Arguments) -> tuple[Carry, jax.Array]:
        """Runs the cell, as ``Method.run``."""
        params, xs, carry, _, _ = arguments
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
    """Concatenates the parameters of an LSTM in the order of cuDNN: two kernels ``[4 H, features]``, then two biases.

    The second bias is zero. The order of the gates, i, f, g, o, is that of ``recurrent.lstm``.
    """
    bias = params["input"]["bias"]
    hidden = params["recurrent"]["kernel"].shape[0]
    chex.assert_shape([params["input"]["kernel"], params["recurrent"]["kernel"]], (None, 4 * hidden))
    chex.assert_shape(bias, (4 * hidden,))
    arrays = [params["input"]["kernel"].T, params["recurrent"]["kernel"].T, bias, jnp.zeros_like(bias)]
    return jnp.concatenate([a.reshape(-1) for a in arrays])
