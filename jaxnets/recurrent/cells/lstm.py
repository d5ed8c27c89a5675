"""Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers, Schmidhuber and Cummins 2000)."""

import functools

import jax
import jax.numpy as jnp

from jaxnets.ops.checks import check_integer
from jaxnets.recurrent.cell import Cell, check_width, chrono_bias, dense_gates, dense_init, match_rank, zero_state
from jaxnets.recurrent.checking import cached

# The functions of a plain LSTM are module-level objects, so that the cuDNN executor can recognize them.
lstm_project = functools.partial(dense_gates, gates=4)
coupled_project = functools.partial(dense_gates, gates=3)


def lstm_step(rest, carry, u, dot):
    """Computes the step of an LSTM; with three gates in ``u``, the input gate is coupled to the forget gate."""
    h, c = carry
    *i, f, g, o = (a + b for a, b in zip(u, jnp.split(dot("kernel", h), len(u), axis=-1), strict=True))
    f = jax.nn.sigmoid(f)
    c = f * c + (jax.nn.sigmoid(i[0]) if i else 1 - f) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


@cached
def lstm(
    hidden_size: int, forget_bias: float = 1.0, proj_size: int = 0, coupled: bool = False, chrono_init: float = 0
) -> Cell:
    r"""A long short-term memory cell with a forget gate.

    .. math::
        i, f, o &= \sigma(x_t U_{i,f,o} + h_{t-1} W_{i,f,o} + b_{i,f,o}) \\
        g &= \tanh(x_t U_g + h_{t-1} W_g + b_g) \\
        c_t &= f \odot c_{t-1} + i \odot g \\
        h_t &= o \odot \tanh(c_t)

    Parameters: ``input = {kernel [D, 4 H], bias [4 H]}``, ``recurrent = {kernel [H, 4 H]}``, in the order i, f, g, o.
    The carry is (h, c), the output h.

    Args:
        hidden_size: H, the number of hidden units.
        forget_bias: Initial bias of the forget gate. A bias of 1 lets an untrained network remember (Jozefowicz et al.
            2015).
        proj_size: P, the number of features of h. If positive, :math:`h_t = (o \odot \tanh(c_t)) W_p` (Sak et al. 2014,
            arXiv:1402.1128), and ``recurrent = {kernel [P, 4 H], projection [H, P]}`` with :math:`W_p` the projection.
            0 disables the projection.
        coupled: Whether :math:`i = 1 - f` (Greff et al. 2017, arXiv:1503.04069). The kernels and the bias then have no
            block i and a width of 3 H.
        chrono_init: T, the longest initial memory in steps, which replaces ``forget_bias``: :math:`b_f = \log u`,
            :math:`b_i = -b_f`, u uniform in [1, T - 1] (Tallec and Ollivier 2018, arXiv:1804.11188). 0 disables it.

    Returns:
        The cell.

    Raises:
        ValueError: ``hidden_size`` is not a positive integer, or ``proj_size`` is negative.
    """
    check_integer("hidden_size", hidden_size)
    check_integer("proj_size", proj_size, minimum=0)
    gates = 3 if coupled else 4

    def init(key, features):
        forget = (
            chrono_bias(key, chrono_init, hidden_size)
            if chrono_init
            else jnp.full(hidden_size, forget_bias, jnp.float32)
        )
        bias = jnp.zeros((gates, hidden_size), jnp.float32).at[gates - 3].set(forget)
        if chrono_init and not coupled:
            bias = bias.at[0].set(-forget)
        params = dense_init(key, features, hidden_size, gates, {"kernel": gates}, bias.reshape(-1))
        if proj_size:
            first, second = jax.random.split(jax.random.fold_in(key, 1))
            glorot = jax.nn.initializers.glorot_uniform()
            kernel = [glorot(k, (proj_size, hidden_size), jnp.float32) for k in jax.random.split(first, gates)]
            params["recurrent"] = {
                "kernel": jnp.concatenate(kernel, axis=-1),
                "projection": glorot(second, (hidden_size, proj_size), jnp.float32),
            }
        return params

    def carry(params, x):
        check_width(params, gates * hidden_size)
        return zero_state(x, proj_size or hidden_size), zero_state(x, hidden_size)

    def step(rest, carry, u, dot):
        (h, c), _ = lstm_step(rest, carry, u, dot)
        if proj_size:
            h = dot("projection", h)
        return (h, c), h

    project = coupled_project if coupled else lstm_project
    return Cell(init=init, carry=carry, project=project, step=step if proj_size else lstm_step)


@cached
def peephole_lstm(hidden_size: int, forget_bias: float = 1.0) -> Cell:
    r"""An LSTM with peephole connections from the cell state to the gates (Gers et al. 2002, JMLR 3).

    .. math::
        i, f &= \sigma(x_t U_{i,f} + h_{t-1} W_{i,f} + p_{i,f} \odot c_{t-1} + b_{i,f}) \\
        c_t &= f \odot c_{t-1} + i \odot \tanh(x_t U_g + h_{t-1} W_g + b_g) \\
        o &= \sigma(x_t U_o + h_{t-1} W_o + p_o \odot c_t + b_o) \\
        h_t &= o \odot \tanh(c_t)

    Parameters: those of ``lstm``, and ``peephole [3, H]`` in the order i, f, o, initialized to zero. The carry is
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

    def step(rest, carry, u, dot):
        h, c = carry
        pi, pf, po = (match_rank(p, c) for p in rest["peephole"])
        i, f, g, o = (a + b for a, b in zip(u, jnp.split(dot("kernel", h), 4, axis=-1), strict=True))
        c, before = jax.nn.sigmoid(f + pf * c) * c, c
        c = c + jax.nn.sigmoid(i + pi * before) * jnp.tanh(g)
        h = jax.nn.sigmoid(o + po * c) * jnp.tanh(c)
        return (h, c), h

    init = lambda key, features: {**plain.init(key, features), "peephole": jnp.zeros((3, hidden_size), jnp.float32)}
    return plain._replace(init=init, step=step)
