"""Gated recurrent units (Cho et al. 2014, arXiv:1406.1078; Chung et al. 2014, arXiv:1412.3555)."""

import jax
import jax.numpy as jnp

from jaxnets.ops.checks import check_integer
from jaxnets.recurrent.cell import Cell, chrono_bias, dense_carry, dense_gates, dense_init, match_rank
from jaxnets.recurrent.checking import cached


@cached
def gru(hidden_size: int, reset: str = "before", chrono_init: float = 0) -> Cell:
    r"""A gated recurrent unit.

    .. math::
        z &= \sigma(x_t U_z + h_{t-1} W_z + b_z) \\
        r &= \sigma(x_t U_r + h_{t-1} W_r + b_r) \\
        n &= \tanh(x_t U_n + (r \odot h_{t-1}) W_n + b_n) & \text{reset before the product} \\
        n &= \tanh(x_t U_n + r \odot (h_{t-1} W_n + c_n) + b_n) & \text{reset after the product} \\
        n &= \tanh(x_t U_n + h_{t-1} W_n + b_n) & \text{no reset} \\
        h_t &= (1 - z) \odot h_{t-1} + z \odot n

    The update gate z is the weight of the candidate n, as in Chung et al. 2014. In torch, Keras and flax it is the
    weight of the old state, so their z is 1 minus this z. cuDNN, torch, flax and Keras (by default) reset after the
    product, with two biases.

    Parameters, with blocks in the order z, r, n:

    - ``reset="before"``: ``input = {kernel [D, 3 H], bias [3 H]}``, ``recurrent = {gates [H, 2 H], candidate [H, H]}``;
    - ``reset="after"``: the same ``input``, ``recurrent = {kernel [H, 3 H]}``, ``recurrent_bias [3 H]`` (c);
    - ``reset="none"``: ``input = {kernel [D, 2 H], bias [2 H]}``, ``recurrent = {kernel [H, 2 H]}``, without block r.

    The carry and the output are h.

    Args:
        hidden_size: H, the number of hidden units.
        reset: Position of the reset gate: ``"before"`` or ``"after"`` the product, or ``"none"``.
        chrono_init: T, the longest initial memory in steps: :math:`b_z = -\log u`, u uniform in [1, T - 1] (Tallec and
            Ollivier 2018, arXiv:1804.11188). 0 initializes :math:`b_z` to zero.

    Returns:
        The cell.

    Raises:
        ValueError: ``hidden_size`` is not a positive integer, or ``reset`` is unknown.
    """
    check_integer("hidden_size", hidden_size)
    blocks = {"before": {"gates": 2, "candidate": 1}, "after": {"kernel": 3}, "none": {"kernel": 2}}
    if reset not in blocks:
        raise ValueError(f"`reset` must be before, after or none, got {reset!r}")
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
        az, ar, an = jnp.split(products + match_rank(rest["recurrent_bias"], products), 3, axis=-1)
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
    r"""A minimal gated unit (Zhou et al. 2016, arXiv:1603.09420), with one gate for both reset and update.

    .. math::
        f &= \sigma(x_t U_f + h_{t-1} W_f + b_f) \\
        n &= \tanh(x_t U_n + (f \odot h_{t-1}) W_n + b_n) \\
        h_t &= (1 - f) \odot h_{t-1} + f \odot n

    Parameters: ``input = {kernel [D, 2 H], bias [2 H]}`` in the order f, n; ``recurrent = {gate [H, H], candidate
    [H, H]}``. The carry and the output are h.

    Args:
        hidden_size: H, the number of hidden units.

    Returns:
        The cell.

    Raises:
        ValueError: ``hidden_size`` is not a positive integer.
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
