"""Deep sets: an MLP for elements, pooling, and an MLP for the set (Zaheer et al. 2017, arXiv:1703.06114)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.dense import Dense
from jaxnets.modules.embed import Embed
from jaxnets.ops.activations import activation
from jaxnets.ops.array_types import Array, Float, Num
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
from jaxnets.sets.pooling import get_pool
from jaxnets.sets.streaming import FOLDS


class DeepSets(nn.Module):
    r"""A permutation-invariant function of a set:

    .. math:: y = \rho\left(\mathrm{pool}_i\, \phi(x_i)\right)

    Attributes:
        num_outputs: Number of outputs.
        phi: Layer sizes of phi.
        rho: Sizes of the hidden layers of rho, which ends with a linear layer.
        pooling: ``"sum"``, ``"mean"``, ``"max"``, ``"min"`` or ``"median"``.
        activation: Name of the activation function after each layer, see ``ops.activations``.
        vocab_size: Size of the vocabulary for elements that are token ids ``[*batch, N]``, which are embedded; 0:
            elements are vectors.
        dropout: Dropout probability of the hidden units of rho.
        softmax: Whether to apply a softmax to the outputs.
        dtype: Compute type; parameters, pooling and outputs are float32.
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
        self.pool, self.activate = get_pool(self.pooling), activation(self.activation)
        dense = lambda size, name: Dense(size, dtype=self.dtype, name=name)
        sizes = list(self.phi)
        if self.vocab_size:
            self.embed = Embed(self.vocab_size, sizes.pop(0), self.dtype)
        self.elementwise_layers = [dense(size, f"elementwise_{i}") for i, size in enumerate(sizes)]
        self.whole_layers = [dense(size, f"whole_{i}") for i, size in enumerate(self.rho)]
        self.drop, self.head = nn.Dropout(self.dropout), nn.Dense(self.num_outputs, dtype=output_dtype(self.dtype))

    def __call__(
        self, xs: Num[Array, "..."], valid: Validity = None, *, train: bool = False
    ) -> Float[Array, "*sets outputs"]:
        """Applies the model to sets.

        Args:
            xs: Elements ``[*batch, N, D]``, or token ids ``[*batch, N]``.
            valid: A mask ``[*batch, N]``, ``Segments`` or None.
            train: Whether to apply dropout, which needs ``rngs={"dropout": key}``.

        Returns:
            ``[*batch, num_outputs]``, float32.
        """
        return self.decode((self.pool(self._elements(xs, valid), valid),), train=train)

    def num_passes(self) -> int:
        """Returns the number of passes of ``apply_in_chunks`` over the set."""
        if self.pooling not in FOLDS:
            raise ValueError(
                f"`pooling` must be one of {', '.join(FOLDS)} for sets in chunks, got {self.pooling!r}, "
                "which needs the whole set"
            )
        return 1

    def update(self, carry: Any, xs: jax.Array, valid: Validity, summaries: tuple) -> Any:
        """Updates the carry of the pooling with one more chunk; the initial carry is None."""
        ys = self._elements(xs, valid)
        fold = FOLDS[self.pooling]
        return fold.update(fold.init(ys, valid) if carry is None else carry, ys, valid)

    def finalize(self, carry: Any, summaries: tuple) -> jax.Array:
        """Returns the pooled elements."""
        return FOLDS[self.pooling].result(carry)

    def decode(self, summaries: tuple[jax.Array], *, train: bool = False) -> jax.Array:
        """Computes the outputs from the pooled elements."""
        (ys,) = summaries
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
    r"""A permutation-equivariant layer:

    .. math:: y_i = \phi(x_i \Gamma + \mathrm{pool}_j(x_j)\, \Lambda + b)

    Parameters: ``own`` with ``kernel`` and ``bias``, ``pooled`` with ``kernel``.

    Attributes:
        width: Number of output features.
        pooling: As in ``DeepSets``; ``"max"`` in the experiments of the paper.
        activation: As in ``DeepSets``.
        dtype: Compute type.
    """

    width: int
    pooling: str = "max"
    activation: str = "tanh"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, xs: Float[Array, "*batch N D"], valid: Validity = None) -> Float[Array, "*batch N F"]:
        """Maps elements ``[*batch, N, D]`` to ``[*batch, N, width]``, zeros where not valid."""
        valid = check_valid(xs, valid)
        xs = where_valid(xs, valid)
        pooled = get_pool(self.pooling)(xs, valid)
        own = Dense(self.width, dtype=self.dtype, name="own")(xs)
        shared = nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="pooled")(pooled)
        return where_valid(activation(self.activation)(own + broadcast_to_elements(shared, valid)), valid)


class EquivariantDeepSets(nn.Module):
    """A permutation-equivariant model of equivariant layers and a final linear layer.

    Attributes:
        num_outputs: Number of outputs of each element.
        widths: Sizes of the equivariant layers.
        pooling, activation, dtype: As in ``EquivariantLayer``.
    """

    num_outputs: int
    widths: Sequence[int] = (128, 128)
    pooling: str = "mean"
    activation: str = "relu"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, xs: Float[Array, "*batch N D"], valid: Validity = None, *, train: bool = False
    ) -> Float[Array, "*batch N outputs"]:
        """Maps elements ``[*batch, N, D]`` to ``[*batch, N, num_outputs]``, float32, zeros where not valid."""
        del train  # there is no dropout
        check_layer_sizes(widths=self.widths)
        for i, width in enumerate(self.widths):
            xs = EquivariantLayer(width, self.pooling, self.activation, self.dtype, name=f"layer_{i}")(xs, valid)
        ys = Dense(self.num_outputs, dtype=output_dtype(self.dtype), name="head")(xs)
        return where_valid(ys, check_valid(xs, valid))
