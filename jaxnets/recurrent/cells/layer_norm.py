"""Recurrent cells with layer normalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450)."""

import chex
import jax
import jax.numpy as jnp

from jaxnets.ops.checks import check_integer
from jaxnets.ops.norms import standardize
from jaxnets.recurrent.cell import Cell, Params, along, joined_rows, matmul
from jaxnets.recurrent.cells.gru import gru
from jaxnets.recurrent.cells.lstm import lstm
from jaxnets.recurrent.checking import cached

EPSILON = 1e-6


def layer_norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    """``(x - mean) / sqrt(variance + 1e-6) * scale`` over the last axis, in float32 at least."""
    chex.assert_shape(scale, x.shape[-1:])
    return standardize(x, EPSILON) * along(scale, x)


def _normed_gates(params: Params, xs: jax.Array, gates: int) -> tuple[jax.Array, ...]:
    products = layer_norm(matmul(params["kernel"], joined_rows(xs)), params["scale"]) + params["bias"][None]
    return tuple(a.reshape(*xs.shape[:-1], a.shape[-1]) for a in jnp.split(products, gates, axis=-1))


@cached
def layer_norm_lstm(hidden_size: int, forget_bias: float = 1.0) -> Cell:
    r"""The LSTM with its products and its cell state normalized (equations 20 to 22 of the paper):

    .. math::
        (i, f, g, o) &= \mathrm{LN}(x_t U; \alpha_1) + \mathrm{LN}(h_{t-1} W; \alpha_2) + b \\
        c_t &= \sigma(f) \odot c_{t-1} + \sigma(i) \odot \tanh(g) \\
        h_t &= \sigma(o) \odot \tanh(\mathrm{LN}(c_t; \alpha_3) + \beta_3)

    LN normalizes over all 4 H features of a product at once. Parameters: as ``lstm``, and ``scale [4 H]`` in
    ``input``, ``recurrent_scale [4 H]``, ``state_scale [H]``, ``state_bias [H]``. The carry is (h, c).

    Args:
        hidden_size: H, the number of hidden features.
        forget_bias: Initial bias of the forget gate.
    """
    check_integer("hidden_size", hidden_size)
    plain = lstm(hidden_size, forget_bias)

    def init(key, features):
        params = plain.init(key, features)
        return {
            **params,
            "input": {**params["input"], "scale": jnp.ones(4 * hidden_size, jnp.float32)},
            "recurrent_scale": jnp.ones(4 * hidden_size, jnp.float32),
            "state_scale": jnp.ones(hidden_size, jnp.float32),
            "state_bias": jnp.zeros(hidden_size, jnp.float32),
        }

    def step(rest, carry, u, dot):
        h, c = carry
        products = layer_norm(dot("kernel", h), rest["recurrent_scale"])
        i, f, g, o = (a + b for a, b in zip(u, jnp.split(products, 4, axis=-1), strict=True))
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(layer_norm(c, rest["state_scale"]) + along(rest["state_bias"], c))
        return (h, c), h

    return plain._replace(init=init, project=lambda params, xs: _normed_gates(params, xs, 4), step=step)


@cached
def layer_norm_gru(hidden_size: int) -> Cell:
    r"""The GRU (reset after the product) with its products normalized:

    .. math::
        (a_z, a_r, a_n) = \mathrm{LN}(x_t U; \alpha_1) + b, \quad
        (d_z, d_r, d_n) = \mathrm{LN}(h_{t-1} W; \alpha_2)

    .. math::
        z = \sigma(a_z + d_z), \quad r = \sigma(a_r + d_r), \quad n = \tanh(a_n + r \odot d_n), \quad
        h_t = (1 - z) \odot h_{t-1} + z \odot n

    LN normalizes over all 3 H features of a product at once. Parameters: ``input = {kernel, scale, bias}`` of 3 H,
    ``recurrent = {kernel [H, 3 H]}``, ``recurrent_scale [3 H]``. The carry is h.

    Args:
        hidden_size: H, the number of hidden features.
    """
    check_integer("hidden_size", hidden_size)
    plain = gru(hidden_size, "after")

    def init(key, features):
        params = plain.init(key, features)
        return {
            "input": {**params["input"], "scale": jnp.ones(3 * hidden_size, jnp.float32)},
            "recurrent": params["recurrent"],
            "recurrent_scale": jnp.ones(3 * hidden_size, jnp.float32),
        }

    def step(rest, h, u, dot):
        az, ar, an = jnp.split(layer_norm(dot("kernel", h), rest["recurrent_scale"]), 3, axis=-1)
        n = jnp.tanh(u[2] + jax.nn.sigmoid(u[1] + ar) * an)
        h = h + jax.nn.sigmoid(u[0] + az) * (n - h)
        return h, h

    return plain._replace(init=init, project=lambda params, xs: _normed_gates(params, xs, 3), step=step)
