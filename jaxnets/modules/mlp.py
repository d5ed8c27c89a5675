"""A multilayer perceptron as a Linen module."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.dropout import Dropout
from jaxnets.modules.perceptron import Layer, perceptron
from jaxnets.ops.activations import activation
from jaxnets.ops.array_types import Array, Float, Num
from jaxnets.ops.checks import check_integer, check_layer_sizes


class MLP(nn.Module):
    """A multilayer perceptron for vectors; see ``modules.perceptron``.

    Parameters: ``layer_0``, ``layer_1``, ..., ``head``, each with ``kernel`` and ``bias``.

    Attributes:
        num_outputs: Number of outputs.
        hidden_sizes: Sizes of the hidden layers; empty: a linear model.
        activation: Name of an activation function, see ``ops.activations``.
        dropout: Dropout probability of hidden units.
        dtype: Compute type; parameters and outputs are float32.
    """

    num_outputs: int
    hidden_sizes: Sequence[int] = (128, 128)
    activation: str = "relu"
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, xs: Num[Array, "B ..."], *, train: bool = False) -> Float[Array, "B outputs"]:
        """Applies the network to flattened rows.

        Args:
            xs: ``[B, ...]``; all axes but the first are flattened.
            train: Whether to apply dropout, which needs ``rngs={"dropout": key}``.

        Returns:
            ``[B, num_outputs]``, float32.
        """
        check_integer("num_outputs", self.num_outputs)
        check_layer_sizes(hidden_sizes=self.hidden_sizes)
        xs = xs.reshape(len(xs), -1)
        sizes = (xs.shape[-1], *self.hidden_sizes, self.num_outputs)
        names = [*(f"layer_{i}" for i in range(len(self.hidden_sizes))), "head"]
        layers = [
            self.param(name, _init_layer, in_size, out_size)
            for name, in_size, out_size in zip(names, sizes[:-1], sizes[1:], strict=True)
        ]
        dropout = Dropout(self.dropout, deterministic=not train)
        return perceptron(layers, xs, activation(self.activation), dropout, self.dtype)


def _init_layer(key: jax.Array, in_size: int, out_size: int) -> Layer:
    kernel = nn.initializers.lecun_normal()(key, (in_size, out_size), jnp.float32)
    return {"kernel": kernel, "bias": jnp.zeros(out_size, jnp.float32)}
