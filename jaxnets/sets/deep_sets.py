"""``DeepSets``: an elementwise network, pooling, and a network of the whole (Zaheer et al. 2017, arXiv:1703.06114)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.dense import Dense
from jaxnets.modules.embed import Embed
from jaxnets.ops.activations import activation
from jaxnets.ops.checks import check_layer_sizes
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.set_reductions import (
    Validity,
    broadcast_to_elements,
    check_valid,
    output_dtype,
    valid_mask,
    where_valid,
)
from jaxnets.sets.pooling import pool_of
from jaxnets.sets.streaming import FOLDS


class DeepSets(nn.Module):
    r"""An invariant function of a set:

    .. math:: y = \rho\left(\mathrm{pool}_i\, \phi(x_i)\right)

    Attributes:
        num_outputs: Numbers of an answer.
        phi: Widths of the layers of phi.
        rho: Widths of the layers of rho, before a linear one.
        pooling: ``"sum"``, ``"mean"``, ``"max"``, ``"min"`` or ``"median"``.
        activation: As in ``ops.activations``, after each layer.
        vocab_size: How many kinds of element there are, where elements are integers ``[*batch, N]`` to be embedded;
            0: they are vectors.
        dropout: Probability of dropping an element between the layers of rho.
        softmax: Whether answers are parts of 1 (a softmax).
        dtype: Compute type; parameters, pooling and answers are float32.
    """

    num_outputs: int
    phi: Sequence[int] = (128, 128)
    rho: Sequence[int] = (128,)
    pooling: str = "sum"
    activation: str = "relu"
    vocab_size: int = 0
    dropout: float = 0.0
    softmax: bool = False
    dtype: Dtype = jnp.float32

    def setup(self):
        check_layer_sizes(phi=self.phi, rho=self.rho)
        self.pool, self.activate = pool_of(self.pooling), activation(self.activation)
        dense = lambda width, name: Dense(width, dtype=self.dtype, name=name)
        widths = list(self.phi)
        if self.vocab_size:
            self.embed = Embed(self.vocab_size, widths.pop(0), self.dtype)
        self.elementwise_layers = [dense(width, f"elementwise_{i}") for i, width in enumerate(widths)]
        self.whole_layers = [dense(width, f"whole_{i}") for i, width in enumerate(self.rho)]
        self.drop, self.head = nn.Dropout(self.dropout), nn.Dense(self.num_outputs, dtype=output_dtype(self.dtype))

    def __call__(self, xs: jax.Array, valid: Validity = None, *, train: bool = False) -> jax.Array:
        """From ``[*batch, N, D]`` to ``[*batch, outputs]``, float32.

        Dropout is on when ``train``; it needs ``rngs={"dropout": key}`` then.
        """
        return self.answer((self.pool(self._elements(xs, valid), valid),), train=train)

    def passes(self) -> int:
        """How often ``apply_in_chunks`` reads the set."""
        if self.pooling not in FOLDS:
            raise ValueError(
                f"`pooling` must be one of {', '.join(FOLDS)} to go chunk by chunk, got {self.pooling!r}, "
                "which needs all of a set at once"
            )
        return 1

    def update(self, carry: Any, xs: jax.Array, valid: Validity, seen: tuple) -> Any:
        """The carry of the pooling after one more chunk; None is before the first one."""
        ys = self._elements(xs, valid)
        fold = FOLDS[self.pooling]
        return fold.add(fold.start(ys, valid) if carry is None else carry, ys, valid)

    def finish(self, carry: Any, seen: tuple) -> jax.Array:
        """What was pooled."""
        return FOLDS[self.pooling].result(carry)

    def answer(self, seen: tuple[jax.Array], *, train: bool = False) -> jax.Array:
        """Of what was pooled."""
        (ys,) = seen
        for layer in self.whole_layers:
            ys = self.drop(self.activate(layer(ys)), deterministic=not train)
        ys = self.head(ys)
        return nn.softmax(ys) if self.softmax else ys

    def _elements(self, xs, valid):
        if self.vocab_size:
            elements: Any = jax.ShapeDtypeStruct((*xs.shape, 1), self.dtype)
            valid = None if valid is None else valid_mask(check_valid(elements, valid))
            xs = self.embed(xs, argument="xs", valid=valid)
        xs = where_valid(xs, check_valid(xs, valid))
        for layer in self.elementwise_layers:
            xs = self.activate(layer(xs))
        return xs.astype(at_least_float32(xs.dtype))


class EquivariantLayer(nn.Module):
    r"""A layer whose outputs are permuted as its inputs are:

    .. math:: y_i = \phi(x_i \Gamma + \mathrm{pool}_j(x_j)\, \Lambda + b)

    Parameters: ``own`` with ``kernel`` and ``bias``, ``pooled`` with ``kernel``.

    Attributes:
        width: Features of an output.
        pooling: As in ``DeepSets``; ``"max"`` in the paper's experiments.
        activation: As in ``DeepSets``.
        dtype: Compute type.
    """

    width: int
    pooling: str = "max"
    activation: str = "tanh"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, xs: jax.Array, valid: Validity = None) -> jax.Array:
        """From ``[*batch, N, D]`` to ``[*batch, N, width]``, zeros where not real."""
        valid = check_valid(xs, valid)
        xs = where_valid(xs, valid)
        pooled = pool_of(self.pooling)(xs, valid)
        own = Dense(self.width, dtype=self.dtype, name="own")(xs)
        shared = nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="pooled")(pooled)
        return where_valid(activation(self.activation)(own + broadcast_to_elements(shared, valid)), valid)


class EquivariantDeepSets(nn.Module):
    """An answer for every element: equivariant layers, one after the other, and a linear one.

    Attributes:
        num_outputs: Numbers of an answer.
        widths: Of the layers.
        pooling, activation, dtype: As in ``EquivariantLayer``.
    """

    num_outputs: int
    widths: Sequence[int] = (128, 128)
    pooling: str = "mean"
    activation: str = "relu"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, xs: jax.Array, valid: Validity = None, *, train: bool = False) -> jax.Array:
        """From ``[*batch, N, D]`` to ``[*batch, N, outputs]``, float32, zeros where not real."""
        del train  # it has no dropout
        check_layer_sizes(widths=self.widths)
        for i, width in enumerate(self.widths):
            xs = EquivariantLayer(width, self.pooling, self.activation, self.dtype, name=f"layer_{i}")(xs, valid)
        ys = Dense(self.num_outputs, dtype=output_dtype(self.dtype), name="head")(xs)
        return where_valid(ys, check_valid(xs, valid))
