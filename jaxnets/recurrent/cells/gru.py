"""Gated recurrent units (Cho et al. 2014, arXiv:1406.1078; Chung et al. 2014, arXiv:1412.3555) and the minimal one."""

import jax
import jax.numpy as jnp

from jaxnets.ops.checks import check_integer
from jaxnets.recurrent.cell import Cell, along, chrono_bias, dense_carry, dense_gates, dense_init
from jaxnets.recurrent.checking import cached


@cached
def gru(hidden_size: int, reset: str = "before", chrono_init: float = 0) -> Cell:
    r"""The GRU, by where its reset (relevance) gate stands:

    .. math::
        z &= \sigma(x_t U_z + h_{t-1} W_z + b_z) \\
        r &= \sigma(x_t U_r + h_{t-1} W_r + b_r) \\
        n &= \tanh(x_t U_n + (r \odot h_{t-1}) W_n + b_n) & \text{before the product} \\
        n &= \tanh(x_t U_n + r \odot (h_{t-1} W_n + c_n) + b_n) & \text{after the product} \\
        n &= \tanh(x_t U_n + h_{t-1} W_n + b_n) & \text{none} \\
        h_t &= (1 - z) \odot h_{t-1} + z \odot n

    z says how much of the candidate n enters (Chung 2014); in torch, Keras and flax it says how much stays, so
    their z is 1 minus this one. "after" is the variant of cuDNN, torch, flax and Keras, with two biases.

    Parameters: ``input = {kernel [D, 3 H], bias [3 H]}`` in the order z, r, n (``none``: 2 H, z, n).
    before: ``recurrent = {gates [H, 2 H] (z, r), candidate [H, H]}``; after: ``recurrent = {kernel [H, 3 H]}`` and
    ``recurrent_bias [3 H]``; none: ``recurrent = {kernel [H, 2 H]}``. The carry is h.

    Args:
        hidden_size: H, the number of hidden features.
        reset: ``"before"``, ``"after"`` or ``"none"``.
        chrono_init: Longest time, in steps, that units begin with: :math:`b_z = -\log u`, u uniform from 1 to T - 1
            (Tallec and Ollivier 2018, arXiv:1804.11188); 0: off.

    Raises:
        ValueError: ``reset`` is none of these.
    """
    check_integer("hidden_size", hidden_size)
    blocks = {"before": {"gates": 2, "candidate": 1}, "after": {"kernel": 3}, "none": {"kernel": 2}}
    if reset not in blocks:
        raise ValueError(f"reset: before, after or none; given {reset!r}")
    gates = 2 if reset == "none" else 3

    def init(key, features):
        bias = jnp.zeros(gates * hidden_size, jnp.float32)
        if chrono_init:
            bias = bias.at[:hidden_size].set(-chrono_bias(key, chrono_init, hidden_size))
        params = dense_init(key, features, hidden_size, gates, blocks[reset], bias)
        return {**params, "recurrent_bias": jnp.zeros(3 * hidden_size, jnp.float32)} if reset == "after" else params

    def before(rest, h, u, dot):
        z, r = (jax.nn.sigmoid(a + b) for a, b in zip(u[:2], jnp.split(dot("gates", h), 2, axis=-1), strict=True))
        return z, jnp.tanh(u[2] + dot("candidate", r * h))

    def after(rest, h, u, dot):
        products = dot("kernel", h)
        az, ar, an = jnp.split(products + along(rest["recurrent_bias"], products), 3, axis=-1)
        return jax.nn.sigmoid(u[0] + az), jnp.tanh(u[2] + jax.nn.sigmoid(u[1] + ar) * an)

    def none(rest, h, u, dot):
        az, an = jnp.split(dot("kernel", h), 2, axis=-1)
        return jax.nn.sigmoid(u[0] + az), jnp.tanh(u[1] + an)

    gate_and_candidate = {"before": before, "after": after, "none": none}[reset]

    def step(rest, h, u, dot):
        z, n = gate_and_candidate(rest, h, u, dot)
        h = h + z * (n - h)
        return h, h

    return Cell(
        init=init,
        carry=dense_carry(hidden_size, gates),
        project=lambda params, xs: dense_gates(params, xs, gates),
        step=step,
    )


@cached
def mgu(hidden_size: int) -> Cell:
    r"""The minimal gated unit (Zhou et al. 2016, arXiv:1603.09420): one gate both resets and updates.

    .. math::
        f &= \sigma(x_t U_f + h_{t-1} W_f + b_f) \\
        n &= \tanh(x_t U_n + (f \odot h_{t-1}) W_n + b_n) \\
        h_t &= (1 - f) \odot h_{t-1} + f \odot n

    Parameters: ``input = {kernel [D, 2 H], bias [2 H]}`` in the order f, n; ``recurrent = {gate [H, H], candidate
    [H, H]}``. The carry is h.

    Args:
        hidden_size: H, the number of hidden features.
    """
    check_integer("hidden_size", hidden_size)

    def step(rest, h, u, dot):
        f = jax.nn.sigmoid(u[0] + dot("gate", h))
        h = h + f * (jnp.tanh(u[1] + dot("candidate", f * h)) - h)
        return h, h

    return Cell(
        init=lambda key, features: dense_init(key, features, hidden_size, 2, {"gate": 1, "candidate": 1}),
        carry=dense_carry(hidden_size, 2),
        project=lambda params, xs: dense_gates(params, xs, 2),
        step=step,
    )
