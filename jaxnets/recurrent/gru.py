"""The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078; Chung et al. 2014, arXiv:1412.3555)."""

import functools

import jax
import jax.numpy as jnp

from jaxnets.recurrent.cell import Cell, dense_gates, dense_init, zero_state


@functools.cache
def gru(hidden: int) -> Cell:
    r"""The GRU with its relevance (reset) gate before the product:

    .. math::
        z &= \sigma(x_t U_z + h_{t-1} W_z + b_z) \\
        r &= \sigma(x_t U_r + h_{t-1} W_r + b_r) \\
        n &= \tanh(x_t U_n + (r \odot h_{t-1}) W_n + b_n) \\
        h_t &= (1 - z) \odot h_{t-1} + z \odot n

    z says how much of the candidate n enters (Chung 2014); in torch, Keras and flax it says how much stays, so
    their z is 1 minus this one.

    Parameters: ``input = {kernel [D, 3 H], bias [3 H]}`` in the order z, r, n; ``recurrent = {gates [H, 2 H] (z, r),
    candidate [H, H]}``. The carry is h.

    Args:
        hidden: H, the number of hidden features.
    """

    def step(rest, h, u, dot):
        z, r = (jax.nn.sigmoid(a + b) for a, b in zip(u[:2], jnp.split(dot("gates", h), 2, axis=-1), strict=True))
        n = jnp.tanh(u[2] + dot("candidate", r * h))
        h = h + z * (n - h)
        return h, h

    return Cell(
        init=lambda key, features: dense_init(key, features, hidden, 3, {"gates": 2, "candidate": 1}),
        carry=lambda params, x: zero_state(x, hidden),
        project=lambda params, xs: dense_gates(params, xs, 3),
        step=step,
    )
