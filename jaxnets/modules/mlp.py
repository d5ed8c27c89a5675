"""``MLP``: a multilayer perceptron for rows of features."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.dropout import Dropout
from jaxnets.modules.perceptron import Layer, perceptron
from jaxnets.ops.activations import activation
from jaxnets.ops.checks import check_integer, check_lengths


class MLP(nn.Module):
    """A multilayer perceptron, ``modules.perceptron``.

    Parameters: ``layer_0``, ``layer_1``, ..., ``head``, each with ``kernel`` and ``bias``.

    Attributes:
        num_outputs: Numbers of an answer.
        hidden_sizes: Widths of the hidden layers; none: a linear model.
        activation: As in ``ops.activations``.
        dropout: Probability of dropping a unit of a hidden layer.
        dtype: Compute type; parameters and answers are float32.
    """

    num_outputs: int
    hidden_sizes: Sequence[int] = (128, 128)
    activation: str = "relu"
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, xs: jax.Array, *, train: bool = False) -> jax.Array:
        """From ``[B, ...]``, whose numbers are read as one row, to ``[B, outputs]``, float32.

        Dropout is on when ``train``; it needs ``rngs={"dropout": key}`` then.
        """
        check_integer("num_outputs", self.num_outputs)
        check_lengths(hidden_sizes=self.hidden_sizes)
        xs = xs.reshape(len(xs), -1)
        widths = (xs.shape[-1], *self.hidden_sizes, self.num_outputs)
        names = [*(f"layer_{i}" for i in range(len(self.hidden_sizes))), "head"]
        layers = [
            self.param(name, _layer, before, after)
            for name, before, after in zip(names, widths[:-1], widths[1:], strict=True)
        ]
        drop = Dropout(self.dropout, deterministic=not train)
        return perceptron(layers, xs, activation(self.activation), drop, self.dtype)


def _layer(key: jax.Array, before: int, after: int) -> Layer:
    kernel = nn.initializers.lecun_normal()(key, (before, after), jnp.float32)
    return {"kernel": kernel, "bias": jnp.zeros(after)}
