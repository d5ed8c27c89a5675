"""Multilayer perceptrons as pure functions of their parameters."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxnets.ops.array_types import Array, Float, Num
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.products import linear

Layer = dict[str, jax.Array]


def perceptron(
    layers: Sequence[Layer],
    xs: Num[Array, "*batch D"],
    activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
    dropout: Callable[[jax.Array], jax.Array] = lambda hs: hs,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*batch F"]:
    r"""Applies a multilayer perceptron (Rumelhart, Hinton and Williams 1986):

    .. math:: h_0 = x \qquad h_i = \mathrm{dropout}(f(h_{i-1} W_i + b_i)) \qquad y = h_{n-1} W_n + b_n

    Args:
        layers: For each layer a dict with ``kernel [D_i, D_{i+1}]`` and ``bias [D_{i+1}]``.
        xs: x, ``[..., D_0]``.
        activation: f, elementwise.
        dropout: A function that is applied to the output of each hidden layer.
        dtype: Compute type of hidden layers; the last layer is computed in float32 at least.

    Returns:
        ``[..., D_n]``, float32, or float64 if ``dtype`` is float64.
    """
    *hidden_layers, last = layers
    for layer in hidden_layers:
        xs = dropout(activation(_dense(layer, xs, dtype)))
    return _dense(last, xs, at_least_float32(dtype))


def _dense(layer: Layer, xs: jax.Array, dtype: DTypeLike) -> jax.Array:
    ys = linear(jnp.asarray(xs, dtype), layer["kernel"].astype(dtype))
    return ys + jnp.broadcast_to(layer["bias"].astype(dtype), ys.shape)
