"""Cells that are linear in their state, with gates that depend on the input alone."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.checks import check_integer
from jaxnets.recurrent.cell import (
    Cell,
    LinearStep,
    check_width,
    dense_carry,
    dense_gates,
    dense_init,
    flatten_rows,
    matmul,
    zero_state,
)
from jaxnets.recurrent.checking import cached


@cached
def min_gru(hidden_size: int) -> Cell:
    r"""A minGRU cell (Feng et al. 2024, "Were RNNs all we needed?", arXiv:2410.01201).

    .. math::
        z = \sigma(x_t U_z + b_z), \quad n = x_t U_n + b_n, \quad h_t = (1 - z) \odot h_{t-1} + z \odot n

    Parameters: ``input = {kernel [D, 2 H], bias [2 H]}`` in the order z, n; no recurrent weight. The carry and the
    output are h.

    Args:
        hidden_size: H, the number of hidden units.

    Returns:
        The cell.

    Raises:
        ValueError: ``hidden_size`` is not a positive integer.
    """
    check_integer("hidden_size", hidden_size)

    def coefficients(rest, u):
        z = jax.nn.sigmoid(u[0])
        return 1 - z, z * u[1]

    return Cell(
        init=lambda key, features: dense_init(key, features, hidden_size, 2, {}),
        carry=dense_carry(hidden_size, 2),
        project=lambda params, xs: dense_gates(params, xs, 2),
        step=LinearStep(coefficients, lambda rest, h, u, dot: h),
    )


@cached
def min_lstm(hidden_size: int, forget_bias: float = 1.0) -> Cell:
    r"""A minLSTM cell (Feng et al. 2024, arXiv:2410.01201), with gates that are normalized to a sum of 1.

    .. math::
        i = \sigma(x_t U_i + b_i), \quad f = \sigma(x_t U_f + b_f), \quad n = x_t U_n + b_n, \quad
        h_t = \frac{f}{f + i} \odot h_{t-1} + \frac{i}{f + i} \odot n

    Parameters: ``input = {kernel [D, 3 H], bias [3 H]}`` in the order i, f, n; no recurrent weight. The carry and the
    output are h.

    Args:
        hidden_size: H, the number of hidden units.
        forget_bias: Initial bias of the forget gate.

    Returns:
        The cell.

    Raises:
        ValueError: ``hidden_size`` is not a positive integer.
    """
    check_integer("hidden_size", hidden_size)

    def init(key, features):
        bias = jnp.zeros((3, hidden_size), jnp.float32).at[1].set(forget_bias).reshape(-1)
        return dense_init(key, features, hidden_size, 3, {}, bias)

    def coefficients(rest, u):
        # i / (f + i) = sigmoid(log i - log f) neither underflows nor divides by 0.
        input_gate = jax.nn.sigmoid(jax.nn.log_sigmoid(u[0]) - jax.nn.log_sigmoid(u[1]))
        return 1 - input_gate, input_gate * u[2]

    return Cell(
        init=init,
        carry=dense_carry(hidden_size, 3),
        project=lambda params, xs: dense_gates(params, xs, 3),
        step=LinearStep(coefficients, lambda rest, h, u, dot: h),
    )


@cached
def lru(
    hidden_size: int, state_size: int = 0, r_min: float = 0.9, r_max: float = 0.999, max_phase: float = 2 * np.pi
) -> Cell:
    r"""A linear recurrent unit (Orvieto et al. 2023, arXiv:2303.06349): a complex diagonal recurrence.

    .. math::
        s_t = \lambda \odot s_{t-1} + \gamma \odot (x_t B), \quad y_t = \Re(s_t C), \quad
        \lambda = e^{-e^{\nu} + i e^{\theta}}

    The eigenvalues :math:`\lambda` are initialized uniformly on the ring between ``r_min`` and ``r_max``, and
    :math:`\gamma` to :math:`\sqrt{1 - |\lambda|^2}`. The paper's skip connection :math:`x_t D` is left out; the
    ``residual`` wrapper adds :math:`x_t`.

    Parameters: ``input = {kernel [D, 2 S] (real and imaginary parts of B), log_gamma [S]}``, ``recurrent = {output
    [2 S, H] (real and negated imaginary parts of C)}``, ``log_decay [S]`` (:math:`\nu`), ``log_phase [S]``
    (:math:`\theta`). The carry is the pair of the real and imaginary parts of s.

    Args:
        hidden_size: H, the number of output features.
        state_size: S, the number of complex states; 0 means H.
        r_min, r_max: Smallest and largest initial modulus of :math:`\lambda`, between 0 and 1.
        max_phase: Largest initial argument of :math:`\lambda`, in radians.

    Returns:
        The cell.

    Raises:
        ValueError: ``hidden_size`` is not a positive integer, or ``state_size`` is negative.
    """
    check_integer("hidden_size", hidden_size)
    check_integer("state_size", state_size, minimum=0)
    state_size = state_size or hidden_size

    def init(key, features):
        keys = jax.random.split(key, 4)
        modulus = jnp.sqrt(jax.random.uniform(keys[0], (state_size,), jnp.float32) * (r_max**2 - r_min**2) + r_min**2)
        phase = max_phase * jax.random.uniform(keys[1], (state_size,), jnp.float32, minval=1e-3)
        normal = lambda key, rows, columns, scale: jax.random.normal(key, (rows, columns), jnp.float32) * scale
        return {
            "input": {
                "kernel": normal(keys[2], features, 2 * state_size, (2 * features) ** -0.5),
                "log_gamma": 0.5 * jnp.log(1 - modulus**2),
            },
            "recurrent": {"output": normal(keys[3], 2 * state_size, hidden_size, state_size**-0.5)},
            "log_decay": jnp.log(-jnp.log(modulus)),
            "log_phase": jnp.log(phase),
        }

    def carry(params, x):
        check_width(params, 2 * state_size)
        return (zero_state(x, state_size),) * 2

    def project(params, xs):
        gamma = jnp.exp(params["log_gamma"])
        products = matmul(params["kernel"], flatten_rows(xs))
        return tuple((a * gamma[None]).reshape(*xs.shape[:-1], a.shape[-1]) for a in jnp.split(products, 2, axis=-1))

    def coefficients(rest, u):
        modulus, phase = jnp.exp(-jnp.exp(rest["log_decay"])), jnp.exp(rest["log_phase"])
        return (modulus * jnp.cos(phase), modulus * jnp.sin(phase)), u

    return Cell(
        init=init,
        carry=carry,
        project=project,
        step=LinearStep(coefficients, lambda rest, s, u, dot: dot("output", jnp.concatenate(s, axis=-1))),
    )
