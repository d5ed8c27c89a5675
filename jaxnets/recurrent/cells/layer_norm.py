"""Recurrent cells with layer normalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450)."""

import chex
import jax
import jax.numpy as jnp

from jaxnets.ops.checks import check_integer
from jaxnets.ops.norms import standardize
from jaxnets.recurrent.cell import Cell, Params, flatten_rows, match_rank, matmul
from jaxnets.recurrent.cells.gru import gru
from jaxnets.recurrent.cells.lstm import lstm
from jaxnets.recurrent.checking import cached

EPSILON = 1e-6


def layer_norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    """Computes ``(x - mean) / sqrt(variance + 1e-6) * scale`` over the last axis, in float32 or wider."""
    chex.assert_shape(scale, x.shape[-1:])
    return standardize(x, EPSILON) * match_rank(scale, x)


def _normalized_gates(params: Params, xs: jax.Array, gates: int) -> tuple[jax.Array, ...]:
    products = layer_norm(matmul(params["kernel"], flatten_rows(xs)), params["scale"]) + params["bias"][None]
    return tuple(a.reshape(*xs.shape[:-1], a.shape[-1]) for a in jnp.split(products, gates, axis=-1))


@cached
def layer_norm_lstm(hidden_size: int, forget_bias: float = 1.0) -> Cell:
    r"""An LSTM with layer normalization of its products and its cell state (equations 20 to 22 of the paper).

    .. math::
        (i, f, g, o) &= \mathrm{LN}(x_t U; \alpha_1) + \mathrm{LN}(h_{t-1} W; \alpha_2) + b \\
        c_t &= \sigma(f) \odot c_{t-1} + \sigma(i) \odot \tanh(g) \\
        h_t &= \sigma(o) \odot \tanh(\mathrm{LN}(c_t; \alpha_3) + \beta_3)

    LN normalizes all 4 H features of a product together.

    Parameters: those of ``lstm``, ``scale [4 H]`` (:math:`\alpha_1`) in ``input``, ``recurrent_scale [4 H]``
    (:math:`\alpha_2`), ``state_scale [H]`` (:math:`\alpha_3`) and ``state_bias [H]`` (:math:`\beta_3`). The carry is
    (h, c), the output h.

    Args:
        hidden_size: H, the number of hidden units.
        forget_bias: Initial bias of the forget gate.

    Returns:
        The cell.

    Raises:
        ValueError: ``hidden_size`` is not a positive integer.
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
        h = jax.nn.sigmoid(o) * jnp.tanh(layer_norm(c, rest["state_scale"]) + match_rank(rest["state_bias"], c))
        return (h, c), h

    return plain._replace(init=init, project=lambda params, xs: _normalized_gates(params, xs, 4), step=step)


@cached
def layer_norm_gru(hidden_size: int) -> Cell:
    r"""A GRU with the reset after the product, and with layer normalization of its products.

    .. math::
        (a_z, a_r, a_n) = \mathrm{LN}(x_t U; \alpha_1) + b, \quad
        (d_z, d_r, d_n) = \mathrm{LN}(h_{t-1} W; \alpha_2)

    .. math::
        z = \sigma(a_z + d_z), \quad r = \sigma(a_r + d_r), \quad n = \tanh(a_n + r \odot d_n), \quad
        h_t = (1 - z) \odot h_{t-1} + z \odot n

    LN normalizes all 3 H features of a product together.

    Parameters: ``input = {kernel [D, 3 H], scale [3 H], bias [3 H]}``, ``recurrent = {kernel [H, 3 H]}``,
    ``recurrent_scale [3 H]``. The carry and the output are h.

    Args:
        hidden_size: H, the number of hidden units.

    Returns:
        The cell.

    Raises:
        ValueError: ``hidden_size`` is not a positive integer.
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

    return plain._replace(init=init, project=lambda params, xs: _normalized_gates(params, xs, 3), step=step)
