"""Recurrent layers as Linen modules: thin, they own parameters and names."""

import functools
import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import Dtype
from jax.sharding import PartitionSpec

from jaxnets.ops.checks import check_depth
from jaxnets.ops.meshes import call_auto_sharded, spec_of
from jaxnets.recurrent.cell import Carry, Cell, main_input
from jaxnets.recurrent.checking import arrays, check_cell, time_axis
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.layers.stacked import Layer, bidirectional, stacked
from jaxnets.recurrent.scan import scan


def check_network(cell: Any, dropout: float, **sizes: int) -> None:
    """A ``ValueError`` where no network can be made of these attributes; ``sizes``, such as layers, are told by name.

    Args:
        cell: What must be a function from H to a cell.
        dropout: What must be a probability below 1.
        sizes: What must be at least 1.
    """
    if not callable(cell):
        raise ValueError(f"cell: a function from H to a cell expected, such as recurrent.gru; given {cell!r}")
    check_depth(**{name: size for name, size in sizes.items() if name == "layers"})
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ValueError(f"{name}: at least 1 expected; given {size!r}")
    if not isinstance(dropout, numbers.Real) or not 0 <= dropout < 1:
        raise ValueError(f"dropout: a probability below 1 expected; given {dropout!r}")


def dropped(dropout: nn.Dropout, xs: jax.Array) -> jax.Array:
    """``dropout(xs)``, on meshes with explicit axes too, where Linen's own has a mask that is not divided as xs is."""
    return call_auto_sharded(dropout, PartitionSpec(*spec_of(xs)), xs)


def prepared(cell: Any, xs: Any, dtype: Dtype | None) -> Any:
    """The input of a layer, in its compute type.

    Raises:
        ValueError: The layer's attributes or its input cannot be used.
    """
    check_cell(cell)
    xs = arrays("xs", xs)
    time_axis(cell, main_input(xs), time_major=False)
    return xs if dtype is None else jax.tree.map(lambda a: a.astype(dtype) if _floating(a) else a, xs)


def _floating(a: jax.Array) -> bool:
    return jnp.issubdtype(a.dtype, jnp.floating)


class RNN(nn.Module):
    """Runs a cell over a sequence; owns the cell's parameters under the name ``cell``.

    Attributes:
        cell: A recurrent cell, such as ``recurrent.lstm(512)``.
        reverse: From the last time to the first; ``ys[t]`` still belongs to ``xs[t]``.
        time_major: Whether time is the first axis of ``xs`` and ``ys``.
        dtype: Compute type of the products; None takes that of ``xs``. Parameters and carries are float32.
        method: How it is computed, as in ``recurrent.scan``: a name such as ``"autodiff"``, or an object with options
            such as ``recurrent.Sequential(chunk=64)``.
    """

    cell: Cell
    reverse: bool = False
    time_major: bool = False
    dtype: Dtype | None = None
    method: str | Method = "auto"

    @nn.compact
    def __call__(
        self,
        xs: jax.Array,
        carry: Carry | None = None,
        *,
        lengths: jax.Array | None = None,
        resets: jax.Array | None = None,
    ) -> tuple[Carry, jax.Array]:
        """From ``xs [*batch, T, D]`` and a carry (None: the cell's own) to the last carry and ``ys [*batch, T, H]``."""
        xs = prepared(self.cell, xs, self.dtype)
        params = self.param("cell", self.cell.init, main_input(xs).shape[-1])
        return scan(
            self.cell,
            params,
            xs,
            carry,
            lengths=lengths,
            resets=resets,
            reverse=self.reverse,
            time_major=self.time_major,
            method=self.method,
        )


class BidirectionalRNN(nn.Module):
    """One pass each way, their outputs merged; owns parameters under the names ``forward`` and ``backward``.

    Attributes:
        cell: The cell of both directions; each has its own parameters.
        merge: ``"concat"`` (2 H features), ``"sum"``, ``"mean"`` or ``"max"``.
        dtype, method: As in ``RNN``.
    """

    cell: Cell
    merge: str = "concat"
    dtype: Dtype | None = None
    method: str | Method = "auto"

    @nn.compact
    def __call__(
        self,
        xs: jax.Array,
        carry: tuple[Carry, Carry] | None = None,
        *,
        lengths: jax.Array | None = None,
        resets: jax.Array | None = None,
    ) -> tuple[tuple[Carry, Carry], jax.Array]:
        """From ``xs [*batch, T, D]`` and both carries (or None) to both last carries and the merged outputs."""
        xs = prepared(self.cell, xs, self.dtype)
        own = lambda name: self.param(name, self.cell.init, main_input(xs).shape[-1])
        return bidirectional(
            (self.cell, self.cell),
            (own("forward"), own("backward")),
            xs,
            carry,
            merge=self.merge,
            lengths=lengths,
            resets=resets,
            method=self.method,
        )


class StackedRNN(nn.Module):
    """Layers on top of each other, named ``layer_0``, ``layer_1``, ...

    Attributes:
        cell: The cell of every layer; each layer has its own parameters.
        num_layers: How many.
        bidirectional: Whether every layer reads both ways.
        merge: How a layer's directions are merged.
        connect: ``"plain"``, ``"residual"`` or ``"skip"``, as in ``recurrent.stacked``.
        dropout: Probability of dropping an element between layers.
        dtype, method: As in ``RNN``.
    """

    cell: Cell
    num_layers: int = 1
    bidirectional: bool = False
    merge: str = "concat"
    connect: str = "plain"
    dropout: float = 0.0
    dtype: Dtype | None = None
    method: str | Method = "auto"

    @nn.compact
    def __call__(
        self,
        xs: jax.Array,
        carry: Any = None,
        *,
        lengths: jax.Array | None = None,
        resets: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[tuple[Any, ...], jax.Array]:
        """From ``xs [*batch, T, D]`` and a carry per layer (or None) to the last carries and the outputs.

        Dropout is on when ``train``; it needs ``rngs={"dropout": key}`` then.
        """
        check_depth(num_layers=self.num_layers)
        if isinstance(self.num_layers, bool) or not isinstance(self.num_layers, int) or self.num_layers < 1:
            raise ValueError(f"num_layers: at least 1; given {self.num_layers!r}")

        def layer(name: str) -> Layer:
            if self.bidirectional:
                module: nn.Module = BidirectionalRNN(self.cell, self.merge, self.dtype, self.method, name=name)
            else:
                module = RNN(self.cell, dtype=self.dtype, method=self.method, name=name)
            return functools.partial(module, lengths=lengths, resets=resets)

        layers = [layer(f"layer_{i}") for i in range(self.num_layers)]
        key = self.make_rng("dropout") if train and self.dropout else None

        return stacked(layers, xs, carry, connect=self.connect, dropout=self.dropout, key=key)
