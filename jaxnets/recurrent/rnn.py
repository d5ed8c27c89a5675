"""``RNN``: one recurrent layer as a Linen module."""

import jax
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.recurrent.cell import Carry, Cell
from jaxnets.recurrent.scan import scan


class RNN(nn.Module):
    """Runs a cell over a sequence; owns the cell's parameters under the name ``cell``.

    Attributes:
        cell: A recurrent cell, such as ``recurrent.lstm(512)``.
        reverse: From the last time to the first; ``ys[t]`` still belongs to ``xs[t]``.
        time_major: Whether time is the first axis of ``xs`` and ``ys``.
        dtype: Compute type of the products; None takes that of ``xs``. Parameters and carries are float32.
        chunk, keep, unroll, method: As in ``recurrent.scan``.
    """

    cell: Cell
    reverse: bool = False
    time_major: bool = False
    dtype: Dtype | None = None
    chunk: int | None = None
    keep: str = "carries"
    unroll: int = 1
    method: str = "sequential"

    @nn.compact
    def __call__(self, xs: jax.Array, carry: Carry | None = None) -> tuple[Carry, jax.Array]:
        """From ``xs [*batch, T, D]`` and a carry (None: the cell's own) to the last carry and ``ys [*batch, T, H]``."""
        params = self.param("cell", self.cell.init, xs.shape[-1])
        return scan(
            self.cell,
            params,
            xs if self.dtype is None else xs.astype(self.dtype),
            carry,
            reverse=self.reverse,
            time_major=self.time_major,
            chunk=self.chunk,
            keep=self.keep,
            unroll=self.unroll,
            method=self.method,
        )
