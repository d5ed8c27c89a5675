"""ConvLSTM (Shi et al. 2015, arXiv:1506.04214): an LSTM with convolutions instead of matrix products."""

import math

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.checks import check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.cell import Cell, check_width, match_rank, zero_state
from jaxnets.recurrent.checking import cached

_LAYOUT = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}


def _convolve(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Convolves ``x [*batch, *space, C]`` with ``kernel [*size, C, G]``, with stride 1 and "same" padding."""
    space = kernel.ndim - 2
    chex.assert_axis_dimension(kernel, -2, x.shape[-1])
    leading = x.ndim - 1 - space
    images = x.reshape(math.prod(x.shape[:leading]), *x.shape[leading:])
    z = lax.conv_general_dilated(images, kernel.astype(x.dtype), (1,) * space, "SAME", dimension_numbers=_LAYOUT[space])
    return z.reshape(*x.shape[:-1], kernel.shape[-1]).astype(at_least_float32(x.dtype))


@cached
def conv_lstm(hidden_size: int, kernel_size: tuple[int, ...] = (3, 3), forget_bias: float = 1.0) -> Cell:
    r"""A convolutional LSTM without peepholes, as in Keras and flax.

    .. math::
        i, f, o &= \sigma(x_t * U_{i,f,o} + h_{t-1} * W_{i,f,o} + b_{i,f,o}) \\
        g &= \tanh(x_t * U_g + h_{t-1} * W_g + b_g) \\
        c_t &= f \odot c_{t-1} + i \odot g, \quad h_t = o \odot \tanh(c_t)

    where * is a convolution with stride 1 and "same" padding. Inputs are ``[*batch, T, W, C]`` for a kernel size of
    length 1 and ``[*batch, T, H, W, C]`` for one of length 2.

    Parameters: ``input = {kernel [*size, C, 4 F], bias [4 F]}``, ``recurrent = {kernel [*size, F, 4 F]}``, in the
    order i, f, g, o. The carry is (h, c), images of F channels with the size of the input.

    Args:
        hidden_size: F, the number of hidden channels.
        kernel_size: Size of the kernels, (width,) or (height, width).
        forget_bias: Initial bias of the forget gate.

    Returns:
        The cell.

    Raises:
        ValueError: ``hidden_size`` is not a positive integer, or ``kernel_size`` is not a tuple of one or two positive
            integers.
    """
    check_integer("hidden_size", hidden_size)
    if not isinstance(kernel_size, tuple) or len(kernel_size) not in _LAYOUT:
        raise ValueError(f"`kernel_size` must be a tuple of one or two integers, such as (3, 3), got {kernel_size!r}")
    for size in kernel_size:
        check_integer("kernel_size", size)

    def init(key, features):
        first, second = jax.random.split(key)
        glorot = jax.nn.initializers.glorot_uniform()
        blocks = lambda key, channels: jnp.concatenate(
            [glorot(k, (*kernel_size, channels, hidden_size), jnp.float32) for k in jax.random.split(key, 4)], axis=-1
        )
        bias = jnp.zeros((4, hidden_size), jnp.float32).at[1].set(forget_bias).reshape(-1)
        return {
            "input": {"kernel": blocks(first, features), "bias": bias},
            "recurrent": {"kernel": blocks(second, hidden_size)},
        }

    def carry(params, x):
        check_width(params, 4 * hidden_size)
        return (zero_state(x, hidden_size),) * 2

    def project(params, xs):
        return tuple(jnp.split(_convolve(params["kernel"], xs) + match_rank(params["bias"], xs), 4, axis=-1))

    def step(rest, carry, u, dot):
        h, c = carry
        i, f, g, o = (a + b for a, b in zip(u, jnp.split(dot("kernel", h), 4, axis=-1), strict=True))
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return Cell(
        init=init,
        carry=carry,
        project=project,
        step=step,
        product=_convolve,
        axes=1 + len(kernel_size),
    )
