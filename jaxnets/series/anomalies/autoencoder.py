"""A recurrent autoencoder of series (Malhotra et al. 2016, arXiv:1607.00148)."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.ops.array_types import Array, Float, Integer
from jaxnets.ops.checks import check_layer_sizes
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.cell import Cell
from jaxnets.recurrent.cells.lstm import lstm
from jaxnets.recurrent.layers.pooling import pool
from jaxnets.recurrent.layers.rnn import RNN


class RecurrentAutoencoder(nn.Module):
    r"""A stack of recurrent layers that reduces a series to one code, and a stack that reconstructs it:

    .. math:: z = h_T(x), \quad \hat x = W\, g(z, \dots, z) + b

    The code z is the output of the last encoder layer after the last valid step. The decoder reads it at every step.

    Parameters: ``encoder_<i>``, ``decoder_<i>``, ``head``.

    Attributes:
        hidden_sizes: Units of the encoder layers; the decoder layers have them in reverse order.
        cell: A function from the number of units to a cell, such as ``recurrent.lstm``.
        dtype: Compute type; parameters and outputs are float32.
    """

    hidden_sizes: Sequence[int] = (128, 64)
    cell: Callable[[int], Cell] = lstm
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        xs: Float[Array, "B T D"],
        *,
        lengths: Integer[Array, " B"] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B K"]]:
        """Reconstructs series.

        Args:
            xs: ``[B, T, D]``.
            lengths: Integers ``[B]``, the valid steps of each series; None: all steps are valid.
            train: Ignored: the model has no dropout.

        Returns:
            The reconstruction ``[B, T, D]``, and the code ``[B, K]``, both float32. The code of a series without steps
            is 0.
        """
        check_layer_sizes(hidden_sizes=self.hidden_sizes)
        hs = xs
        for i, size in enumerate(self.hidden_sizes):
            _, hs = RNN(self.cell(size), dtype=self.dtype, name=f"encoder_{i}")(hs, lengths=lengths)
        code = pool(hs, "last", lengths)
        hs = jnp.broadcast_to(code[:, None], (*xs.shape[:2], code.shape[-1]))
        for i, size in enumerate(reversed(self.hidden_sizes)):
            _, hs = RNN(self.cell(size), dtype=self.dtype, name=f"decoder_{i}")(hs, lengths=lengths)
        wide = at_least_float32(self.dtype)
        return nn.Dense(xs.shape[-1], dtype=wide, name="head")(hs), code.astype(wide)
