"""N-BEATS: residual stacks of basis expansions (Oreshkin et al. 2020, arXiv:1905.10437)."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.dense import Dense
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_choice, check_depth, check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.series.forecasting.forecaster import Forecaster

STACKS = ("generic", "trend", "seasonal")


def trend_basis(size: int, degree: int) -> Float[Array, "{degree}+1 {size}"]:
    r"""Returns the polynomials :math:`t^0, \dots, t^p` on the grid :math:`t = 0, 1/n, \dots, (n - 1)/n`.

    Args:
        size: n, the number of steps.
        degree: p.
    """
    grid = np.arange(size) / size
    return jnp.asarray(grid[None] ** np.arange(degree + 1)[:, None], jnp.float32)


def seasonal_basis(size: int) -> Float[Array, "frequencies {size}"]:
    r"""Returns :math:`\cos(2 \pi i t)` and :math:`\sin(2 \pi i t)` on the grid of ``trend_basis``.

    The frequencies i are :math:`0, \dots, \lfloor n/2 - 1 \rfloor`; only 0 if n < 4. The sine of i = 0 is left out.

    Args:
        size: n, the number of steps.
    """
    grid, frequencies = np.arange(size) / size, np.arange(max(size // 2, 1))
    angles = 2 * np.pi * frequencies[:, None] * grid[None]
    return jnp.asarray(np.concatenate([np.cos(angles), np.sin(angles[1:])]), jnp.float32)


class NBEATS(Forecaster):
    r"""Blocks that each explain a part of the window and add to the forecast; channels are independent:

    .. math::
        h_l = \mathrm{MLP}_l(x_{l-1}), \quad x_l = x_{l-1} - V_b\, \theta^b_l(h_l), \quad
        \hat y = \sum_l V_f\, \theta^f_l(h_l)

    A ``"trend"`` stack has polynomials as bases V, a ``"seasonal"`` stack a Fourier series, a ``"generic"`` stack no
    fixed basis: there, :math:`\theta` are the backcast and the forecast themselves. As in the paper, the blocks of
    interpretable stacks share their parameters. ``("trend", "seasonal")`` is the interpretable architecture.

    Parameters: ``stack_<i>`` (``stack_<i>_block_<j>`` in generic stacks), each with ``layer_<k>``, ``backcast`` and
    ``forecast``.

    Attributes:
        stacks: Kinds of the stacks.
        num_blocks: Blocks per stack.
        num_layers: Hidden layers per block.
        hidden_size: Units of hidden layers.
        degree: Degree of the polynomials of trend stacks.
    """

    normalization: str = "standardize"
    stacks: Sequence[str] = ("trend", "seasonal")
    num_blocks: int = 3
    num_layers: int = 4
    hidden_size: int = 256
    degree: int = 2

    @nn.compact
    def forecast(self, xs: jax.Array, *, train: bool = False) -> jax.Array:
        for kind in self.stacks:
            check_choice("stacks", kind, STACKS)
        check_integer("num_blocks", self.num_blocks)
        check_depth(num_layers=self.num_layers, num_blocks=self.num_blocks)
        rest = jnp.swapaxes(xs, 1, 2)
        total = jnp.zeros((*rest.shape[:-1], self.num_outputs, self.horizon), rest.dtype)
        for i, kind in enumerate(self.stacks):
            sizes = (self.horizon, self.num_outputs, self.num_layers, self.hidden_size, self.degree)
            make = functools.partial(NBEATSBlock, kind, *sizes, self.dtype)
            shared = make(name=f"stack_{i}") if kind != "generic" else None
            for j in range(self.num_blocks):
                block = make(name=f"stack_{i}_block_{j}") if shared is None else shared
                backcast, forecast = block(rest)
                rest, total = rest - backcast, total + forecast
        return jnp.transpose(total, (0, 3, 1, 2))


class NBEATSBlock(nn.Module):
    """A block of ``NBEATS``.

    Attributes:
        kind: ``"generic"``, ``"trend"`` or ``"seasonal"``.
        horizon, num_outputs, num_layers, hidden_size, degree, dtype: As in ``NBEATS``.
    """

    kind: str
    horizon: int
    num_outputs: int
    num_layers: int
    hidden_size: int
    degree: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, xs: Float[Array, "*batch T"]) -> tuple[Float[Array, "*batch T"], Float[Array, "*batch K H"]]:
        """Computes the backcast ``[*batch, T]`` and the forecast ``[*batch, K, H]``."""
        hs = xs
        for i in range(self.num_layers):
            hs = nn.relu(Dense(self.hidden_size, dtype=self.dtype, name=f"layer_{i}")(hs))
        length, wide = xs.shape[-1], at_least_float32(self.dtype)
        if self.kind == "generic":
            backcast = nn.Dense(length, dtype=wide, name="backcast")(hs)
            forecast = nn.Dense(self.num_outputs * self.horizon, dtype=wide, name="forecast")(hs)
            return backcast, forecast.reshape(*xs.shape[:-1], self.num_outputs, self.horizon)
        if self.kind == "trend":
            past, future = (trend_basis(size, self.degree) for size in (length, self.horizon))
        else:
            past, future = seasonal_basis(length), seasonal_basis(self.horizon)
        backcast = nn.Dense(len(past), use_bias=False, dtype=wide, name="backcast")(hs) @ past.astype(wide)
        theta = nn.Dense(self.num_outputs * len(future), use_bias=False, dtype=wide, name="forecast")(hs)
        theta = theta.reshape(*xs.shape[:-1], self.num_outputs, len(future))
        return backcast, theta @ future.astype(wide)
