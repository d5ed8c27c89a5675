"""Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers, Schmidhuber and Cummins 2000)."""

import functools

import jax
import jax.numpy as jnp

from jaxnets.recurrent.cell import Cell, dense_gates, dense_init, zero_state


@functools.cache
def lstm(hidden: int, forget_bias: float = 1.0) -> Cell:
    r"""The LSTM with a forget gate:

    .. math::
        i, f, o &= \sigma(x_t U_{i,f,o} + h_{t-1} W_{i,f,o} + b_{i,f,o}) \\
        g &= \tanh(x_t U_g + h_{t-1} W_g + b_g) \\
        c_t &= f \odot c_{t-1} + i \odot g \\
        h_t &= o \odot \tanh(c_t)

    Parameters: ``input = {kernel [D, 4 H], bias [4 H]}``, ``recurrent = {kernel [H, 4 H]}``, in the order i, f, g, o.
    The carry is (h, c).

    Args:
        hidden: H, the number of hidden features.
        forget_bias: Initial bias of the forget gate; 1 lets a new network remember (Jozefowicz et al. 2015).
    """

    def init(key, features):
        bias = jnp.zeros((4, hidden)).at[1].set(forget_bias).reshape(-1)
        return dense_init(key, features, hidden, 4, {"kernel": 4}, bias)

    def step(rest, carry, u, dot):
        h, c = carry
        i, f, g, o = (a + b for a, b in zip(u, jnp.split(dot("kernel", h), 4, axis=-1), strict=True))
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return Cell(
        init=init,
        carry=lambda params, x: (zero_state(x, hidden),) * 2,
        project=lambda params, xs: dense_gates(params, xs, 4),
        step=step,
    )
