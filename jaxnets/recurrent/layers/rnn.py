"""Linen modules of recurrent layers."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax.sharding import PartitionSpec

from jaxnets.ops.array_types import Array, ArrayLike, Bool, Float, Integer
from jaxnets.ops.checks import check_depth, check_integer, check_probability
from jaxnets.ops.meshes import call_auto_sharded, spec_of
from jaxnets.recurrent.cell import Carry, Cell, main_input
from jaxnets.recurrent.checking import as_arrays, check_cell, time_axis
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.layers.stacked import Layer, bidirectional, stacked
from jaxnets.recurrent.scan import scan


def check_network(cell: Any, dropout: float, **sizes: int) -> None:
    """Raises a ValueError unless a recurrent model can be built from these attributes.

    Args:
        cell: Must be a function from the number of hidden units to a cell.
        dropout: Must be in [0, 1).
        **sizes: Must be positive integers; ``num_layers`` also has an upper limit.
    """
    if not callable(cell):
        raise ValueError(f"`cell` must be a function from hidden_size to a cell, such as recurrent.gru, got {cell!r}")
    check_depth(**{name: size for name, size in sizes.items() if name == "num_layers"})
    for name, size in sizes.items():
        check_integer(name, size)
    check_probability("dropout", dropout)


def apply_dropout(dropout: nn.Dropout, xs: jax.Array) -> jax.Array:
    """Computes ``dropout(xs)``, also on meshes with explicit axes, where the mask must be sharded as ``xs``."""
    return call_auto_sharded(dropout, PartitionSpec(*spec_of(xs)), xs)


def prepare_inputs(cell: Any, xs: Any, dtype: Dtype | None) -> Any:
    """Checks the cell and the input of a layer, and casts the input to the compute dtype.

    Raises:
        ValueError: ``cell`` is not a cell, or ``xs`` has no array or too few axes.
    """
    check_cell(cell)
    xs = as_arrays("xs", xs)
    time_axis(cell, main_input(xs), time_major=False)
    return xs if dtype is None else jax.tree.map(lambda a: a.astype(dtype) if _floating(a) else a, xs)


def _floating(a: jax.Array) -> bool:
    return jnp.issubdtype(a.dtype, jnp.floating)


class RNN(nn.Module):
    """A recurrent layer: runs a cell over sequences with ``recurrent.scan``.

    The parameters of the cell have the name ``cell``.

    Attributes:
        cell: A recurrent cell, such as ``recurrent.lstm(512)``.
        reverse: Whether to run from the last step to the first. ``ys[t]`` still corresponds to ``xs[t]``.
        time_major: Whether time is the first axis of ``xs``, ``resets`` and ``ys``.
        dtype: Compute dtype of the products; None means that of ``xs``. Parameters and carries are float32.
        method: The algorithm, as in ``recurrent.scan``: a name such as ``"autodiff"``, or an object with options such
            as ``recurrent.Sequential(chunk=64)``.
    """

    cell: Cell
    reverse: bool = False
    time_major: bool = False
    dtype: Dtype | None = None
    method: str | Method = "auto"

    @nn.compact
    def __call__(
        self,
        xs: Any,
        carry: Carry | None = None,
        *,
        lengths: Integer[ArrayLike, "..."] | Sequence[int] | None = None,
        resets: Bool[ArrayLike, "..."] | Sequence[Any] | None = None,
    ) -> tuple[Carry, Float[Array, "..."]]:
        """Runs the cell over a batch of sequences.

        Args:
            xs: ``[*batch, T, D]``, or ``[T, *batch, D]`` if ``time_major``.
            carry: The carry before the first step; None is the initial carry of the cell.
            lengths: Integers ``[*batch]``, the number of valid steps of each row; None means T.
            resets: bool ``[*batch, T]``, steps that start from the initial carry, as in ``recurrent.scan``.

        Returns:
            The last carry, and the outputs ``[*batch, T, H]``.
        """
        xs = prepare_inputs(self.cell, xs, self.dtype)
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
    """A bidirectional recurrent layer.

    The parameters of the two directions have the names ``forward`` and ``backward``.

    Attributes:
        cell: The cell of both directions. The directions do not share parameters.
        merge: Combination of the outputs of both directions: ``"concat"`` (2 H features), ``"sum"``, ``"mean"`` or
            ``"max"``.
        dtype, method: As in ``RNN``.
    """

    cell: Cell
    merge: str = "concat"
    dtype: Dtype | None = None
    method: str | Method = "auto"

    @nn.compact
    def __call__(
        self,
        xs: Any,
        carry: tuple[Carry, Carry] | None = None,
        *,
        lengths: Integer[ArrayLike, "..."] | Sequence[int] | None = None,
        resets: Bool[ArrayLike, "..."] | Sequence[Any] | None = None,
    ) -> tuple[tuple[Carry, Carry], Float[Array, "..."]]:
        """Runs both directions over a batch of sequences.

        Args:
            xs: ``[*batch, T, D]``.
            carry: A pair of carries, forward and backward; None is the initial carry of the cell.
            lengths: Integers ``[*batch]``, the number of valid steps of each row; None means T.
            resets: bool ``[*batch, T]``, the first steps of segments, as in ``recurrent.bidirectional``.

        Returns:
            The pair of last carries, and the merged outputs.
        """
        xs = prepare_inputs(self.cell, xs, self.dtype)
        cell_params = lambda name: self.param(name, self.cell.init, main_input(xs).shape[-1])
        return bidirectional(
            (self.cell, self.cell),
            (cell_params("forward"), cell_params("backward")),
            xs,
            carry,
            merge=self.merge,
            lengths=lengths,
            resets=resets,
            method=self.method,
        )


class StackedRNN(nn.Module):
    """A stack of recurrent layers.

    The layers have the names ``layer_0``, ``layer_1``, ...

    Attributes:
        cell: The cell of every layer. The layers do not share parameters.
        num_layers: Number of layers.
        bidirectional: Whether the layers are bidirectional.
        merge: Combination of the directions of a bidirectional layer, as in ``BidirectionalRNN``.
        connect: Connections between layers: ``"plain"``, ``"residual"`` or ``"skip"``, as in ``recurrent.stacked``.
        dropout: Dropout rate between layers.
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
        xs: Any,
        carry: Any = None,
        *,
        lengths: Integer[ArrayLike, "..."] | Sequence[int] | None = None,
        resets: Bool[ArrayLike, "..."] | Sequence[Any] | None = None,
        train: bool = False,
    ) -> tuple[tuple[Any, ...], Float[Array, "..."]]:
        """Runs the layers over a batch of sequences.

        Args:
            xs: ``[*batch, T, D]``.
            carry: One carry per layer (a pair for a bidirectional layer); None is the initial carry of the cell.
            lengths: Integers ``[*batch]``, the number of valid steps of each row; None means T.
            resets: bool ``[*batch, T]``, steps that start from the initial carry, as in ``recurrent.scan``.
            train: Whether to apply dropout, which requires ``rngs={"dropout": key}``.

        Returns:
            The last carry of every layer, and the outputs ``[*batch, T, features]``.
        """
        check_depth(num_layers=self.num_layers)
        check_integer("num_layers", self.num_layers)

        def layer(name: str) -> Layer:
            if self.bidirectional:
                module: nn.Module = BidirectionalRNN(self.cell, self.merge, self.dtype, self.method, name=name)
            else:
                module = RNN(self.cell, dtype=self.dtype, method=self.method, name=name)
            return functools.partial(module, lengths=lengths, resets=resets)

        layers = [layer(f"layer_{i}") for i in range(self.num_layers)]
        key = self.make_rng("dropout") if train and self.dropout else None

        return stacked(layers, xs, carry, connect=self.connect, dropout=self.dropout, key=key)
